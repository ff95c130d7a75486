"""Move six public services behind an internal load balancer and back, under load, on the Amazon ECS of this machine.

tools/demo_ecs.py ran before. At the end everything still runs, and the last lines say what to try.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.system.local_internal import COUNTS, PORTS, Internal  # noqa: E402
from tools.demo_ecs import NAME, PLAYBOOKS, RATE, STATE, Demo  # noqa: E402


class Account(Demo):
    """The demo's, as the services need it."""

    name = NAME

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, str] = self.facts["images"]
        self.url: str = self.facts["url"]


def play(playbook: str, variables: dict[str, Any], title: str, *options: str) -> int:
    """Exit code of the playbook."""
    print(f"\n==> {title}\n", flush=True)
    declared = STATE / "internal.yml"
    declared.write_text(json.dumps(variables, indent=2))
    program = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
    command: list[str | Path] = [program, PLAYBOOKS / f"{playbook}.yml", "-i", "localhost,", "-e", f"@{declared}"]
    keys = {"AWS_ACCESS_KEY_ID": "AKIASTANDIN", "AWS_SECRET_ACCESS_KEY": "standin"}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run([*command, *options], env={**ours, **keys}, check=False, timeout=900).returncode


def main() -> int:
    rig = Internal(Account())
    print("\n==> Start six public services, and a gateway in front of them\n", flush=True)
    rig.start()
    print("\n".join(f"{name}: {url}" for name, url in rig.public.items()))
    variables = {
        **rig.variables(),
        "ecs_cutover_seconds": 15,
        "ecs_cutover_checks": [f"{rig.front}/health", f"{rig.front}/api/health/aggregate"],
        "ecs_deployer": "",
    }
    if play("ecs", variables, "Create the internal load balancer", "--tags", "load_balancer"):
        return 1
    started = time.monotonic()
    with rig.load(RATE) as load:
        time.sleep(15)  # what the cutover compares with
        moved = play("ecs_cutover", variables, f"Move the services behind it, with {RATE:g} requests/s")
        served = rig.served_by()
        back = play("ecs_cutover", {**variables, "ecs_cutover_back": True}, "And back")
    seconds = time.monotonic() - started
    right = served == {name: f"{name}-nlb" for name in PORTS} and rig.served_by() == {name: name for name in PORTS}
    counts = {name: found for name, found in rig.counts().items() if name in COUNTS}
    right = right and counts == {name: (count, count) for name, count in COUNTS.items()}
    kinds = ", ".join(f"{count} {kind}" for kind, count in load.counts.items())
    print(
        f"\n{len(load.failures)} of {load.answered + len(load.failures)} requests failed in {seconds:.0f} s ({kinds})."
    )
    for failure in load.failures[:5]:
        print(f"  {failure}")
    print(
        f"""
Try it:
  curl {rig.front}/api/users/hello        which service answers
  export AWS_ACCESS_KEY_ID=AKIASTANDIN AWS_SECRET_ACCESS_KEY=standin
  .venv/bin/ansible-playbook -i localhost, playbooks/ecs_cutover.yml -e @{STATE.relative_to(CHECKOUT)}/internal.yml
  make down                           remove it all
"""
    )
    return int(bool(moved or back or load.failures or not right))


if __name__ == "__main__":
    sys.exit(main())
