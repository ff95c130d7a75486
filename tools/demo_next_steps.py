"""Send a request through the demo's load balancer, and print what to try next."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import urlopen

CHECKOUT = Path(__file__).parent.parent
INVENTORY = CHECKOUT / "inventories" / "local" / "hosts.yml"


def main() -> int:
    facts = json.loads((INVENTORY.resolve().parent / "facts.json").read_text())
    url = facts["load_balancer"]["url"]
    with urlopen(f"{url}/api/users/hello", timeout=10) as answer:
        backend = json.load(answer)["service"]
    with urlopen(f"{url}/api/about-me", timeout=10) as answer:
        leader = json.load(answer)["leader"]
    if leader is None:
        print("The fleet serves, but no host leads yet. Try again: curl", f"{url}/api/about-me")
        return 1
    print(
        f"""The fleet serves. {url}/api/users/hello was answered by the backend {backend}; {leader} leads.

Try it:
  curl {url}/api/users/hello       a request through the load balancer and a gateway to a backend
  curl {url}/api/about-me          which host answers, and which one leads
  curl {url}/health/detailed       the gateway's view of its backends
  .venv/bin/ansible-playbook playbooks/site.yml     again: nothing changes
  .venv/bin/ansible gateways -b -a 'docker ps'      list the containers of each host
  make down                        remove it all
"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
