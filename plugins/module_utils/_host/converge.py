# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All declarations of a call, in order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .containers import ensure_container
from .docker import UNIT as DOCKER_UNIT
from .docker import Docker
from .engine import ensure_engine
from .files import ensure_directory, ensure_file, explained
from .host import DifferenceError, DifferenceProbe, Host, HostError, Runner, Spec, run_command, usual_umask
from .host_lock import one_at_a_time
from .imds import UNIT as IMDS_UNIT
from .imds import ensure_imds
from .networks import ensure_network
from .packages import ensure_packages
from .published_ports import ensure_published
from .registry import ensure_login
from .units import Units, ensure_unit
from .watched_commands import ensure_command


def converge(host: Host, declarations: Sequence[Spec]) -> dict[str, Any]:
    """Apply everything; returns the containers by name. Raises HostError naming declaration and resource."""
    return Converger(host, declarations).run()


def settled_containers(declarations: Sequence[Spec], runner: Runner = run_command) -> dict[str, Any] | None:
    """The containers, if a call would change and warn about nothing; else None. Changes nothing."""
    try:
        return converge(DifferenceProbe(runner=runner), declarations)
    except (DifferenceError, HostError):
        return None


def refusals(declarations: Sequence[Spec], runner: Runner = run_command) -> list[str]:
    """Why a call would stop at the engine and at what it publishes. Changes nothing."""
    host = Host(check_mode=True, runner=runner)
    # The engine may be one of the packages that are installed first.
    host.packages_pending = True
    units = Units(host)
    docker = Docker(host, units)
    found = []
    steps: list[tuple[str, Any]] = [
        (declaration["name"], lambda spec=declaration["engine"]: ensure_engine(host, units, docker, spec))
        for declaration in declarations
        if declaration.get("engine") is not None
    ]
    containers = [container for declaration in declarations for container in declaration.get("containers") or []]
    if containers:
        steps.append((declarations[-1]["name"], lambda: ensure_published(host, docker, containers)))
    for name, step in steps:
        host.declaration = name
        try:
            step()
        except HostError as error:
            found.append(error.message)
    return found


class Converger:
    """One call: the shared state of the declarations, and the order of their steps."""

    def __init__(self, host: Host, declarations: Sequence[Spec]) -> None:
        self.host = host
        self.declarations = declarations
        self.units = Units(host)
        self.docker = Docker(host, self.units)
        self.containers: dict[str, Any] = {}
        self.logins = self._all("logins")
        self.imds_applied: list[Spec] = []
        self.published = False

    def _all(self, key: str) -> list[Spec]:
        return [item for declaration in self.declarations for item in declaration.get(key) or []]

    def run(self) -> dict[str, Any]:
        with usual_umask(), one_at_a_time(self.host), self.host.phase("total"):
            with self._named(self.declarations[0]["name"] if self.declarations else "", "packages"):
                ensure_packages(self.host, self.declarations)
            self.units.prefetch(self._unit_names())
            for declaration in self.declarations:
                self.host.declaration = declaration["name"]
                self._apply(declaration)
        return self.containers

    def _apply(self, declaration: Spec) -> None:
        steps: tuple[tuple[str, Any], ...] = (
            ("directories", lambda item: ensure_directory(self.host, item)),
            ("files", lambda item: ensure_file(self.host, item)),
            ("commands", lambda item: ensure_command(self.host, item)),
            ("units", lambda item: ensure_unit(self.host, self.units, item)),
            ("engine", lambda item: ensure_engine(self.host, self.units, self.docker, item)),
            ("networks", self._network),
            ("imds", self._imds),
            ("logins", lambda item: ensure_login(self.host, item)),
            ("containers", self._container),
        )
        for key, step in steps:
            wanted = declaration.get(key)
            items = wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]
            for item in items:
                with self._named(declaration["name"], f"{key} {label(item)}".strip()):
                    step(item)

    @contextmanager
    def _named(self, declaration: str, resource: str) -> Iterator[None]:
        with self.host.phase(resource.split(" ")[0]):
            try:
                with explained(Path("/")):
                    yield
            except HostError as error:
                error.declaration = error.declaration or self.host.declaration or declaration
                error.resource = error.resource or resource
                raise

    def _ensure_published(self) -> None:
        """Once, before the engine gets requests that need its firewall rules."""
        if not self.published:
            self.published = True
            with self.host.phase("published"):
                ensure_published(self.host, self.docker, self._all("containers"))

    def _network(self, item: Spec) -> None:
        self._ensure_published()
        created = ensure_network(self.host, self.docker, item)
        if created and not self.host.check_mode:
            # Its interface is new, and rules that are already loaded may have to accept it.
            for imds in self.imds_applied:
                if item["name"] in (imds.get("networks") or []):
                    ensure_imds(self.host, self.units, self.docker, imds, self._network_names())

    def _imds(self, item: Spec) -> None:
        ensure_imds(self.host, self.units, self.docker, item, self._network_names())
        self.imds_applied.append(item)

    def _network_names(self) -> list[str]:
        return [network["name"] for network in self._all("networks")]

    def _container(self, item: Spec) -> None:
        self._ensure_published()
        self.containers[item["name"]] = ensure_container(self.host, self.docker, item, self.logins)

    def _unit_names(self) -> list[str]:
        names = [unit["name"] for unit in self._all("units")]
        if any(
            declaration.get(key)
            for declaration in self.declarations
            for key in ("engine", "networks", "containers", "imds")
        ):
            names.append(DOCKER_UNIT)
        if any(declaration.get("imds") for declaration in self.declarations):
            names.append(IMDS_UNIT)
        return names


def label(item: Spec) -> str:
    """The name of a declaration's entry in errors."""
    return next((str(item[name]) for name in ("path", "name", "registry") if item.get(name)), "") or shlex.join(
        map(str, item.get("argv") or [])
    )
