"""A crash of a part of the gateway does not affect the traffic."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from support.load import Load
from support.supervised import children, control_of
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import GatewayProcess
    from support.servers import Backend

    Start = Callable[..., GatewayProcess]


def test_haproxy_serves_on_while_the_control_plane_is_killed(gateway: Start, backend: Backend) -> None:
    process = gateway("supervisor", USERS_SERVICE_URL=backend.url).ready()
    haproxy = children(control_of(process))["haproxy"]
    with Load(process.port, "/api/users") as load:
        for _ in range(2):
            os.kill(control_of(process), signal.SIGKILL)
            until(lambda: process.status("/api/health") in (502, 503), 10, "the control plane is gone")
            process.ready()
    assert load.failures == []
    assert load.requests > 100
    until(lambda: not Path(f"/proc/{haproxy}").exists(), 10, "the HAProxy of before is replaced and reaped")
    assert "HAProxy keeps serving" in process.log
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_who_crashed_is_as_old_as_before(gateway: Start, backend: Backend) -> None:
    """Without IMDS and LAUNCHED_AT the age is that of the first process, or each crash would make it the youngest."""
    process = gateway("supervisor", A_SERVICE_URL=backend.url, AWS_EC2_METADATA_DISABLED="true").ready()
    launched = process.request("/api/about-me").body["launchedAt"]
    control = control_of(process)
    os.kill(control, signal.SIGKILL)
    until(lambda: control_of(process) != control, 30, "another control plane")
    process.ready()
    assert process.request("/api/about-me").body["launchedAt"] == launched


def test_a_request_in_flight_survives_the_control_plane(gateway: Start, backend: Backend) -> None:
    process = gateway("supervisor", USERS_SERVICE_URL=backend.url).ready()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(process.status, "/api/users/slow?3")
        until(lambda: backend.slow, 5, "it is in flight")
        os.kill(control_of(process), signal.SIGKILL)
        assert slow.result() == 200
    process.ready()


def test_a_stop_while_the_control_plane_starts_again(gateway: Start, backend: Backend) -> None:
    """HAProxy is then without one, and ends what it has begun all the same."""
    process = gateway("supervisor", USERS_SERVICE_URL=backend.url).ready()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(process.status, "/api/users/slow?2")
        until(lambda: backend.slow, 5, "it is in flight")
        os.kill(control_of(process), signal.SIGKILL)
        until(lambda: "restarting it" in process.log, 5, "it is seen")
        process.signal(signal.SIGTERM)
        assert slow.result() == 200
    assert process.wait() == 0


_FAILS_ONCE = """
import asyncio, os, pathlib
from evenkeel_gateway.traffic import Traffic

async def fail(self):
    flag = pathlib.Path(os.environ["FAIL"])
    while not flag.exists():
        await asyncio.sleep(0.05)
    flag.unlink()
    raise RuntimeError("planned")

Traffic.run = fail
"""


def test_a_part_that_fails_takes_no_traffic_with_it(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    """A mistake in the control plane: it ends, is started again, and HAProxy has not noticed."""
    (tmp_path / "sitecustomize.py").write_text(_FAILS_ONCE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    flag = tmp_path / "fail"
    process = gateway("supervisor", A_SERVICE_URL=backend.url, PYTHONPATH=path, FAIL=str(flag)).ready()
    control = control_of(process)
    haproxy = children(control)["haproxy"]
    with Load(process.port, "/api/a") as load:
        flag.touch()
        until(lambda: control_of(process) != control, 30, "another control plane")
        process.ready()
        until(lambda: not Path(f"/proc/{haproxy}").exists(), 10, "HAProxy was handed over")
    assert load.failures == []
    assert "planned" in process.log


def test_a_bad_configuration_ends_it(gateway: Start) -> None:
    process = gateway("supervisor", PORT="http")
    assert process.wait() == 2
    assert "PORT" in process.log


def test_one_that_does_not_start_ends_it_and_says_why(gateway: Start) -> None:
    first = gateway().ready()
    second = gateway("supervisor", PORT=str(first.port))
    assert second.wait(30) == 1
    assert f"Address already in use) for [0.0.0.0:{first.port}]" in second.log
    assert "giving up" in second.log
    assert first.status("/api/health") == 200


def test_two_do_not_share_a_folder(gateway: Start, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    first = gateway(RUNTIME_DIR=folder).ready()
    second = gateway(RUNTIME_DIR=folder)
    assert second.wait() == 2
    assert f"RUNTIME_DIR={folder}: another gateway uses it" in second.log
    assert first.status("/api/health") == 200


def test_haproxy_is_started_again_within_a_second(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url).ready()
    [haproxy] = process.children
    os.kill(haproxy, signal.SIGKILL)
    until(lambda: process.children not in ([], [haproxy]), 5, "another HAProxy")
    assert until(lambda: process.status("/api/users") == 200, 2, "it serves") < 1
    assert "gateway_haproxy_restarts_total 1.0" in process.request("/metrics").body


def kill_all(process: GatewayProcess) -> None:
    """As the kernel ends a container when its first process has ended."""
    control = control_of(process)
    for pid in (process.pid, control, *children(control).values()):
        os.kill(pid, signal.SIGKILL)
    until(lambda: process.status("/api/a") == 0, 5, "all of it is gone")


def test_a_container_that_starts_again_in_the_directory_of_a_killed_one(
    gateway: Start, backend: Backend, tmp_path: Path
) -> None:
    """As in a pod, whose directories outlive its containers: nothing of the old one is there but its files."""
    folder = str(tmp_path / "run")
    sizes = []
    for _ in range(4):
        process = gateway("supervisor", A_SERVICE_URL=backend.url, RUNTIME_DIR=folder).ready()
        assert process.status("/api/a") == 200
        kill_all(process)
        sizes.append(len(list(Path(folder).iterdir())))
    assert len(set(sizes[1:])) == 1, "what is left does not grow"
