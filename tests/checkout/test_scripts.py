# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks and tools are run by hand, so a rename could break them unnoticed: here each is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.checkout.support import CHECKOUT, tracked

SCRIPTS = sorted(tracked("tests/bench/*.py", "tests/cross_check/*.py", "tests/simulation/*.py", "tools/*.py"))
# Run elsewhere, by another interpreter or inside of another program.
ELSEWHERE = (
    "tests/bench/audit/by_celery/",
    "tests/bench/callback/",
    "tests/bench/check.py",
    "tests/bench/gateway/asgi/",
    "tests/bench/pyinfra/",
)


def test_the_scripts_are_found() -> None:
    assert {"tests/bench/bootstrap.py", "tests/bench/gateway/main.py", "tools/role_docs.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if not name.startswith(ELSEWHERE)])
def test_a_script_loads(script: str) -> None:
    load = f"import runpy; runpy.run_path({script!r}, run_name='loaded')"
    paths = [str(CHECKOUT), str(CHECKOUT / ".collections"), str((CHECKOUT / script).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", load], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pyinfra_loads_the_steps_without_the_collection() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    load = [sys.executable, "-c", "import tests.bench.steps"]
    assert subprocess.run(load, cwd=CHECKOUT, env=environment).returncode == 0
