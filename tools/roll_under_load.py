"""Roll another version out over the demo's fleet under load, print what the clients saw, and draw the rollout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.system.load import MixedLoad, Watch  # noqa: E402
from tools.rollout_svg import draw  # noqa: E402

INVENTORY = CHECKOUT / "inventories" / "local" / "hosts.yml"
PLAYBOOK = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
REPORTS = CHECKOUT / "rollout-report"
RATE = 100


def main() -> int:
    facts = json.loads((INVENTORY.resolve().parent / "facts.json").read_text())
    addresses = {name: host["ipv4"] for name, host in facts["hosts"].items()}

    def about(host: str) -> dict[str, object]:
        try:
            with urlopen(f"http://{addresses[host]}/api/about-me", timeout=2) as answer:
                found: dict[str, object] = json.load(answer)
                return found
        except (URLError, OSError, ValueError):
            return {}

    def leaders() -> list[str]:
        return [host for host in addresses if about(host).get("amILeader")]

    now = next(iter({str(about(host).get("version")) for host in addresses}))
    version, image = next((tag, name) for tag, name in facts["gateway_images"].items() if tag != now)
    command: list[str | Path] = [
        PLAYBOOK,
        CHECKOUT / "playbooks" / "rolling_update.yml",
        "-e",
        f"gateway_image={image}",
    ]
    print(f"\nRolling {version} out over {len(addresses)} hosts that run {now}, under load:\n", flush=True)
    started = time.monotonic()
    with MixedLoad(facts["load_balancer"]["url"], RATE) as clients, Watch(leaders) as watch:
        code = subprocess.run([*command, "-e", f"rollout_version={version}"], check=False, timeout=1800).returncode
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(clients.counts.items()))
    sent = clients.answered + len(clients.failures)
    moved = f"leadership moved {watch.changes} time{'' if watch.changes == 1 else 's'}"
    leadership = f"{moved}, at most {watch.most_at_once} led at any moment"
    seconds = time.monotonic() - started
    print(f"{len(clients.failures)} of {sent} requests failed ({kinds}) in {seconds:.0f} s; {leadership}.")
    for failure in clients.failures[:5]:
        print(f"  {failure}")
    if code == 0:
        keep(image)
    picture(f"{len(clients.failures)} of {sent:,} requests failed at {RATE} requests/s; {leadership}")
    return code or int(bool(clients.failures) or watch.most_at_once > 1)


def picture(note: str) -> None:
    """Draw the newest report as SVG, beside it."""
    report = max(REPORTS.glob("rollout-*.json"), key=lambda path: path.stat().st_mtime)
    drawn = report.with_suffix(".svg")
    drawn.write_text(draw(json.loads(report.read_text()), note))
    print(f"The rollout as a picture: {drawn.relative_to(CHECKOUT)}")


def keep(image: str) -> None:
    """Write the image to the inventory, as an operator does after a rollout: else site.yml brings the old one back."""
    text = INVENTORY.read_text()
    INVENTORY.resolve().write_text(re.sub(r"(?m)^( +gateway_image:).*$", lambda found: f'{found[1]} "{image}"', text))


if __name__ == "__main__":
    sys.exit(main())
