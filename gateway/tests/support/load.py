"""Clients that send requests continuously and record each failure."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Self


class Load:
    """Half of the clients keep their connections, and every other one of those pauses longer now and then."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        clients: int = 8,
        pause: float = 0.02,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.failures: list[str] = []
        self.requests = 0
        self._port = port
        self._path = path
        self._pause = pause
        self._headers = headers or {}
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)
            assert not thread.is_alive(), "a request hangs"

    def _run(self, number: int) -> None:
        keeps, connection = number % 2 == 0, self._connection()
        sent = 0
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path, headers=self._headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != http.HTTPStatus.OK:
                    self.failures.append(f"{answer.status} {answer.reason}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            # After `Connection: close` http.client itself opens a new one.
            if not keeps:
                connection.close()
            with self._count:
                self.requests += 1
            sent += 1
            time.sleep(self._pause * 20 if number % 4 == 0 and sent % 10 == 0 else self._pause)
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
