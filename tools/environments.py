# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments of other interpreters than the checkout's, for tests that are run with each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent


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


def environment(python: Path, folder: Path, *installs: Sequence[str]) -> Path:
    """The interpreter of the virtual environment in this folder. Each of `installs` is what a call of pip installs."""
    stamp = folder / "installed"
    own = folder / "bin" / "python"
    wanted = "\n".join(" ".join(arguments) for arguments in installs)
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        for arguments in installs:
            # Without --no-compile, the thousands of files of the package ansible take minutes.
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *arguments]
            subprocess.run([own, *install], cwd=CHECKOUT, check=True, timeout=1200)
        stamp.write_text(wanted)
    return own


def variables(own: Path) -> dict[str, str]:
    """Of a process that uses this environment and, as collections, the checkout and what the environment has."""
    collections = str(CHECKOUT / ".collections")
    path = os.pathsep.join([str(own.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": collections, "ANSIBLE_COLLECTIONS_PATH": collections}


def verdict(tool: str, failed: Sequence[str], missing: Sequence[str], wanted: int) -> int:
    """Say how all of it ended; the exit code. Where none of the `wanted` interpreters was found, nothing was tested."""
    if missing:
        print(f"{tool}: not found on this machine: {', '.join(missing)}")
    if failed or len(missing) == wanted:
        print(f"{tool}: failed: {', '.join(failed) or 'nothing was run'}", file=sys.stderr)
        return 1
    print(f"{tool}: all passed")
    return 0
