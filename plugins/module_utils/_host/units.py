# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units: one query for all of them, then only what differs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import Attributes, read, write
from .host import Host, HostError, Result, Spec
from .stamps import newer

UNIT_DIR = Path("/etc/systemd/system")
PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,InactiveExitTimestampMonotonic,NeedDaemonReload"
CHATTER = ("level=info", "level=debug")
ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")


@dataclass(frozen=True)
class UnitState:
    """What systemd says about a unit; `started_at` is on the wall clock."""

    exists: bool
    active: bool
    failed: bool
    enabled: bool
    masked: bool
    stale: bool
    started_at: float


class Units:
    """The states of units, queried once and again after a change."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._states: dict[str, UnitState] = {}

    def prefetch(self, names: Iterable[str]) -> None:
        wanted = sorted({name for name in names if name not in self._states})
        if not wanted:
            return
        result = self.host.run(["systemctl", "show", f"--property={PROPERTIES}", *wanted], timeout=30)
        blocks = result.stdout.strip().split("\n\n")
        if not result.ok or len(blocks) != len(wanted):
            raise HostError(f"systemctl show {' '.join(wanted)} failed: is systemd running?\n{result.tail(3)}")
        self._states.update(zip(wanted, map(parse_state, blocks)))

    def state(self, name: str) -> UnitState:
        self.prefetch([name])
        return self._states[name]

    def control(self, *arguments: str, timeout: float = 180) -> Result:
        self._states.clear()
        return self.host.run(["systemctl", *arguments], timeout=timeout)

    def must(self, *arguments: str) -> None:
        result = self.control(*arguments)
        if not result.ok:
            unit = arguments[-1]
            raise HostError(f"systemctl {' '.join(arguments)} failed.\n{result.tail(3)}\n{self.journal(unit)}".rstrip())

    def journal(self, unit: str) -> str:
        """The unit's last log lines, without those of a normal start."""
        output = self.host.run(["journalctl", "-u", unit, "-n", "60", "-o", "cat", "--no-pager"]).stdout
        return "\n".join([line for line in output.splitlines() if not any(word in line for word in CHATTER)][-12:])


def parse_state(block: str) -> UnitState:
    fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    since_boot = int(fields.get("InactiveExitTimestampMonotonic") or 0) / 1e6
    return UnitState(
        exists=fields.get("LoadState") != "not-found",
        active=fields.get("ActiveState") in ("active", "reloading"),
        failed=fields.get("ActiveState") == "failed",
        enabled=fields.get("UnitFileState") in ENABLED,
        masked=fields.get("LoadState") == "masked",
        stale=fields.get("NeedDaemonReload") == "yes",
        started_at=time.time() - time.monotonic() + since_boot if since_boot else 0.0,
    )


def ensure_unit(host: Host, units: Units, spec: Spec) -> None:
    name = spec["name"]
    watched = list(spec.get("restart_when_changed") or [])
    content = spec.get("content")
    if content is not None:
        path = UNIT_DIR / name
        watched.append(str(path))
        written = write(host, path, read(path), content.encode(), Attributes(0o644, 0, 0))
        reload_manager(host, units, name, written=written)
    else:
        reload_manager(host, units, name)
    state = units.state(name)
    _check_startable(host, name, state, declared=content is not None)
    _ensure_enabled(host, units, name, state, spec.get("enabled"))
    _ensure_running(host, units, name, state, spec.get("state"), watched)


def reload_manager(host: Host, units: Units, name: str, *, written: bool = False) -> None:
    """Make systemd read a unit's files again where they are newer than what it has loaded."""
    if not written and not units.state(name).stale:
        return
    if host.check_mode:
        host.would_act()
    else:
        units.must("daemon-reload")


def _check_startable(host: Host, name: str, state: UnitState, *, declared: bool) -> None:
    if state.masked:
        raise HostError(f"{name} is masked, so systemd never starts it. Unmask it: systemctl unmask {name}")
    if not state.exists and not declared and not host.expects_packages:
        raise HostError(f"There is no unit {name}: declare its content, or the package that brings it.")


def _ensure_enabled(host: Host, units: Units, name: str, state: UnitState, wanted: bool | None) -> None:
    if wanted is None or state.enabled == wanted:
        return
    verb = "enable" if wanted else "disable"
    with host.change(f"unit {name}", verb, _line("enabled", state.enabled), _line("enabled", wanted)) as apply:
        if apply:
            units.must(verb, name)


def _ensure_running(
    host: Host, units: Units, name: str, state: UnitState, wanted: str | None, watched: Sequence[str]
) -> None:
    if wanted == "stopped":
        verb = "stop" if state.active else ""
    elif state.active:
        verb = "restart" if newer(host, watched, state.started_at) else ""
    else:
        verb = "start" if wanted == "started" else ""
    if not verb:
        return
    after = {"stop": "stopped", "start": "started", "restart": "restarted"}[verb]
    with host.change(
        f"unit {name}", verb, _line("state", "started" if state.active else "stopped"), _line("state", after)
    ) as apply:
        if apply:
            run_unit(units, name, verb)
    if verb == "restart":
        host.restarted.append(name)


def run_unit(units: Units, name: str, verb: str) -> None:
    if units.state(name).failed:
        # A unit that failed too often may not start again before this.
        units.control("reset-failed", name)
    units.must(verb, name)
    if verb != "stop" and units.state(name).failed:
        raise HostError(f"{name} failed right after its {verb}.\n{units.journal(name)}")


def _line(key: str, value: object) -> str:
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}\n"
