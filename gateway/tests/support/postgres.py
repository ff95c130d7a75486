"""A private PostgreSQL cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from support.wait import free_port


def binary(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    if found is None:
        raise RuntimeError(
            f"{name} is not installed: the gateway's tests need a PostgreSQL server (apt install postgresql)"
        )
    return found


class Cluster:
    def __init__(self, **settings: object) -> None:
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
        self._data = self._folder / "data"
        self.port = free_port()
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")

    def __enter__(self) -> Self:
        self._run("initdb", "-D", str(self._data), "-U", "gateway", "-A", "trust", "--no-sync", "-E", "UTF8")
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
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._folder / "log"), "-w", "-t", "30", "start")

    def stop(self, mode: str = "immediate") -> None:
        if not (self._data / "postmaster.pid").exists():
            return
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", "30", "stop")

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def require_password(self, user: str) -> None:
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self._run("pg_ctl", "-D", str(self._data), "reload")

    def conninfo(self, database: str = "postgres") -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _run(self, name: str, *arguments: str) -> None:
        command = [binary(name), *arguments]
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
        # Not to a pipe: the server inherits it from pg_ctl and holds it open.
        with (self._folder / "output").open("w+") as output:
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
