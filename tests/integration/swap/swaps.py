# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.support import Running, python, run_module
from tests.integration.swap.little_host import NAME, PORT, URL, LittleHost

DIES = Path(__file__).parent / "dies.py"
GATE = {"url": f"{URL}/health", "about_url": f"{URL}/about", "timeout": 10, "interval": 0.1, "successes": 2}


class Swaps:
    """What a playbook does with the app on the host."""

    def __init__(self, host: LittleHost) -> None:
        self.host = host

    def container(self, image: str, **more: Any) -> dict[str, Any]:
        gate = more.pop("gate", {})
        gate = None if gate is None else {**GATE, **gate}
        return {
            "name": NAME,
            "image": image,
            "ports": [f"127.0.0.1:{PORT}:3000"],
            "volumes": ["/usr:/usr:ro"],
            "stop_timeout": 3,
            "gate": gate,
            **more,
        }

    def __call__(
        self, image: str = "none", *, check: bool = False, inside: Sequence[str] = (), **options: Any
    ) -> dict[str, Any]:
        container = self.container(image, **options.pop("container", {}))
        return run_module(
            "container_swap", {"container": container, **options}, check=check, inside=[*self.host.inside, *inside]
        )

    def dying(self, who: str, where: str, when: str, image: str, **options: Any) -> dict[str, Any] | None:
        """A call that is killed, or whose engine is (see dies.py); its answer if it lives to give one."""
        command = [*python(DIES, self.host.inside), who, where, when]
        arguments = {"container": self.container(image), **options}
        running = Running("container_swap", arguments, False, {}, command)
        if running.process.wait(120) in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return None
        return running.result()

    def gate(self, **options: Any) -> dict[str, Any]:
        return run_module("health_gate", options, inside=self.host.inside)
