# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in its own namespaces, with a docker engine and a registry that a test may kill."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import unix_request
from tests.integration.support import await_true

NAME = "app"
PORT = 8080
URL = f"http://127.0.0.1:{PORT}"
REGISTRY = "127.0.0.1:5000"

# Takes in the processes whose parents ended, as any process 1 does.
FIRST_PROCESS = """
import os, time
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        time.sleep(0.1)
"""
HOST4, HOST6 = "10.77.0.1", "fd77::1"
ELSEWHERE = f"""
    ip netns add elsewhere
    ip link add to-elsewhere type veth peer name eth0 netns elsewhere
    ip addr add {HOST4}/24 dev to-elsewhere
    ip addr add {HOST6}/64 dev to-elsewhere nodad
    ip link set to-elsewhere up
    ip -n elsewhere addr add 10.77.0.2/24 dev eth0
    ip -n elsewhere addr add fd77::2/64 dev eth0 nodad
    ip -n elsewhere link set eth0 up
"""
# What a module asks of systemd: whether the engine runs, and that it restarts, with live-restore or without.
SYSTEMCTL = """#!/bin/bash
[ "$1" != show ] || printf '%s\n' Id=docker.service LoadState=loaded ActiveState=active UnitFileState=enabled
[ "$1" = restart ] || exit 0
kill $(cat /run/docker.pid)
while [ -e /run/docker.pid ]; do sleep 0.05; done
setsid dockerd $(cat /run/dockerd.options) >>/run/dockerd.log 2>&1 </dev/null &
"""
REGISTRY_CONFIGURATION = """
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /var/lib/docker/registry}}
http: {addr: "127.0.0.1:5000"}
"""
APP = (Path(__file__).parent / "app.py").read_text(encoding="utf-8")


class LittleHost:
    """Everything in it ends with its first process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.digests: dict[str, str] = {}
        self.booted = False

    # Its life

    def start(self) -> None:
        boot = f"""
            ip link set lo up
            mount -t tmpfs tmpfs /run
            mkdir -p /var/lib/docker
            mount --bind {shlex.quote(str(self.data))} /var/lib/docker
            touch /run/booted
            exec {shlex.quote(sys.executable)} -c {shlex.quote(FIRST_PROCESS)}
        """
        namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"]
        self.unshare = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-ec", boot], start_new_session=True, stderr=subprocess.DEVNULL
        )
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        await_true(lambda: children.read_text().split(), "the host's first process")
        self.pid = children.read_text().split()[0]
        # Until then, what is called /run in it is the machine's own, with the machine's engine.
        await_true((self.root / "run/booted").exists, "the host has booted")
        assert (self.root / "run").stat().st_dev != Path("/run").stat().st_dev
        self.booted = True
        self.start_engine()
        self.start_registry()

    def stop(self) -> None:
        with suppress(subprocess.SubprocessError, AssertionError):
            assert self.booted
            self.do("docker ps --quiet --all | xargs --no-run-if-empty docker rm --force")
            self.do("kill $(cat /run/docker.pid)")
            await_true(lambda: not (self.root / "run/docker.pid").exists(), "the engine has stopped")
        # Its first process goes with it, and all others with that.
        self.unshare.kill()
        self.unshare.wait(10)

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    @property
    def inside(self) -> list[str]:
        return ["nsenter", "--target", self.pid, "--all"]

    def do(self, script: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        done = subprocess.run(
            [*self.inside, "bash", "-ec", script], input=stdin, capture_output=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{script}:\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def _daemon(self, *command: str) -> None:
        log = self.folder / f"{command[0]}.log"
        with log.open("ab") as stream:
            subprocess.Popen(
                [*self.inside, *command],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    # Its engine

    def start_engine(self) -> None:
        self._daemon("dockerd")
        await_true(self.answers, "the engine answers")

    def restart_engine(self, options: str = "") -> None:
        """As systemctl does it from then on, with these options."""
        self.know_systemd()
        self.do(f"echo {shlex.quote(options)} >/run/dockerd.options; bash /run/systemctl restart")
        await_true(self.answers, "the engine answers")

    def know_systemd(self) -> None:
        self.do("cat >/run/systemctl; chmod +x /run/systemctl", stdin=SYSTEMCTL.encode())
        self.do("mountpoint -q /usr/bin/systemctl || mount --bind /run/systemctl /usr/bin/systemctl")

    def answers(self) -> bool:
        try:
            return bool(self.ask("GET", "/_ping").status == 200)
        except OSError:
            return False

    def ask(self, method: str, path: str) -> Any:
        return unix_request(str(self.root / "run/docker.sock"), method, path, None, 20)

    def containers(self, *, running: bool = False) -> dict[str, str]:
        """Ids by name."""
        found = self.ask("GET", "/containers/json" + ("" if running else "?all=1")).json()
        return {entry["Names"][0].lstrip("/"): entry["Id"] for entry in found}

    def inspect(self, name: str) -> Any:
        return self.ask("GET", f"/containers/{name}/json").json()

    def remove_containers(self) -> None:
        for identity in self.containers().values():
            self.ask("DELETE", f"/containers/{identity}?force=1")

    def get(self, path: str) -> str:
        """What the app answers, or nothing."""
        request = rf"printf 'GET {path} HTTP/1.0\r\n\r\n' >&3"
        # A subshell: docker's proxy may close a connection at once, and SIGPIPE ends the shell that writes to it.
        return self.do(f"exec 2>/dev/null; ( exec 3<>/dev/tcp/127.0.0.1/{PORT} && {request} && cat <&3 ) || true")

    # Who asks from outside

    def know_another_machine(self) -> None:
        """One from which the host is reached, called elsewhere."""
        if "elsewhere" not in self.do("ip netns list"):
            self.do(ELSEWHERE)

    def is_reached(self) -> bool:
        ask = rf"exec 3<>/dev/tcp/{HOST4}/{PORT}; printf 'GET /health HTTP/1.0\r\n\r\n' >&3; head -1 <&3"
        found = self.do(f"ip netns exec elsewhere timeout 3 bash -c {shlex.quote(ask)} 2>/dev/null || true")
        return " 200 " in found

    # Its registry

    def start_registry(self) -> None:
        (self.root / "run/registry.yml").write_text(REGISTRY_CONFIGURATION)
        self._daemon("docker-registry", "serve", "/run/registry.yml")
        connect = f"(: </dev/tcp/{REGISTRY.replace(':', '/')}) 2>/dev/null"
        self.do(f"for n in {{1..200}}; do {connect} && exit; sleep 0.05; done; false")

    def stop_registry(self) -> None:
        self.do("pkill -x docker-registry; while pgrep -x docker-registry >/dev/null; do sleep 0.05; done")

    # Its images

    def image(
        self, tag: str, *, architecture: str = "", command: list[str] | None = None, size: int = 0, **app: Any
    ) -> str:
        """An image of the app in the registry, and not on the host: its reference by digest."""
        # Two tests may give the same tag to different images.
        made_of = json.dumps([tag, architecture, command, size, app])
        if made_of not in self.digests:
            reference = f"{REGISTRY}/{NAME}:{tag}"
            architecture = architecture or self.ask("GET", "/version").json()["Arch"]
            archive = image_archive(reference, architecture, command, size, {"version": tag, **app})
            self.do("docker load", stdin=archive)
            self.do(f"docker push --quiet {reference}")
            digest = self.do(f"docker inspect --format '{{{{index .RepoDigests 0}}}}' {reference}").strip()
            self.do(f"docker rmi {reference}")
            self.digests[made_of] = digest
        return self.digests[made_of]

    # What happens meanwhile

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        watch = Watch(self)
        watch.start()
        try:
            yield watch
        finally:
            watch.over.set()
            watch.join(30)


class Watch(threading.Thread):
    """Sees every few milliseconds which containers of the app run."""

    def __init__(self, host: LittleHost) -> None:
        super().__init__(daemon=True)
        self.host = host
        self.over = threading.Event()
        # When, and the ids of those that ran; nothing where the engine gave no answer.
        self.seen: list[tuple[float, frozenset[str]]] = []

    def run(self) -> None:
        while not self.over.wait(0.005):
            with suppress(OSError, TypeError, AttributeError):
                now = time.monotonic()
                running = self.host.containers(running=True)
                self.seen.append((now, frozenset(i for name, i in running.items() if name.startswith(NAME))))

    def gap(self) -> float:
        """The longest time in seconds in which none ran."""
        longest = 0.0
        since: float | None = None
        for at, running in self.seen:
            if running:
                since = None
            else:
                since = at if since is None else since
                longest = max(longest, at - since)
        return longest

    def assert_never_two(self) -> None:
        assert len(self.seen) > 10, "too few looks to prove anything"
        assert max(len(running) for _at, running in self.seen) <= 1


def image_archive(
    reference: str, architecture: str, command: list[str] | None, size: int, settings: dict[str, Any]
) -> bytes:
    """What `docker load` takes: an image whose program is the host's own python, which is mounted when it runs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tree:
        for link in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tree.addfile(entry)
        # An ELF header for a processor of long ago.
        foreign = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x2a\0\x01" + bytes(200)
        files = {"app.py": APP.encode(), "app.json": json.dumps(settings).encode(), "foreign": foreign}
        if size:
            files["ballast"] = os.urandom(size)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tree.addfile(entry, io.BytesIO(content))
    digest = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": command or ["/usr/bin/python3", "-S", "-E", "/app.py"]},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as outer:
        for name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            outer.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
