"""A private Redis, and a proxy to it that can be slow."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import redis

from support.wait import free_port, until


class RedisServer:
    def __init__(self, *arguments: str, password: str | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-redis-"))
        self._arguments = arguments
        self._password = password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not installed: the gateway's tests need it (apt install redis-server)")
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        if self._password:
            command += ["--requirepass", self._password]
        with (self._folder / "log").open("a") as output:
            self._process = subprocess.Popen([*command, *self._arguments], stdout=output, stderr=subprocess.STDOUT)
        until(self._answers, 10, "Redis answers")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.exceptions.ConnectionError:
            return False

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password, decode_responses=True, protocol=2)

    def become_replica(self) -> None:
        """Without a primary: it can be read, not written."""
        self.client.replicaof("127.0.0.1", "1")

    def become_primary(self) -> None:
        self.client.replicaof("NO", "ONE")

    def change_password(self, password: str) -> None:
        client = self.client
        client.config_set("requirepass", password)
        self._password = password
        client.client_kill_filter(_type="normal", skipme=True)

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None


class SlowLink:
    """A TCP proxy that can hold back what the server answers."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.delay = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def hold_back(self, seconds: float) -> None:
        self.delay = seconds

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            _close(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _close(client)
                continue
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, slow: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if slow and self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
        for one in (source, target):
            _close(one)


def _close(one: socket.socket) -> None:
    """Closing alone does not wake who waits for it."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
