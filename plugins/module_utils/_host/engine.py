# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine: its configuration is merged, checked and applied, and put back where the engine refuses it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .docker import UNIT, Docker
from .files import Attributes, explained, json_content, parse_json, read, replace
from .host import Host, HostError, Spec
from .stamps import applied_at, newer, stamp
from .units import Units, run_unit

CONFIG = Path("/etc/docker/daemon.json")
ATTRIBUTES = Attributes(0o644, 0, 0)
STAMP = "docker engine configuration"
# What the engine takes over on SIGHUP; everything else needs a restart.
RELOADABLE = frozenset(
    (
        "debug",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "default-runtime",
        "runtimes",
        "authorization-plugins",
        "insecure-registries",
        "registry-mirrors",
        "shutdown-timeout",
        "features",
    )
)


@dataclass(frozen=True)
class Config:
    """daemon.json as it was and as it will be."""

    before: bytes | None
    after: bytes

    @property
    def differs(self) -> bool:
        return self.before != self.after

    @property
    def changed_keys(self) -> set[str]:
        old = parse_json(CONFIG, self.before or b"{}")
        new = parse_json(CONFIG, self.after)
        return {key for key in {*old, *new} if old.get(key) != new.get(key)}

    @property
    def wants_live_restore(self) -> bool:
        return parse_json(CONFIG, self.after).get("live-restore") is True


def ensure_engine(host: Host, units: Units, docker: Docker, spec: Spec) -> None:
    before = read(CONFIG)
    wanted = spec.get("config") or {}
    after = json_content(CONFIG, before, wanted, merge=True) if wanted else before
    config = Config(before, after if after is not None else b"{}\n")
    state = units.state(UNIT)
    if not state.exists and not host.expects_packages:
        raise HostError("Docker isn't installed here: declare its package, or use the docker role.")
    if state.masked:
        raise HostError(f"{UNIT} is masked: somebody wants it never to start. systemctl unmask {UNIT} takes that back.")
    differs = bool(wanted) and config.differs
    pending = state.active and (differs or _written_since(host, state.started_at))
    restart = pending and not (differs and config.changed_keys <= RELOADABLE)
    running = docker.running() if restart else []
    if running:
        _refuse_or_warn(host, docker, config, running, allowed=bool(spec.get("restart_running")))
    if differs:
        with host.change(
            str(CONFIG), "create" if before is None else "update", _text(before), _text(config.after)
        ) as apply:
            if apply:
                replace(CONFIG, config.after, ATTRIBUTES, check=lambda path: validate(host, path))
        host.changed_paths.add(str(CONFIG))
    _ensure_enabled(host, units)
    if not state.active:
        with host.change(f"unit {UNIT}", "start", "state: stopped\n", "state: started\n") as apply:
            if apply:
                _apply(units, config, differs, "start")
    elif restart:
        with host.change(f"unit {UNIT}", "restart", "state: started\n", "state: restarted\n") as apply:
            if apply:
                if running and config.wants_live_restore and not docker.info().get("LiveRestoreEnabled"):
                    _enable_live_restore(docker, units, config, allowed=bool(spec.get("restart_running")))
                _apply(units, config, differs, "restart")
        host.restarted.append(UNIT)
    elif pending:
        with host.change(f"unit {UNIT}", "reload", after="state: reloaded\n") as apply:
            if apply:
                _apply(units, config, differs, "reload")


def _written_since(host: Host, started_at: float) -> bool:
    """Whether daemon.json was written after the engine last took it over, by a call that died or by somebody else."""
    return bool(newer(host, [str(CONFIG)], max(started_at, applied_at(STAMP))))


def _refuse_or_warn(host: Host, docker: Docker, config: Config, running: list[str], *, allowed: bool) -> None:
    names = ", ".join(running)
    if docker.info().get("LiveRestoreEnabled") or config.wants_live_restore:
        host.warn(f"the Docker engine restarts for its new configuration; live-restore keeps {names} running")
    elif allowed:
        host.warn(f"the Docker engine restarts for its new configuration, and with it {names}")
    else:
        keys = ", ".join(sorted(config.changed_keys)) or "daemon.json, which was written after the engine started,"
        raise HostError(
            f"The Docker engine needs a restart for {keys}, and without live-restore that would stop {names}. "
            "Nothing was changed. Set live-restore to true in the engine's configuration, drain this host and stop the "
            "containers first, or allow it with restart_running."
        )


def _enable_live_restore(docker: Docker, units: Units, config: Config, *, allowed: bool) -> None:
    """live-restore itself needs no restart: once the running engine has it, a restart leaves containers alone."""
    units.control("reload", UNIT)
    if docker.info().get("LiveRestoreEnabled") or allowed:
        return
    _put_back(config)
    units.control("reload", UNIT)
    raise HostError(
        "The running Docker engine didn't take over live-restore, so a restart would stop running containers. "
        f"{CONFIG} was put back. Drain this host and allow the restart with restart_running."
    )


def _ensure_enabled(host: Host, units: Units) -> None:
    if units.state(UNIT).enabled:
        return
    with host.change(f"unit {UNIT}", "enable", "enabled: false\n", "enabled: true\n") as apply:
        if apply:
            units.must("enable", UNIT)


def _apply(units: Units, config: Config, differs: bool, verb: str) -> None:
    try:
        run_unit(units, UNIT, verb)
    except HostError as error:
        if not differs:
            raise
        _put_back(config)
        units.control("reset-failed", UNIT)
        again = units.control("restart", UNIT)
        outcome = "runs again with it" if again.ok else "doesn't start with it either"
        old = "was put back" if config.before is not None else "was removed again"
        raise HostError(
            f"The Docker engine doesn't {verb} with the new {CONFIG}. It {old}; the engine {outcome}.\n{error}"
        ) from error
    stamp(STAMP)


def _put_back(config: Config) -> None:
    if config.before is not None:
        replace(CONFIG, config.before, ATTRIBUTES)
    else:
        with explained(CONFIG):
            CONFIG.unlink()


def validate(host: Host, path: Path) -> None:
    """Engines from 23 on check a configuration without starting; for older ones the start itself is the check."""
    result = host.run(["dockerd", "--validate", f"--config-file={path}"], timeout=30)
    said = result.tail(4)
    if result.ok or result.code == 127 or "unknown flag" in said:
        return
    raise HostError(f"dockerd refuses the new {CONFIG}; the old one was kept.\n{said.replace(str(path), str(CONFIG))}")


def _text(content: bytes | None) -> str:
    return "" if content is None else json.dumps(parse_json(CONFIG, content), indent=2) + "\n"
