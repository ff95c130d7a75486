# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests of what runs on hosts with each Python from 3.9 to 3.13 that this machine has.

Each gets a virtual environment in .cache/pythons, with the newest ansible-core that it can have.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
sys.path.insert(0, str(CHECKOUT))

from tools.environments import environment, found, variables, verdict  # noqa: E402

ENVIRONMENTS = CHECKOUT / ".cache" / "pythons"
MINORS = range(9, 14)
PACKAGES = ("ansible-core", "pytest", "hypothesis")
TESTS = [f"tests/unit/plugins/module_utils/{name}" for name in ("_common", "_host")]


def main() -> int:
    failed, missing = [], []
    for minor in MINORS:
        name = f"Python 3.{minor}"
        python = found(minor)
        if python is None:
            missing.append(name)
            continue
        print(f"pythons: {name} ({python})", flush=True)
        own = environment(python, ENVIRONMENTS / f"3.{minor}", PACKAGES)
        command = [str(own), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        if subprocess.run(command, cwd=CHECKOUT, env=variables(own), timeout=900, check=False).returncode:
            failed.append(name)
    return verdict("pythons", failed, missing, len(MINORS))


if __name__ == "__main__":
    sys.exit(main())
