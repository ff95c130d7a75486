"""PgBouncer in transaction mode before a cluster."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from support.wait import free_port, until


class PgBouncer:
    """Two server connections for all clients: a session is another one with each transaction.

    As the README asks for it, it tries a database that refused it again after a second. By default that is 15 s: longer
    than a leader trusts its lease, so that a restart of the database in the blink of an eye would cost the leadership.
    """

    def __init__(self, server_port: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-pgbouncer-"))
        self.port = free_port()
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server_port} user=gateway pool_size=2\n"
            "[pgbouncer]\npool_mode = transaction\nserver_login_retry = 1\nauth_type = any\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        binary = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        if binary is None:
            raise RuntimeError("pgbouncer is not installed: the gateway's tests need it (apt install pgbouncer)")
        command = [binary, "-q", str(self._folder / "pgbouncer.ini")]
        if os.getuid() == 0:  # it refuses to run as root
            shutil.chown(self._folder, "postgres", "postgres")
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
        with (self._folder / "log").open("w") as output:
            self._process = subprocess.Popen(command, cwd="/", stdout=output, stderr=subprocess.STDOUT)
        until(self._answers, 10, "PgBouncer answers")

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def conninfo(self, database: str) -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}?sslmode=disable"
