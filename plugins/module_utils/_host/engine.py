# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine: its configuration is merged, checked, applied, and restored if the engine refuses it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .daemon_config import DEFAULT_NETWORK, moved, own_settings, running_places, withdrawn
from .docker import UNIT, Docker
from .files import Attributes, explained, merged, parse_json, read, replace
from .forwarding import ensure_forwarding
from .host import STATE_DIR, Host, HostError, Spec
from .stamps import applied_at, newer, stamp
from .units import Units, UnitState, run_unit

CONFIG = Path("/etc/docker/daemon.json")
# What each declaration wrote into it, so that it can be removed again.
WRITTEN = STATE_DIR / "daemon.json"
ATTRIBUTES = Attributes(0o644, 0, 0)
DONE = {"start": "started", "reload": "reloaded", "restart": "restarted"}
STAMP = "docker engine configuration"
# What the engine reloads on SIGHUP; everything else needs a restart.
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
class DaemonConfig:
    """daemon.json as it was and as it will be; and what the declaration wrote into it, before and after."""

    before: bytes | None
    old: dict[str, Any]
    new: dict[str, Any]
    written: dict[str, Any]
    writes: dict[str, Any]

    @property
    def after(self) -> bytes:
        return (json.dumps(self.new, indent=2, ensure_ascii=False) + "\n").encode()

    @property
    def differs(self) -> bool:
        return self.old != self.new

    @property
    def changed_keys(self) -> set[str]:
        return {key for key in {*self.old, *self.new} if self.old.get(key) != self.new.get(key)}

    @property
    def is_reloadable(self) -> bool:
        """A reload applies the keys in the file. A key that was removed keeps its value until a restart."""
        return self.changed_keys <= RELOADABLE & set(self.new) and not moved(self.old, self.new, {}, taken_over=True)

    @property
    def keeps_containers(self) -> bool:
        """Whether containers survive a restart: the engine that starts must have live-restore."""
        return self.new.get("live-restore") is True


def planned(wanted: Spec, declaration: str) -> DaemonConfig:
    before = read(CONFIG)
    old = parse_json(CONFIG, before or b"{}")
    written = _memory().get(declaration) or {}
    new = merged(withdrawn(old, written, wanted), wanted)
    return DaemonConfig(before, old, new, written, own_settings(old, written, wanted))


def ensure_engine(host: Host, units: Units, docker: Docker, spec: Spec) -> None:
    config = planned(spec.get("config") or {}, host.declaration)
    state = units.state(UNIT)
    if not state.exists and not host.expects_packages:
        raise HostError("Docker isn't installed here: declare its package, or use the docker role.")
    if state.masked:
        raise HostError(f"{UNIT} is masked, so systemd never starts it. Unmask it: systemctl unmask {UNIT}")
    engine = Engine(host, units, docker, config, restart_running=bool(spec.get("restart_running")))
    engine.ensure(state, differs=config.differs)
    # After its start: an engine that enables forwarding itself drops traffic that isn't for containers.
    forwards = bool(spec.get("forwarding")) and config.new.get("ip-forward") is not False
    ensure_forwarding(host, units, wanted=forwards)


class Engine:
    """The steps from one configuration to the next."""

    def __init__(
        self, host: Host, units: Units, docker: Docker, config: DaemonConfig, *, restart_running: bool
    ) -> None:
        self.host = host
        self.units = units
        self.docker = docker
        self.config = config
        self.restart_running = restart_running

    def ensure(self, state: UnitState, *, differs: bool) -> None:
        fresh = state.active and self._written_since(state.started_at)
        verb = "" if state.active else "start"
        if differs and verb == "start":
            self._refuse_behind_containers()
        if state.active and (differs or fresh):
            verb = "reload" if differs and self.config.is_reloadable else "restart"
        running = self.docker.running() if verb == "restart" else []
        if running:
            self._refuse_moves(running, taken_over=not fresh)
            self._refuse_or_warn(running)
        if differs:
            before, after = _text(self.config.before), _text(self.config.after)
            with self.host.change(str(CONFIG), "update" if before else "create", before, after) as apply:
                if apply:
                    replace(CONFIG, self.config.after, ATTRIBUTES, check=lambda path: validate(self.host, path))
                    self._remember(self.config.writes)
                self._bring_up(verb, running, put_back=True)
        else:
            self._bring_up(verb, running, put_back=False)
            if not self.host.check_mode:
                self._remember(self.config.writes)

    def _remember(self, settings: dict[str, Any]) -> None:
        memory = _memory()
        if settings != memory.get(self.host.declaration, {}):
            memory[self.host.declaration] = settings
            content = json.dumps({name: own for name, own in memory.items() if own}, indent=2) + "\n"
            replace(WRITTEN, content.encode(), Attributes(0o600, 0, 0))

    def _bring_up(self, verb: str, running: list[str], *, put_back: bool) -> None:
        self._ensure_enabled()
        if not verb:
            return
        before = "state: stopped\n" if verb == "start" else "state: started\n"
        with self.host.change(f"unit {UNIT}", verb, before, f"state: {DONE[verb]}\n") as apply:
            if apply:
                if running and self.config.keeps_containers and not self._restores_live():
                    self._enable_live_restore()
                self._apply(verb, put_back=put_back)
                self._start_again(running)
        if verb == "restart":
            self.host.restarted.append(UNIT)

    def _written_since(self, started_at: float) -> bool:
        """Whether daemon.json was written after the engine last read it, by a call that died or another process."""
        return bool(newer(self.host, [str(CONFIG)], max(started_at, applied_at(STAMP))))

    def _restores_live(self) -> bool:
        return bool(self.docker.info().get("LiveRestoreEnabled"))

    def _refuse_moves(self, running: list[str], *, taken_over: bool) -> None:
        config = self.config
        if taken_over and not moved(config.old, config.new, {}, taken_over=True):
            return
        places = moved(config.old, config.new, running_places(self.docker.info()), taken_over=taken_over)
        if places:
            names = ", ".join(running)
            raise HostError(
                f"The Docker engine can't apply {', '.join(places)} while containers run: with another value it would "
                f"not find {names} again. They would stop, or run without the engine and hold their ports. "
                "live-restore does not help. Nothing was changed. Drain this host (playbook drain.yml), stop the "
                f"containers (docker stop {' '.join(running)}), run this again, and put the host back into service "
                "(admit.yml)."
            )

    def _refuse_behind_containers(self) -> None:
        places = moved(self.config.old, self.config.new, {}, taken_over=True)
        if places and outlived():
            raise HostError(
                f"The Docker engine is stopped, and its containers still run: with another {', '.join(places)} it "
                "would not find them again. Nothing was changed. Start it (systemctl start docker), drain this host "
                "(playbook drain.yml), stop the containers (docker stop …) and run this again."
            )

    def _refuse_or_warn(self, running: list[str]) -> None:
        names = ", ".join(running)
        later = sorted(self.config.changed_keys & DEFAULT_NETWORK)
        if later and self.config.keeps_containers:
            self.host.warn(
                f"the Docker engine applies {', '.join(later)} only when it starts while no container runs: drain this "
                f"host, stop {names} and restart the engine"
            )
        if self.config.keeps_containers:
            self.host.warn(f"the Docker engine restarts for its new configuration; live-restore keeps {names} running")
        elif self.restart_running:
            self.host.warn(f"the Docker engine restarts for its new configuration, and with it {names}")
        else:
            keys = ", ".join(sorted(self.config.changed_keys)) or "daemon.json, which was changed after its start"
            raise HostError(
                f"The Docker engine needs a restart for {keys}. Without live-restore that would stop {names}: nothing "
                "was changed. Set live-restore to true in the engine's configuration; or drain this host and stop the "
                "containers first; or allow it with restart_running."
            )

    def _enable_live_restore(self) -> None:
        """live-restore itself needs no restart: once the running engine has it, a restart leaves containers alone."""
        self.units.control("reload", UNIT)
        if self._restores_live() or self.restart_running:
            return
        self._put_back()
        self.units.control("reload", UNIT)
        raise HostError(
            "The running Docker engine didn't apply live-restore, so a restart would stop running containers. "
            f"{CONFIG} was restored. Drain this host and allow the restart with restart_running."
        )

    def _ensure_enabled(self) -> None:
        if self.units.state(UNIT).enabled:
            return
        with self.host.change(f"unit {UNIT}", "enable", "enabled: false\n", "enabled: true\n") as apply:
            if apply:
                self.units.must("enable", UNIT)

    def _apply(self, verb: str, *, put_back: bool) -> None:
        try:
            run_unit(self.units, UNIT, verb)
        except HostError as error:
            if not put_back:
                raise
            self._put_back()
            self.units.control("reset-failed", UNIT)
            again = self.units.control("restart", UNIT)
            outcome = "runs again" if again.ok else "doesn't start without it either"
            old = "The old file was restored" if self.config.before is not None else "The file was removed again"
            raise HostError(
                f"The Docker engine doesn't {verb} with the new {CONFIG}. {old}; the engine {outcome}.\n{error}"
            ) from error
        stamp(STAMP)

    def _start_again(self, running: list[str]) -> None:
        """An engine that restarts without live-restore stops running containers and does not start them."""
        for name in running:
            self.docker.post(f"/containers/{name}/start")

    def _put_back(self) -> None:
        if self.config.before is not None:
            replace(CONFIG, self.config.before, ATTRIBUTES)
        else:
            with explained(CONFIG):
                CONFIG.unlink()
        self._remember(self.config.written)


def outlived() -> bool:
    """Whether containers run whose engine is stopped."""
    for process in Path("/proc").iterdir():
        try:
            shim = (process / "comm").read_text(encoding="utf-8").startswith("containerd-shim")
            if shim and b"\0-namespace\0moby\0" in (process / "cmdline").read_bytes():
                return True
        except OSError:
            # No process, or it ended meanwhile.
            continue
    return False


def _memory() -> dict[str, Any]:
    return parse_json(WRITTEN, read(WRITTEN) or b"{}")


def validate(host: Host, path: Path) -> None:
    """Engines from 23 on validate a configuration without starting; for older ones the start is the check."""
    result = host.run(["dockerd", "--validate", f"--config-file={path}"], timeout=30)
    output = result.tail(4)
    if result.ok or result.code == 127 or "unknown flag" in output:
        return
    raise HostError(
        f"dockerd refuses the new {CONFIG}; the old one was kept.\n{output.replace(str(path), str(CONFIG))}"
    )


def _text(content: bytes | None) -> str:
    return "" if content is None else json.dumps(parse_json(CONFIG, content), indent=2) + "\n"
