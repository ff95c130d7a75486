"""The addresses of an upstream's name: all are used, and changes are followed."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from evenkeel_gateway.haproxy import addresses
from evenkeel_gateway.haproxy.lifecycle import Haproxy
from evenkeel_gateway.settings import Settings
from support.wait import free_port, in_thread, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    Environment = Callable[..., None]

pytestmark = pytest.mark.anyio

HOST = "users.test"
FIRST, SECOND, THIRD = "127.0.0.11", "127.0.0.12", "127.0.0.13"


class Site:
    """What stands behind a name: servers on addresses of their own, all on one port, that answer with their address."""

    def __init__(self, resolved: dict[str, list[str]]) -> None:
        self.port = free_port()
        self.status = 200
        self._resolved = resolved
        self._running: dict[str, ExitStack] = {}

    def resolves_to(self, *addresses: str) -> None:
        self._resolved[HOST] = list(addresses)

    def start(self, *addresses: str) -> None:
        for address in addresses:
            self._running[address] = ExitStack()
            self._running[address].enter_context(self._server(address))

    def stop(self, *addresses: str) -> None:
        for address in addresses or tuple(self._running):
            self._running.pop(address).close()

    @contextmanager
    def _server(self, address: str) -> Iterator[None]:
        listener = socket.create_server((address, self.port))

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(65536):  # else it was a check
                        head = (
                            f"HTTP/1.1 {self.status} x\r\nConnection: close\r\nContent-Length: {len(address)}\r\n\r\n"
                        )
                        connection.sendall((head + address).encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(5)


class Gateway:
    def __init__(self, haproxy: Haproxy, port: int) -> None:
        self.haproxy = haproxy
        self._port = port

    def get(self) -> str:
        """Return the address that answered, or the status where none did."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
            connection.request("GET", "/api/users")
            answer = connection.getresponse()
            body = answer.read().decode()
            return body if answer.status == 200 else str(answer.status)

    async def answers(self, count: int = 12) -> Counter[str]:
        return Counter([await in_thread(self.get) for _ in range(count)])

    async def answers_come_from(self, wanted: set[str], seconds: float) -> float:
        async def are() -> bool:
            return set(await self.answers()) == wanted

        return await until_async(are, seconds, f"answers come from {wanted}")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> Iterator[Site]:
    resolved: dict[str, list[str]] = {}
    monkeypatch.setattr(addresses, "resolve", lambda hosts: {host: resolved[host] for host in hosts & resolved.keys()})
    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.5)
    site = Site(resolved)
    environment(PORT=str(free_port()), USERS_SERVICE_URL=f"http://{HOST}:{site.port}", SHUTDOWN_GRACE_SECONDS="1")
    yield site
    site.stop()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Gateway]:
    settings = Settings()
    haproxy = Haproxy(settings, folder)
    await haproxy.configure()
    task = asyncio.create_task(haproxy.run())
    try:
        await until_async(lambda: haproxy.processes == 1 or task.done(), 10, "HAProxy serves")
        yield Gateway(haproxy, settings.port)
    finally:
        await haproxy.stop()
        await asyncio.wait_for(task, 10)


async def test_each_address_gets_its_share(site: Site, tmp_path: Path) -> None:
    site.start(FIRST, SECOND, THIRD)
    site.resolves_to(FIRST, SECOND, THIRD)
    async with serving(tmp_path) as gateway:
        assert await gateway.answers(12) == {FIRST: 4, SECOND: 4, THIRD: 4}


async def test_nobody_notices_that_one_of_them_dies(site: Site, tmp_path: Path) -> None:
    site.start(FIRST, SECOND)
    site.resolves_to(FIRST, SECOND)
    async with serving(tmp_path) as gateway:
        site.stop(FIRST)
        for _ in range(5):
            assert await gateway.answers() == {SECOND: 12}
            await asyncio.sleep(0.3)
        [backend] = await gateway.haproxy.api.backends(gateway.haproxy.current.settings.routes)
        assert backend.circuit == "CLOSED"


async def test_addresses_come_and_go_without_a_failed_request(site: Site, tmp_path: Path) -> None:
    site.start(FIRST, SECOND, THIRD)
    site.resolves_to(FIRST, SECOND)
    async with serving(tmp_path) as gateway:
        site.resolves_to(SECOND, THIRD)
        await gateway.answers_come_from({SECOND, THIRD}, 8)
        site.resolves_to(THIRD)
        await gateway.answers_come_from({THIRD}, 8)
        # A name that has none at all for a while: it is the name service that is ill.
        site.resolves_to()
        await asyncio.sleep(1.2)
        assert await gateway.answers() == {THIRD: 12}
        site.resolves_to(FIRST, SECOND, THIRD)
        await gateway.answers_come_from({FIRST, SECOND, THIRD}, 8)
        await gateway.haproxy.reload()
        assert await gateway.answers() == {FIRST: 4, SECOND: 4, THIRD: 4}


async def test_there_is_room_for_more_than_there_were(site: Site, tmp_path: Path) -> None:
    addresses = [f"127.0.0.{number}" for number in range(20, 31)]
    site.start(*addresses)
    site.resolves_to(addresses[0])
    async with serving(tmp_path) as gateway:
        site.resolves_to(*addresses)
        await gateway.answers_come_from(set(addresses), 10)


async def test_a_new_address_does_not_inherit_the_circuit_of_the_old_one(site: Site, tmp_path: Path) -> None:
    site.start(FIRST)
    site.resolves_to(FIRST)
    async with serving(tmp_path) as gateway:
        site.stop(FIRST)
        await gateway.answers_come_from({"503"}, 20)
        await asyncio.sleep(3)
        site.start(SECOND)
        site.resolves_to(SECOND)
        assert await gateway.answers_come_from({SECOND}, 5) < 4


async def test_a_backend_that_starts_after_the_gateway_serves_at_once(site: Site, tmp_path: Path) -> None:
    site.resolves_to(FIRST)
    async with serving(tmp_path) as gateway:
        await asyncio.sleep(7)  # its first check has failed
        assert await gateway.answers(2) == {"503": 2}
        # Still the same after a reload.
        await gateway.haproxy.reload()
        site.start(FIRST)
        assert await gateway.answers_come_from({FIRST}, 10) < 4


async def test_a_circuit_that_was_opened_stays_open(site: Site, tmp_path: Path) -> None:
    site.start(FIRST)
    site.resolves_to(FIRST)
    async with serving(tmp_path) as gateway:
        assert await gateway.answers(1) == {FIRST: 1}
        site.status = 500
        assert set(await gateway.answers(20)) == {"500", "503"}
        site.status = 200
        for _ in range(4):
            await asyncio.sleep(1)
            assert await gateway.answers(3) == {"503": 3}
        # Another address that comes is used, the one that failed stays left alone.
        site.start(SECOND)
        site.resolves_to(FIRST, SECOND)
        await gateway.answers_come_from({SECOND}, 8)
        await gateway.haproxy.reload()
        assert await gateway.answers() == {SECOND: 12}


async def test_servers_of_a_route_that_have_no_address_yet_do_not_count(
    site: Site, environment: Environment, tmp_path: Path
) -> None:
    site.start(FIRST)
    site.resolves_to(FIRST)
    environment(
        PORT=str(free_port()),
        ROUTES=json.dumps([{"prefix": "/api/users", "upstream": [f"http://{HOST}:{site.port}", "http://later.test"]}]),
        SHUTDOWN_GRACE_SECONDS="1",
    )
    async with serving(tmp_path) as gateway:
        assert await gateway.answers(4) == {FIRST: 4}
        [backend] = await gateway.haproxy.api.backends(gateway.haproxy.current.settings.routes)
        assert (backend.circuit, backend.up) == ("CLOSED", True)
