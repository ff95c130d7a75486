# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests of what runs on hosts with each Python from 3.9 to 3.13 that this machine has.

Each gets a virtual environment in .cache/pythons, with the newest ansible-core that it can have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
ENVIRONMENTS = CHECKOUT / ".cache" / "pythons"
MINORS = range(9, 14)
PACKAGES = ("ansible-core", "pytest", "hypothesis")
TESTS = [f"tests/unit/plugins/module_utils/{name}" for name in ("_common", "_host")]


def found(minor: int) -> Path | None:
    """The interpreter on the PATH, or one of pyenv."""
    on_path = shutil.which(f"python3.{minor}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"))
    return next((candidate for candidate in candidates if answers(candidate, minor)), None)


def answers(python: Path, minor: int) -> bool:
    """Whether it starts, as the shim of a version manager need not, and has what makes a virtual environment."""
    test = f"import ensurepip, venv, sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    return subprocess.run([python, "-c", test], capture_output=True, check=False).returncode == 0


def environment(python: Path, minor: int) -> Path:
    """The interpreter of its virtual environment, with the packages."""
    folder = ENVIRONMENTS / f"3.{minor}"
    stamp = folder / "installed"
    own = folder / "bin" / "python"
    if not stamp.is_file():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        subprocess.run([own, *install], check=True, timeout=600)
        stamp.touch()
    return own


def main() -> int:
    failed, missing = [], []
    for minor in MINORS:
        name = f"Python 3.{minor}"
        python = found(minor)
        if python is None:
            missing.append(name)
            continue
        print(f"pythons: {name} ({python})", flush=True)
        command = [str(environment(python, minor)), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        variables = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")}
        if subprocess.run(command, cwd=CHECKOUT, env=variables, timeout=900, check=False).returncode:
            failed.append(name)
    if missing:
        print(f"pythons: not found on this machine: {', '.join(missing)}")
    if failed or len(missing) == len(MINORS):
        print(f"pythons: failed: {', '.join(failed) or 'nothing was run'}", file=sys.stderr)
        return 1
    print("pythons: all passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
