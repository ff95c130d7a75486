# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks and tools are run by hand, so a rename could break them unnoticed: here each is loaded."""

from __future__ import annotations

import os
import re
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


# Of the machine that they run on; a Dockerfile is about an image of its own.
INSTALLING = [
    (name, line.replace("\\\n", " "))
    for name in sorted(tracked("tools", "testbed/engine", "roles/*/files/*", "roles/*/templates/*", ".ci"))
    for line in re.findall(r"^.*\bapt-get\b(?:[^\n]*\\\n)*[^\n]*$", (CHECKOUT / name).read_text(), re.MULTILINE)
    if re.search(r"\binstall\b", line) and not re.search(r"fail |die \"(?!apt-get)", line)
]


def test_the_installing_scripts_are_found() -> None:
    assert {"tools/setup", "testbed/engine", "roles/launch_template/files/bootstrap.sh"} <= {
        name for name, _ in INSTALLING
    }


@pytest.mark.parametrize(("name", "line"), INSTALLING)
def test_no_script_lets_apt_remove_a_package(name: str, line: str) -> None:
    """An engine that is there, such as Docker's own docker-ce, would be exchanged for the distribution's."""
    assert "--no-remove" in line, name


def test_setup_shows_what_pip_does() -> None:
    """The virtual environment takes a minute or two."""
    show = re.search(r"^show_pip\(\) \{\n.*?^\}\n", (CHECKOUT / "tools/setup").read_text(), re.DOTALL | re.MULTILINE)
    assert show
    said = "Collecting boto3\nCollecting moto==5\nInstalling collected packages: boto3, moto\n"
    sooner = show[0].replace("told >= 5", "told >= 1")
    shown = subprocess.run(
        ["bash", "-euc", f'{sooner}{{ read -r line; echo "$line"; sleep 1.1; cat; }} | show_pip'],
        input=said,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown == ["    2 packages so far, now moto==5", "    installing 2 packages, half a minute or so"]
