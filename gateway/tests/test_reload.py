"""HAProxy replaced by another HAProxy: no client notices, whatever goes wrong."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from evenkeel_gateway.haproxy import lifecycle, worker
from evenkeel_gateway.haproxy.lifecycle import Haproxy, HaproxyError
from evenkeel_gateway.haproxy.render import render
from evenkeel_gateway.redaction import Redactor
from evenkeel_gateway.settings import Settings
from support.load import Load
from support.wait import free_port, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.servers import Backend

    Environment = Callable[..., None]

pytestmark = pytest.mark.anyio


def routes(**upstreams: str) -> str:
    return json.dumps([{"prefix": f"/{name}", "upstream": url} for name, url in upstreams.items()])


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Haproxy]:
    haproxy = Haproxy(Settings(), folder)
    await haproxy.configure()
    task = asyncio.create_task(haproxy.run())
    try:
        await until_async(lambda: haproxy.processes == 1 or task.done(), 10, "HAProxy serves")
        yield haproxy
    finally:
        await haproxy.stop()
        await asyncio.wait_for(task, 10)


@pytest.fixture
def port(environment: Environment, backend: Backend) -> int:
    port = free_port()
    environment(PORT=str(port), ROUTES=routes(a=backend.url), SHUTDOWN_GRACE_SECONDS="5")
    return port


def get(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def folders(runtime: Path) -> list[str]:
    return sorted(path.name for path in runtime.glob("haproxy.*"))


async def in_flight(haproxy: Haproxy, count: int = 1) -> None:
    async def enough() -> bool:
        return (await haproxy.requests() or 0) >= count

    await until_async(enough, 5, "requests are in flight")


def running(haproxy: Haproxy) -> int:
    assert haproxy._worker
    return haproxy._worker.pid


async def test_twenty_reloads_under_load_lose_nothing(port: int, backend: Backend, tmp_path: Path) -> None:
    async with serving(tmp_path) as haproxy:
        with Load(port, "/a") as load:
            for number in range(20):
                before = running(haproxy)
                await haproxy.reload()
                assert running(haproxy) != before
                await asyncio.sleep(0.1 + 0.02 * (number % 5))
        assert load.failures == []
        assert load.requests > 200
        await until_async(lambda: haproxy.processes == 1, 10, "the old ones have ended")
        assert len(folders(tmp_path)) == 1


async def test_new_routes_are_served_and_old_ones_are_not(
    port: int, backend: Backend, environment: Environment, tmp_path: Path
) -> None:
    async with serving(tmp_path) as haproxy:
        assert await asyncio.to_thread(get, port, "/b") == 404
        environment(PORT=str(port), ROUTES=routes(b=backend.url))
        await haproxy.reload(settings=Settings())
        assert await asyncio.to_thread(get, port, "/b") == 200
        assert await asyncio.to_thread(get, port, "/a") == 404


async def test_what_haproxy_refuses_changes_nothing(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as haproxy:
        inputs, pid = haproxy.inputs, running(haproxy)
        with monkeypatch.context() as broken:
            broken.setattr(lifecycle, "render", lambda inputs: render(inputs) | {"haproxy.cfg": "global\n  nonsense\n"})
            with pytest.raises(HaproxyError, match="nonsense"):
                await haproxy.reload()
        assert (haproxy.inputs, running(haproxy)) == (inputs, pid)
        assert "nonsense" in (haproxy.refused or "")
        assert folders(tmp_path) == [inputs.folder.name]
        assert await asyncio.to_thread(get, port, "/a") == 200
        await haproxy.reload()
        assert haproxy.refused is None


async def test_one_that_does_not_start_changes_nothing(
    port: int, environment: Environment, backend: Backend, tmp_path: Path
) -> None:
    """What the check can't see: a port that another process has."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        async with serving(tmp_path) as haproxy:
            pid = running(haproxy)
            environment(PORT=str(taken.getsockname()[1]), ROUTES=routes(a=backend.url))
            with pytest.raises(HaproxyError, match="Address already in use"):
                await haproxy.reload(settings=Settings())
            assert running(haproxy) == pid
            assert haproxy.current.settings.port == port
            assert await asyncio.to_thread(get, port, "/a") == 200


async def reload_that_crashes(haproxy: Haproxy) -> None:
    """Return when another one serves in its place."""
    await haproxy.reload(settings=Settings())
    pid = running(haproxy)
    os.kill(pid, signal.SIGSEGV)
    await until_async(lambda: running(haproxy) != pid, 5, "another one")


async def test_one_that_crashes_after_the_reload_is_undone(
    port: int, backend: Backend, environment: Environment, tmp_path: Path
) -> None:
    async with serving(tmp_path) as haproxy:
        environment(PORT=str(port), ROUTES=routes(b=backend.url))
        await reload_that_crashes(haproxy)
        assert await asyncio.to_thread(get, port, "/a") == 200
        assert [route.prefix for route in haproxy.current.settings.routes] == ["/a"]
        assert "of the reload" in (haproxy.refused or "")


async def test_reloads_at_the_same_time_are_one_after_the_other_and_shared(
    port: int, backend: Backend, environment: Environment, tmp_path: Path
) -> None:
    async with serving(tmp_path) as haproxy:
        first = asyncio.create_task(haproxy.reload())
        await asyncio.sleep(0)
        environment(PORT=str(port), ROUTES=routes(b=backend.url))
        await asyncio.gather(first, haproxy.reload(settings=Settings()), *(haproxy.reload() for _ in range(20)))
        # The start, the first reload, and one for all others.
        assert haproxy.inputs.folder.name == "haproxy.3"
        assert await asyncio.to_thread(get, port, "/b") == 200


async def test_one_bad_change_does_not_stop_the_others(
    port: int, backend: Backend, environment: Environment, tmp_path: Path
) -> None:
    async with serving(tmp_path) as haproxy:
        environment(PORT=str(port), ROUTES=routes(b=backend.url))
        good = Settings()
        bad = good.model_copy(update={"haproxy_binary": "no-such-haproxy"})
        first = asyncio.create_task(haproxy.reload())
        await asyncio.sleep(0)
        results = await asyncio.gather(
            haproxy.reload(settings=good), haproxy.reload(settings=bad), first, return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), HaproxyError, type(None)]
        assert haproxy.current.settings is good


async def test_a_request_in_flight_ends_where_it_began(port: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as haproxy:
        slow = asyncio.create_task(asyncio.to_thread(get, port, "/a/slow?1.5"))
        await in_flight(haproxy)
        old = running(haproxy)
        await haproxy.reload()
        assert await slow == 200
        await until_async(lambda: haproxy.processes == 1, 5, "the old one has ended")
        with pytest.raises(ProcessLookupError):
            os.kill(old, 0)  # reaped


async def test_the_grace_of_the_old_one_has_an_end(port: int, environment: Environment, tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"reload_grace_seconds": 0.5})
    async with serving(tmp_path) as haproxy:
        await haproxy.reload(settings=settings)
        await until_async(lambda: haproxy.processes == 1, 5, "the first one has ended")
        slow = asyncio.create_task(asyncio.to_thread(get, port, "/a/slow?5"))
        await in_flight(haproxy)
        started = time.monotonic()
        await haproxy.reload()
        with pytest.raises((http.client.HTTPException, OSError)):
            await slow
        assert 0.4 < time.monotonic() - started < 3
        await until_async(lambda: haproxy.processes == 1, 5, "the old one has ended")


async def test_not_more_than_some_old_ones_at_a_time(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "MAX_RETIRED", 2)
    async with serving(tmp_path) as haproxy:
        clients = []
        for number in range(3):
            clients.append(asyncio.create_task(asyncio.to_thread(get, port, "/a/slow?6")))
            await in_flight(haproxy, number + 1)
            await haproxy.reload()
        await until_async(lambda: haproxy.processes == lifecycle.MAX_RETIRED + 1, 5, "the oldest have ended")
        results = await asyncio.gather(*clients, return_exceptions=True)
        assert results[-lifecycle.MAX_RETIRED :] == [200] * lifecycle.MAX_RETIRED


async def test_an_open_circuit_stays_open(environment: Environment, backend: Backend, tmp_path: Path) -> None:
    port, dead = free_port(), f"http://127.0.0.1:{free_port()}"
    environment(PORT=str(port), ROUTES=routes(a=backend.url, dead=dead))
    async with serving(tmp_path) as haproxy:

        async def states() -> dict[str, str]:
            found = await haproxy.api.backends(haproxy.current.settings.routes)
            return {backend.prefix: backend.circuit for backend in found}

        async def opened() -> bool:
            return (await states())["/dead"] == "OPEN"

        await until_async(opened, 10, "HAProxy has seen that it is down")
        await haproxy.reload()
        assert await states() == {"/a": "CLOSED", "/dead": "OPEN"}
        # What was known of another upstream says nothing about the new one.
        environment(PORT=str(port), ROUTES=routes(a=backend.url, dead=backend.url))
        await haproxy.reload(settings=Settings())
        assert await states() == {"/a": "CLOSED", "/dead": "CLOSED"}


async def test_it_stops_at_once_with_idle_clients(port: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as haproxy:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            await asyncio.to_thread(connection.request, "GET", "/a")
            await asyncio.to_thread(lambda: connection.getresponse().read())
            await haproxy.reload()
            started = time.monotonic()
            await haproxy.stop()
            assert time.monotonic() - started < lifecycle.QUIET_SECONDS + worker.END_SECONDS


async def test_what_haproxy_quotes_of_a_secret_is_not_passed_on(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redactor = Redactor()
    redactor.learn("planted-key")
    broken = {"haproxy.cfg": "global\n  nonsense planted-key\n"}
    monkeypatch.setattr(lifecycle, "render", lambda inputs: render(inputs) | broken)
    haproxy = Haproxy(Settings(), tmp_path, redact=redactor.text)
    with pytest.raises(HaproxyError, match=r"nonsense") as error:
        await haproxy.reload()
    assert "planted" not in f"{error.value} {haproxy.refused}"


async def test_an_undone_configuration_is_not_forgotten(
    port: int, backend: Backend, environment: Environment, tmp_path: Path
) -> None:
    async with serving(tmp_path) as haproxy:
        environment(PORT=str(port), ROUTES=routes(b=backend.url))
        await reload_that_crashes(haproxy)
        await haproxy.reload(draining=False)
        assert "of the reload" in (haproxy.refused or "")
        await haproxy.reload(settings=Settings())
        assert haproxy.refused is None
