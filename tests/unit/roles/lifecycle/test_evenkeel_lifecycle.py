# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load() -> ModuleType:
    path = Path(__file__).parents[4] / "roles" / "lifecycle" / "files" / "evenkeel_lifecycle.py"
    spec = importlib.util.spec_from_file_location("evenkeel_lifecycle", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


lifecycle = load()
ME = "i-0123456789abcdef0"


class Metadata:
    def __init__(self, **known: str) -> None:
        self.known = {"meta-data/instance-id": ME, "meta-data/placement/region": "eu-central-1"}
        self.known.update({f"meta-data/{lifecycle.PATHS[name]}": value for name, value in known.items()})

    def get(self, path: str) -> str | None:
        return self.known.get(path)


def reason(rebalance: str = "log", **known: str) -> str:
    return str(lifecycle.Notice.read(Metadata(**known)).reason(rebalance))


@pytest.mark.parametrize("target", ["", "InService", "Standby", "Detached", "Pending"])
def test_other_states_of_the_group_are_no_reason_to_leave(target: str) -> None:
    assert reason(target=target) == ""


@pytest.mark.parametrize("target", ["Terminated", "Warmed:Stopped", "Warmed:Hibernated", "Warmed:Terminated"])
def test_the_group_ends_it_or_takes_it_into_the_warm_pool(target: str) -> None:
    assert reason(target=target) == f"the Auto Scaling group: {target}"


def test_the_group_comes_before_the_spot_notice_because_its_action_is_to_be_completed() -> None:
    spot = json.dumps({"action": "terminate", "time": "2026-01-02T03:04:05Z"})
    assert reason(spot=spot, target="InService") == "the spot instance is interrupted: terminate"
    assert reason(spot=spot, target="Terminated") == "the Auto Scaling group: Terminated"


def test_a_rebalance_recommendation_is_a_reason_where_it_is_to_be_one() -> None:
    notice = json.dumps({"noticeTime": "2026-01-02T03:04:05Z"})
    assert reason(rebalance=notice) == ""
    assert lifecycle.Notice.read(Metadata(rebalance=notice)).reason("drain")
    assert not lifecycle.Notice.read(Metadata()).reason("drain")


@pytest.mark.parametrize("spot", ["terminate", "[]", "null", '{"action": '])
def test_a_spot_notice_that_can_not_be_read_is_no_answer(spot: str) -> None:
    with pytest.raises(lifecycle.UnansweredError, match="instance-action"):
        reason(spot=spot)


@pytest.mark.parametrize("name", ["instance", "region"])
def test_without_an_identity_there_is_no_answer(name: str) -> None:
    with pytest.raises(lifecycle.UnansweredError, match="no id and region"):
        reason(**{name: ""})


def described(*instances: tuple[str, str]) -> dict[str, Any]:
    members = [
        {"InstanceId": identifier, "AutoScalingGroupName": "gateways", "LifecycleState": state}
        for identifier, state in instances
    ]
    return {"AutoScalingInstances": members}


def test_the_state_is_that_of_this_instance_alone() -> None:
    answer = described(("i-0fedcba9876543210", "Terminating:Wait"), (ME, "InService"))
    assert lifecycle.own_state(answer, ME) == ("gateways", "InService")
    assert lifecycle.own_state(described(("i-0fedcba9876543210", "Terminating:Wait")), ME) == ("", "")
    assert lifecycle.own_state(described(), ME) == ("", "")


def test_a_failed_command_is_told_by_its_first_line(tmp_path: Path) -> None:
    program = tmp_path / "aws"
    program.write_text("#!/bin/sh\nprintf '\\nAn error occurred: no\\nx-amz-security-token:planted\\n' >&2\nexit 255\n")
    program.chmod(0o755)
    with pytest.raises(lifecycle.UnansweredError) as caught:
        lifecycle.run([str(program), "autoscaling"], 5)
    assert str(caught.value).endswith("aws autoscaling: An error occurred: no")


def test_a_command_that_hangs_or_is_missing_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(lifecycle.UnansweredError, match=r"sleep 30: not within 0\.1 s"):
        lifecycle.run(["sleep", "30"], 0.1)
    with pytest.raises(lifecycle.UnansweredError, match="No such file"):
        lifecycle.run([str(tmp_path / "nothing")], 5)


def test_a_line_is_said_once_until_it_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    say = lifecycle.Journal()
    for _again in range(3):
        say("unanswered", by="metadata", error="timed out")
        say("watching")
    say.forget("unanswered")
    say("unanswered", by="metadata", error="timed out")
    steps = [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()]
    assert steps == ["unanswered", "watching", "unanswered"]


def test_the_metadata_are_asked_where_the_sdks_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", raising=False)
    assert lifecycle.endpoints() == ["http://169.254.169.254", "http://[fd00:ec2::254]"]
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:8080/")
    assert lifecycle.endpoints() == ["http://127.0.0.1:8080"]


class HungDocker:
    """A container whose stop never ends, and the group that is told meanwhile; time goes by in it alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.heartbeats: list[float] = []
        self.stops = 0
        monkeypatch.setattr(lifecycle.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(lifecycle.time, "sleep", self.passes)
        monkeypatch.setattr(lifecycle, "Group", lambda *_: self)
        monkeypatch.setattr(lifecycle, "Container", lambda _name: self)

    name = "gw"

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def running(self) -> bool:
        return True

    def stop(self, timeout: float, meanwhile: Any, every: float) -> None:
        self.stops += 1
        end = self.now + timeout
        while self.now + every < end:
            self.passes(every)
            meanwhile()
        raise lifecycle.UnansweredError("docker stop: not within")

    def state(self) -> tuple[str, str]:
        self.passes(1)
        return "gateways", "Terminating:Wait"

    def heartbeat(self, _group: str) -> None:
        self.heartbeats.append(self.now)


def service(folder: Path) -> Any:
    settings = lifecycle.Settings(
        hook="h",
        container="gw",
        drain_command=[],
        rebalance="log",
        poll=5,
        balancer=5,
        drain_timeout=45,
        heartbeat=10,
        deadline=120,
    )
    return lifecycle.Lifecycle(settings, Metadata(target="Terminated"), folder / "stopped", lifecycle.Journal())


def test_no_heartbeat_after_the_deadline_where_docker_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hung = HungDocker(monkeypatch)
    leaving = service(tmp_path)
    for attempt in range(20):
        if attempt == 2:  # killed and started again, it is still the same notice
            leaving = service(tmp_path)
        leaving.look()
    assert hung.stops == 20
    assert hung.now > 1500
    assert hung.heartbeats and max(hung.heartbeats) <= 1120


def test_another_notice_has_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hung = HungDocker(monkeypatch)
    service(tmp_path).look()
    hung.now = 5000.0
    (tmp_path / "leaving").write_text((tmp_path / "leaving").read_text().replace("Terminated", "Warmed:Stopped"))
    service(tmp_path).look()
    assert hung.heartbeats[-1] > 5000
