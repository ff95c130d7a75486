# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import (
    container_gate,
    containers,
    docker,
    port_conflicts,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_state import demultiplexed, digest
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.containers import ensure_container
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    EngineDouble,
    Runner,
    unit_block,
)

SPEC = {
    "name": "gateway",
    "image": "registry/gateway@sha256:1",
    "ports": ["80:3000"],
    "restart_policy": "unless-stopped",
}
NAMES = ("gateway", "gateway-replaced", "gateway-previous", "gateway-next")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, docker_engine: EngineDouble, runner: Runner) -> None:
    monkeypatch.setattr(container_gate, "SETTLE", 0.0)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: [])
    runner.answer("systemctl show", unit_block())
    docker_engine.images = {"registry/gateway@sha256:1": {"Id": "sha256:one"}}


def ensure(host: Host, **spec: Any) -> dict[str, Any]:
    return ensure_container(host, Docker(host, Units(host)), {**SPEC, **spec}, [])


def actions(host: Host) -> list[str]:
    return [change["action"] for change in host.changes]


def policy(engine: EngineDouble, name: str) -> str:
    entry = engine.container(name)
    assert entry is not None
    return str(entry["HostConfig"]["RestartPolicy"]["Name"])


def test_it_is_created_and_then_left_alone(target: Host, docker_engine: EngineDouble) -> None:
    report = ensure(target)
    assert report["replaced"]
    assert report["digest"] == "sha256:1"
    assert docker_engine.state() == {"gateway": "running"}
    assert policy(docker_engine, "gateway") == "unless-stopped"
    docker_engine.calls.clear()
    report = ensure(target)
    assert not report["replaced"]
    assert report["status"] == "running"
    assert actions(target) == ["create"]
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}


def test_a_change_replaces_and_keeps_the_previous_one(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gateway-previous": "exited", "gateway": "running"}
    assert policy(docker_engine, "gateway-previous") == "no"
    ensure(target, env={"A": "2"})
    assert docker_engine.state() == {"gateway-previous": "exited", "gateway": "running"}
    assert actions(target) == ["create", "replace", "replace"]


def test_the_new_one_is_made_before_the_old_one_stops(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.calls.clear()
    ensure(target, env={"A": "1"})
    writes = [call.split("/")[-1] for call in docker_engine.calls if call.startswith("POST")]
    assert writes == ["create", "update", "stop", "rename", "rename", "start", "update", "rename"]


def test_one_made_by_hand_is_taken_over(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.add("gateway", image="sha256:one")
    ensure(target)
    assert "not made by this collection" in target.diff[0]["before"]
    assert docker_engine.state() == {"gateway-previous": "exited", "gateway": "running"}


def test_a_failing_new_one_gives_way_to_the_old_one(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    old = docker_engine.container("gateway")
    docker_engine.logs = b"\x02\0\0\0\0\0\0\x18boom DB_PASSWORD=hunter2"
    with pytest.raises(HostError, match="It ended with exit code 3") as caught:
        ensure(target, command=["fail"])
    assert "Its last lines:\nboom DB_PASSWORD=(hidden)" in caught.value.message
    assert "the old one is back and serves (registry/gateway@sha256:1)" in caught.value.message
    assert docker_engine.state() == {"gateway": "running"}
    assert docker_engine.container("gateway") is old
    assert policy(docker_engine, "gateway") == "unless-stopped"
    assert actions(target) == ["create"]


def test_an_old_one_that_does_not_serve_again_is_said(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target, command=["old"])
    docker_engine.behaviours["old"] = {"Running": False, "Status": "exited", "ExitCode": 9}
    with pytest.raises(HostError, match=r"the old one .* is back, but is not healthy: .*It ended with exit code 9"):
        ensure(target, command=["fail"])


def test_a_failing_first_one_is_removed(target: Host, docker_engine: EngineDouble) -> None:
    with pytest.raises(HostError, match="there was no earlier gateway to put back"):
        ensure(target, command=["fail"])
    assert docker_engine.state() == {}


def test_a_refused_start_gives_way_too(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.refuse[r"POST /containers/id2/start"] = "driver failed programming external connectivity"
    with pytest.raises(HostError, match=r"doesn't start: .*external connectivity"):
        ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gateway": "running"}


def test_when_even_the_old_one_does_not_come_back(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.refuse[r"POST /containers/[^/]+/start"] = "no"
    with pytest.raises(HostError, match="AND THE OLD CONTAINER COULDN'T BE PUT BACK"):
        ensure(target, env={"A": "1"})


GIVEN = "Bind for 0.0.0.0:80 failed: port is already allocated"


def test_an_engine_that_holds_a_port_of_nobody_is_restarted(
    target: Host, docker_engine: EngineDouble, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(target)
    run = target.run

    def restarts(argv: list[str], **how: Any) -> Any:
        if argv[:2] == ["systemctl", "restart"]:
            docker_engine.refuse.clear()
        return run(argv, **how)

    monkeypatch.setattr(target, "run", restarts)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: ["docker-proxy (pid 7)"])
    docker_engine.refuse[r"POST /containers/[^/]+/start"] = GIVEN
    assert ensure(target, env={"A": "1"})["replaced"]
    assert runner.ran("systemctl restart") == ["systemctl restart docker.service"]
    assert [warning for warning in target.warnings if "it was restarted" in warning]


@pytest.mark.parametrize("why", ["another process has it", "another one would stop"])
def test_an_engine_is_not_restarted_where(
    target: Host, docker_engine: EngineDouble, runner: Runner, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    ensure(target)
    docker_engine.refuse[r"POST /containers/[^/]+/start"] = GIVEN
    if why == "another process has it":
        docker_engine.calls.clear()

        def listeners(_port: int) -> list[str]:
            started = any(call.endswith("/start") for call in docker_engine.calls)
            return ["nginx (pid 7)"] if started else []

        monkeypatch.setattr(port_conflicts, "listeners", listeners)
    else:
        docker_engine.add("another")
    with pytest.raises(HostError, match="AND THE OLD CONTAINER COULDN'T BE PUT BACK"):
        ensure(target, env={"A": "1"})
    assert runner.ran("systemctl restart") == []


def test_what_the_engine_refuses_to_create_stops_nothing(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.refuse[r"POST /containers/create"] = "invalid mount"
    with pytest.raises(HostError, match="can't be created; nothing was stopped"):
        ensure(target, volumes=["x:y"])
    assert docker_engine.state() == {"gateway": "running"}
    assert "POST /containers/id1/stop" not in docker_engine.calls


def test_a_taken_port_is_said_before_anything_stops(
    checked: Host, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_conflicts, "listeners", lambda port: ["nginx (pid 7)"] if port == 80 else [])
    with pytest.raises(HostError, match=r"Port 80 is taken by nginx \(pid 7\): stop it"):
        ensure(checked)
    checked.check_mode = False
    with pytest.raises(HostError, match="nothing was stopped"):
        ensure(checked)
    assert docker_engine.state() == {}


@pytest.mark.usefixtures("docker_engine")
def test_its_own_port_is_not_taken(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(target)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: ["docker-proxy (pid 7)"])
    ensure(target, env={"A": "1"})
    assert actions(target) == ["create", "replace"]


@pytest.mark.parametrize(
    ("there", "result"),
    [
        # Died after the new one was created.
        ({"gateway": "running", "gateway-next": "created"}, {"gateway-previous": "exited", "gateway": "running"}),
        # Died after the old one was stopped and renamed.
        (
            {"gateway-replaced": "exited", "gateway-next": "created"},
            {"gateway-previous": "exited", "gateway": "running"},
        ),
        ({"gateway-previous": "exited"}, {"gateway-previous": "exited", "gateway": "running"}),
        # Died before the new one had proven itself: the proven one is the one to keep.
        ({"gateway-replaced": "exited", "gateway": "running"}, {"gateway-previous": "exited", "gateway": "running"}),
        (
            {"gateway-replaced": "exited", "gateway-previous": "exited", "gateway": "exited"},
            {"gateway-previous": "exited", "gateway": "running"},
        ),
    ],
)
def test_whatever_died_half_way_is_repaired(
    target: Host, docker_engine: EngineDouble, there: dict[str, str], result: dict[str, str]
) -> None:
    for name, status in there.items():
        docker_engine.add(name, status=status)
    ensure(target)
    assert docker_engine.state() == result
    ensure(target)
    assert docker_engine.state() == result


def labelled(engine: EngineDouble, name: str, *, status: str, policy: str, image: str = "sha256:old") -> dict[str, Any]:
    """One that this collection made, with the restart policy that it has by now."""
    spec = json.dumps({"restart_policy": "unless-stopped"})
    entry = engine.add(name, status=status, image=image, Labels={"evenkeel.spec": spec})
    entry["HostConfig"]["RestartPolicy"]["Name"] = policy
    return entry


def container(host: Host, **spec: Any) -> containers.Container:
    return containers.Container(host, Docker(host, None), {**SPEC, **spec}, [])


def test_a_stop_that_was_interrupted_is_undone_before_a_pull_can_fail(
    target: Host, docker_engine: EngineDouble, runner: Runner
) -> None:
    runner.answer("docker pull", code=1, stderr="manifest unknown")
    for status in ("running", "exited"):
        docker_engine.containers.clear()
        old = labelled(docker_engine, "gateway", status=status, policy="no")
        with pytest.raises(HostError, match="no such image or tag"):
            ensure(target, image="registry/gateway:none")
        assert docker_engine.container("gateway") is old
        assert docker_engine.state() == {"gateway": "running"}
        assert policy(docker_engine, "gateway") == "unless-stopped"
    assert actions(target) == ["start", "start"]
    stopped = [call for call in docker_engine.calls if call.endswith("/stop")]
    assert len(stopped) == 1, "the stop that may still be under way is waited for"


def test_one_that_is_unproven_and_not_the_declared_one_gives_way_before_a_pull_can_fail(
    target: Host, docker_engine: EngineDouble, runner: Runner
) -> None:
    runner.answer("docker pull", code=1, stderr="manifest unknown")
    labelled(docker_engine, "gateway", status="running", policy="no", image="sha256:new")
    old = labelled(docker_engine, "gateway-replaced", status="exited", policy="no")
    with pytest.raises(HostError, match="no such image or tag"):
        ensure(target, image="registry/gateway:none")
    assert docker_engine.container("gateway") is old
    assert docker_engine.state() == {"gateway": "running"}


@pytest.mark.parametrize("aside", ["gateway-replaced", "gateway-withdrawn"])
def test_a_proven_one_stays_and_the_old_one_is_kept(target: Host, docker_engine: EngineDouble, aside: str) -> None:
    new = labelled(docker_engine, "gateway", status="running", policy="unless-stopped")
    old = labelled(docker_engine, aside, status="exited", policy="no")
    labelled(docker_engine, "gateway-previous", status="exited", policy="no")
    assert (container(target).recovery.recover() or {})["Id"] == new["Id"]
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}
    assert docker_engine.container("gateway-previous") is old
    assert actions(target) == ["finish"]


def test_an_old_one_that_does_not_start_again_is_replaced_all_the_same(
    target: Host, docker_engine: EngineDouble
) -> None:
    old = docker_engine.add("gateway", status="exited")
    docker_engine.refuse[rf"POST /containers/{old['Id']}/start"] = "mount is gone"
    ensure(target)
    assert docker_engine.state() == {"gateway-previous": "exited", "gateway": "running"}
    assert "doesn't start again: " in target.warnings[0]
    assert "mount is gone" in target.warnings[0]


def test_a_stopped_one_that_is_not_healthy_is_not_thrown_away(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target, command=["old"])
    entry = docker_engine.container("gateway")
    assert entry is not None
    entry["State"].update(Running=False, Status="exited")
    docker_engine.behaviours["old"] = {"Running": False, "Status": "exited", "ExitCode": 9}
    with pytest.raises(HostError, match="ended with exit code 9"):
        ensure(target, command=["old"])
    assert docker_engine.container("gateway") is entry


def test_what_fails_between_stop_and_start_goes_back_too(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    old = docker_engine.container("gateway")
    assert old is not None
    docker_engine.refuse[r"POST /containers/id2/rename"] = "out of names"
    with pytest.raises(HostError, match=r"out of names.*\n.*the old one is back and serves"):
        ensure(target, env={"A": "1"})
    assert docker_engine.container("gateway") is old
    assert docker_engine.state() == {"gateway": "running"}


def test_a_create_that_a_dead_call_had_asked_for_is_no_obstacle(
    target: Host, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(target)
    real = docker_engine.unix_request
    late: list[Any] = []

    def request(path: str, method: str, url: str, body: Any, timeout: float) -> Any:
        if "/containers/create" in url and not late:
            late.append(docker_engine.add("gateway-next", status="created"))
            return Response(409, b'{"message": "the name is in use"}')
        return real(path, method, url, body, timeout)

    monkeypatch.setattr(docker, "unix_request", request)
    ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gateway-previous": "exited", "gateway": "running"}
    assert late[0] not in docker_engine.containers


def test_restoring_exchanges_the_two(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    first = docker_engine.container("gateway")
    ensure(target, env={"A": "1"})
    second = docker_engine.container("gateway")
    docker_engine.calls.clear()
    subject = container(target, env={"A": "1"})
    subject.restore(None)
    assert subject.replacement.outcome == "restored"
    assert (docker_engine.container("gateway"), docker_engine.container("gateway-previous")) == (first, second)
    assert (policy(docker_engine, "gateway"), policy(docker_engine, "gateway-previous")) == ("unless-stopped", "no")
    assert not any("create" in call or call.startswith("DELETE") for call in docker_engine.calls)
    container(target).restore(None)
    assert (docker_engine.container("gateway"), docker_engine.container("gateway-previous")) == (second, first)
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}


def test_a_previous_one_that_fails_is_the_previous_one_again(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target, command=["old"])
    first = docker_engine.container("gateway")
    ensure(target)
    second = docker_engine.container("gateway")
    docker_engine.behaviours["old"] = {"Running": False, "Status": "exited", "ExitCode": 9}
    subject = container(target)
    with pytest.raises(HostError, match="exit code 9"):
        subject.restore(None)
    assert subject.replacement.outcome == "rolled_back"
    assert (docker_engine.container("gateway"), docker_engine.container("gateway-previous")) == (second, first)
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}
    assert policy(docker_engine, "gateway-previous") == "no"


def test_restoring_a_wanted_image(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.images["registry/gateway@sha256:2"] = {"Id": "sha256:two"}
    ensure(target)
    ensure(target, image="registry/gateway@sha256:2")
    second = docker_engine.container("gateway")
    with pytest.raises(HostError, match=r"gateway-previous is of the image registry/gateway@sha256:1, not of sha256:9"):
        container(target).restore("sha256:9")
    for wanted in ("registry/gateway@sha256:2", "sha256:2", "sha256:two"):
        subject = container(target)
        subject.restore(wanted)
        assert subject.replacement.outcome == "unchanged"
    assert docker_engine.container("gateway") is second
    for _again in range(2):
        container(target).restore("sha256:1")
        assert docker_engine.container("gateway-previous") is second
    assert actions(target) == ["create", "replace", "restore"]


def test_restoring_a_container_of_the_same_image(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    first = docker_engine.container("gateway")
    assert first is not None
    ensure(target, env={"A": "1"})
    container(target).restore("sha256:1")
    assert docker_engine.container("gateway") is not first, "the image does not tell them apart"
    for _again in range(2):
        container(target).restore(first["Id"])
        assert docker_engine.container("gateway") is first
    assert actions(target) == ["create", "replace", "restore"]


def test_restoring_after_a_replacement_that_was_interrupted_only_undoes_it(
    target: Host, docker_engine: EngineDouble
) -> None:
    labelled(docker_engine, "gateway", status="running", policy="no", image="sha256:new")
    old = labelled(docker_engine, "gateway-replaced", status="exited", policy="no")
    labelled(docker_engine, "gateway-previous", status="exited", policy="no")
    subject = container(target)
    subject.restore(None)
    assert subject.replacement.outcome == "restored"
    assert docker_engine.container("gateway") is old
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}


@pytest.mark.parametrize("renamed", [True, False])
def test_a_restoration_that_was_interrupted_is_done_again(
    target: Host, docker_engine: EngineDouble, renamed: bool
) -> None:
    name = "gateway" if renamed else "gateway-previous"
    previous = labelled(docker_engine, name, status="exited", policy="no")
    current = labelled(docker_engine, "gateway-withdrawn", status="exited", policy="no")
    container(target).restore(None)
    assert (docker_engine.container("gateway"), docker_engine.container("gateway-previous")) == (previous, current)
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}


def test_nothing_to_restore(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    with pytest.raises(HostError, match=r"no gateway-previous that could be restored; nothing was stopped"):
        container(target).restore(None)
    assert docker_engine.state() == {"gateway": "running"}


def test_restoring_in_check_mode(target: Host, checked: Host, docker_engine: EngineDouble) -> None:
    checked.check_mode = False
    ensure(target)
    ensure(target, env={"A": "1"})
    checked.check_mode = True
    before = docker_engine.state()
    docker_engine.calls.clear()
    subject = container(checked)
    subject.restore(None)
    assert subject.replacement.outcome == "restored"
    assert '"A": "1"' in checked.diff[-1]["before"]
    assert '"A"' not in checked.diff[-1]["after"]
    assert docker_engine.state() == before
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}


def test_an_image_for_another_processor_stops_nothing(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.images["registry/gateway@sha256:2"] = {"Id": "sha256:two", "Architecture": "arm64"}
    with pytest.raises(HostError, match="built for arm64, and this host is amd64; nothing was stopped"):
        ensure(target, image="registry/gateway@sha256:2")
    assert docker_engine.state() == {"gateway": "running"}


@pytest.mark.parametrize("left", ["gateway-replaced", "gateway-previous"])
def test_what_is_left_serves_even_if_the_new_one_fails(target: Host, docker_engine: EngineDouble, left: str) -> None:
    old = docker_engine.add(left, status="exited")
    with pytest.raises(HostError, match="exit code 3"):
        ensure(target, command=["fail"])
    assert docker_engine.container("gateway") is old
    assert docker_engine.state() == {"gateway": "running"}


def test_an_unproven_one_as_declared_is_proven_now(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    unproven = docker_engine.container("gateway")
    docker_engine.add("gateway-replaced", status="exited")
    ensure(target)
    assert docker_engine.container("gateway") is unproven
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}
    assert actions(target) == ["create", "finish"]


def test_a_stopped_one_is_started(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    entry = docker_engine.container("gateway")
    assert entry is not None
    entry["State"].update(Running=False, Status="exited")
    ensure(target)
    assert docker_engine.state() == {"gateway": "running"}
    assert actions(target) == ["create", "start"]


def test_memory_and_restart_policy_change_in_place(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target, memory="64m")
    ensure(target, memory="128m", restart_policy="always")
    entry = docker_engine.container("gateway")
    assert entry is not None
    assert entry["HostConfig"]["Memory"] == 128 * 2**20
    assert policy(docker_engine, "gateway") == "always"
    assert actions(target) == ["create", "update"]
    ensure(target)
    assert actions(target) == ["create", "update", "replace"]


def test_check_mode_changes_nothing(checked: Host, docker_engine: EngineDouble) -> None:
    docker_engine.add("gateway-replaced", status="exited")
    docker_engine.images = {}
    report = ensure(checked)
    assert actions(checked) == ["restore", "pull", "replace"]
    assert report["replaced"]
    assert docker_engine.state() == {"gateway-replaced": "exited"}
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}


def test_check_mode_without_an_engine_asks_none(checked: Host, docker_engine: EngineDouble, runner: Runner) -> None:
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(LoadState="not-found", ActiveState="inactive"))
    report = ensure(checked)
    assert actions(checked) == ["pull", "create"]
    assert report["status"] == "absent"
    assert docker_engine.calls == []


@pytest.mark.usefixtures("target")
def test_a_missing_image_is_pulled_once(docker_engine: EngineDouble, runner: Runner) -> None:
    image = docker_engine.images.pop(str(SPEC["image"]))
    pulled: list[str] = []

    def run(argv: Any, *rest: Any) -> Any:
        if argv[:2] == ["docker", "pull"]:
            pulled.append(argv[-1])
            docker_engine.images[argv[-1]] = image
        return runner(argv, *rest)

    subject = Host(runner=run)
    ensure(subject)
    ensure(subject)
    assert pulled == [SPEC["image"]]
    assert actions(subject) == ["pull", "create"]


def test_a_tag_is_pulled_each_time_and_replaces_when_it_moved(
    target: Host, docker_engine: EngineDouble, runner: Runner
) -> None:
    docker_engine.images["registry/gateway:1"] = {"Id": "sha256:one", "RepoDigests": ["registry/gateway@sha256:9"]}
    report = ensure(target, image="registry/gateway:1")
    assert report["digest"] == "sha256:9"
    ensure(target, image="registry/gateway:1")
    assert len(runner.ran("docker pull")) == 2
    docker_engine.images["registry/gateway:1"] = {"Id": "sha256:two"}
    ensure(target, image="registry/gateway:1")
    assert actions(target) == ["create", "replace"]


@pytest.mark.usefixtures("docker_engine")
def test_never_pulling_needs_the_image(target: Host) -> None:
    with pytest.raises(HostError, match="pull is set to never"):
        ensure(target, image="registry/other:1", pull="never")


def test_an_unhealthy_or_oom_killed_one_is_said(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.behaviours["sick"] = {
        "Running": True,
        "Status": "running",
        "Health": {"Status": "unhealthy", "Log": [{"Output": "connection refused"}]},
    }
    docker_engine.behaviours["greedy"] = {"Running": False, "Status": "exited", "OOMKilled": True}
    with pytest.raises(HostError, match="health check says unhealthy: connection refused"):
        ensure(target, command=["sick"])
    with pytest.raises(HostError, match=r"more memory than its limit \(64 MiB\)"):
        ensure(target, command=["greedy"], memory="64m")


def test_no_engine_is_said(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker.unix_request", refused)
    with pytest.raises(HostError, match="No Docker engine answers"):
        ensure(target)


def test_log_streams() -> None:
    assert demultiplexed(b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x02b\n") == "a\nb\n"
    assert demultiplexed(b"plain text\n") == "plain text\n"


def test_digests() -> None:
    image = {"RepoDigests": ["host:5000/other@sha256:1", "host:5000/gateway@sha256:2"]}
    assert digest("host:5000/gateway:1", image) == "sha256:2"
    assert digest("host:5000/gateway", image) == "sha256:2"
    assert digest("x@sha256:3", None) == "sha256:3"
    assert digest("y:1", image) is None


@pytest.mark.usefixtures("docker_engine")
def test_no_secret_in_a_diff(target: Host) -> None:
    ensure(target, env={"DB_PASSWORD": "hunter2"})
    ensure(target, env={"DB_PASSWORD": "hunter3"})
    assert "hunter" not in json.dumps([target.diff, target.changes])
    assert target.diff[1]["before"] != target.diff[1]["after"]


@pytest.mark.parametrize("check", [False, True])
def test_a_paused_one_is_named_with_what_ends_it(target: Host, docker_engine: EngineDouble, check: bool) -> None:
    ensure(target)
    current = docker_engine.container("gateway")
    assert current is not None
    current["State"].update(Paused=True, Status="paused")
    target.check_mode = check
    docker_engine.calls.clear()
    for wanted in ({}, {"env": {"A": "1"}}):
        with pytest.raises(HostError, match=r"It is paused .*: docker unpause gateway\nNothing was changed"):
            ensure(target, **wanted)
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}
