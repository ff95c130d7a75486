# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules as a play does, against real services."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = CHECKOUT / "plugins" / "modules"


class Running:
    """A module that was started: its result, or its process to be killed."""

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any],
        check: bool,
        variables: Mapping[str, str],
        command: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command or python(MODULES / f"{name}.py"),
            env=environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        about = {"_ansible_module_name": f"evenkeel.fleet.{name}", "_ansible_check_mode": check, "_ansible_diff": True}
        handed = {**arguments, **about}
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": handed}))
        self.process.stdin.close()
        self.process.stdin = None

    def result(self, timeout: float = 60.0) -> dict[str, Any]:
        try:
            output, errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
            raise AssertionError(f"{self.name} has not come back within {timeout:g} s: {output}{errors}") from None
        try:
            result: dict[str, Any] = json.loads(output)
        except json.JSONDecodeError:
            raise AssertionError(f"{self.name} broke ({self.process.returncode}): {output}{errors}") from None
        return {"failed": False, **result}


def python(script: Path, inside: Sequence[str] = ()) -> list[str]:
    """The command that runs a script, by a command that brings it to where it is to run."""
    return [*inside, sys.executable, str(script)]


def environment(**variables: str) -> dict[str, str]:
    """The shell's, without what the developer may have set in it."""
    theirs = ("ANSIBLE_", "AWS_", "PG")
    shell = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    collections = str(CHECKOUT / ".collections")
    return {**shell, "PYTHONPATH": collections, "ANSIBLE_COLLECTIONS_PATH": collections, **variables}


def start_module(
    name: str, arguments: Mapping[str, Any], *, check: bool = False, variables: Mapping[str, str] | None = None
) -> Running:
    return Running(name, arguments, check, variables or {})


def run_module(
    name: str,
    arguments: Mapping[str, Any],
    *,
    check: bool = False,
    timeout: float = 60.0,
    variables: Mapping[str, str] | None = None,
    inside: Sequence[str] = (),
) -> dict[str, Any]:
    """The result of one call with these arguments and environment variables; failed is always there."""
    command = python(MODULES / f"{name}.py", inside)
    return Running(name, arguments, check, variables or {}, command).result(timeout)


def run_by_ansible(
    name: str, arguments: Mapping[str, Any], *options: str, inside: Sequence[str] = (), **variables: str
) -> tuple[int, str]:
    """The exit code and text of `ansible localhost -m …`: slower, and with all that Ansible does around a module."""
    program = Path(sys.executable).parent / "ansible"
    command = [*inside, program, "localhost", "-m", f"evenkeel.fleet.{name}", "-a", json.dumps(arguments), *options]
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=CHECKOUT,
        env=environment(ANSIBLE_NOCOLOR="1", **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return finished.returncode, finished.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_true(condition: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    """A wait that ends well costs no more for a long timeout, which a busy machine needs."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.02)
