"""A private PostgreSQL cluster."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from support.wait import free_port

MEMORY = Path("/dev/shm")
# Bytes: several suites at once, each with hundreds of databases.
ROOM = 6 << 30


def binary(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    if found is None:
        raise RuntimeError(
            f"{name} is not installed: the gateway's tests need a PostgreSQL server (apt install postgresql)"
        )
    return found


def _new_folder() -> Path:
    """In memory if it has room: a database for each test is a thousand files, which nobody reads again."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix=f"gateway-pg-{os.getpid()}-", dir=MEMORY if roomy else None))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    return folder


def _run(folder: Path, name: str, *arguments: str) -> None:
    command = [name, *arguments]
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
    # Not to a pipe: the server inherits it from pg_ctl and holds it open.
    with (folder / "output").open("w+") as output:
        done = subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {output.read()}")


def _remove_left() -> None:
    """Of processes that were killed; a server ends within a minute after its files."""
    for folder in MEMORY.glob("gateway-pg-*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _empty_cluster() -> Path:
    """What initdb makes, which takes a second: once for all that this process starts."""
    _remove_left()
    folder = _new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data = folder / "data"
    _run(folder, binary("initdb"), "-D", str(data), "-U", "gateway", "-A", "trust", "--no-sync", "-E", "UTF8")
    return data


class Cluster:
    def __init__(self, **settings: object) -> None:
        self._settings = settings
        self._folder = _new_folder()
        self._data = self._folder / "data"
        self.port = free_port()

    def __enter__(self) -> Self:
        _run(self._folder, "cp", "-a", str(_empty_cluster()), str(self._data))
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": self.port,
            "unix_socket_directories": f"'{self._folder}'",
            "fsync": "off",
            "max_connections": 200,
        } | self._settings
        with (self._data / "postgresql.conf").open("a") as config:
            config.writelines(f"{key} = {value}\n" for key, value in settings.items())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        self._control("-l", str(self._folder / "log"), "-w", "-t", "30", "start")

    def stop(self, mode: str = "immediate") -> None:
        if not (self._data / "postmaster.pid").exists():
            return
        self._control("-m", mode, "-w", "-t", "30", "stop")

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def require_password(self, user: str) -> None:
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self._control("reload")

    def conninfo(self, database: str = "postgres") -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _control(self, *arguments: str) -> None:
        _run(self._folder, binary("pg_ctl"), "-D", str(self._data), *arguments)
