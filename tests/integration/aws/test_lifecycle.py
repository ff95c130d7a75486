# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of the role lifecycle as a process, with the AWS CLI, a docker script, and metadata."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.services import imds
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import CHECKOUT, await_true, environment, free_port

PROGRAM = CHECKOUT / "roles" / "lifecycle" / "files" / "evenkeel_lifecycle.py"
HOOK = "gateway-terminating"
SECRETS = {"secret_access_key": "planted-secret-access-key", "session_token": "planted-session-token"}
SETTINGS: dict[str, Any] = {
    "hook": HOOK,
    "container": "gw",
    "drain_command": ["evenkeel-gateway", "drain"],
    "drain_timeout": 10,
    "balancer": 1,
    "rebalance": "log",
    "poll": 0.1,
    "heartbeat": 5,
    "deadline": 20,
}
# A container that is a file, and whose drain takes as long as another one says.
DOCKER = """#!/bin/sh
cd "$(dirname "$0")" || exit
echo "$*" >> calls
[ ! -e broken ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case $1 in
    ps) [ ! -e running ] || echo 0123456789ab ;;
    start) touch running ;;
    stop) sleep "$(cat grace)" && rm -f running ;;
esac
"""


class Host:
    """An instance of a group, with the service on it."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder = folder
        self.endpoint = fleet.endpoint
        self.group = fleet.group
        self.instance = fleet.instances.pop()
        self._autoscaling = fleet.autoscaling
        self.docker = folder / "bin" / "docker"
        self.docker.parent.mkdir()
        self.docker.write_text(DOCKER)
        self.docker.chmod(0o755)
        self.container = self.docker.parent / "running"
        self.container.touch()
        self.takes(0)
        self.metadata_port = free_port()
        self._metadata: imds.Metadata | None = None
        self._servers: list[imds.Server] = []
        self._process: subprocess.Popen[str] | None = None

    def metadata(self) -> None:
        """They answer from now on."""
        about = {"instance_id": self.instance, "launched_at": "2026-01-02T03:04:05Z", "launch_index": 0, "ipv6": ""}
        host = {**about, "ipv4": "127.0.0.1", "public_ipv4": "203.0.113.1", "tags": {}}
        settings = {"account": ACCOUNT, "region": REGION, "role": "gateway", **SECRETS, "hosts": {"host-1": host}}
        self._servers = imds.make_servers(settings, [("127.0.0.1", self.metadata_port)], ("127.0.0.1", 0))
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self._metadata = self._servers[0].RequestHandlerClass.metadata  # type: ignore[attr-defined]

    def announce(self, **state: str) -> None:
        assert self._metadata
        self._metadata.hosts["host-1"].update(state)

    def takes(self, seconds: float) -> None:
        (self.docker.parent / "grace").write_text(str(seconds))

    def start(self, url: str = "", **settings: Any) -> None:
        """The service, as its unit starts it."""
        metadata = f"http://127.0.0.1:{self.metadata_port}"
        path = self.folder / "lifecycle.json"
        path.write_text(
            json.dumps({**SETTINGS, "environment": {"AWS_ENDPOINT_URL": url or self.endpoint.url}, **settings})
        )
        bins = [str(self.docker.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(path)],
            env=environment(
                PATH=":".join(bins), STATE_DIRECTORY=str(self.folder), AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata
            ),
            stdout=(self.folder / "journal").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def kill(self) -> None:
        """With all that it started, as systemd does."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        self.silence_metadata()

    def silence_metadata(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def text(self) -> str:
        return (self.folder / "journal").read_text()

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def steps(self) -> list[str]:
        return [line["step"] for line in self.journal()]

    def says(self, step: str, **about: object) -> dict[str, Any]:
        """The line of this step, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.journal() if {"step": step, **about}.items() <= line.items()]

        assert self._process
        await_true(lambda: found() or (self._process and self._process.poll() is not None), f"{step} {about}")
        assert found(), self.journal()
        return found()[-1]

    def calls(self, verb: str) -> int:
        calls = self.docker.parent / "calls"
        return [line.split()[0] for line in calls.read_text().splitlines()].count(verb) if calls.exists() else 0

    def state(self) -> str:
        described = self._autoscaling.describe_auto_scaling_instances(InstanceIds=[self.instance])
        return str(described["AutoScalingInstances"][0]["LifecycleState"])

    def terminate(self) -> None:
        """What the group does."""
        self._autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=self.instance, ShouldDecrementDesiredCapacity=True
        )
        self.announce(lifecycle="Terminated")

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return self.endpoint.lifecycles.told


class Fleet:
    """A group of instances in a target group; each test takes one of them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.group, target_group = endpoint.group()
        autoscaling, ec2 = endpoint.client("autoscaling"), endpoint.client("ec2")
        ec2.create_launch_template(
            LaunchTemplateName=self.group, LaunchTemplateData={"ImageId": "ami-1", "InstanceType": "t3.small"}
        )
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=self.group,
            LaunchTemplate={"LaunchTemplateName": self.group},
            MinSize=0,
            MaxSize=10,
            DesiredCapacity=10,
            AvailabilityZones=[f"{REGION}a"],
            TargetGroupARNs=[target_group],
        )
        autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=self.group,
            LifecycleHookName=HOOK,
            LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        )
        self.autoscaling = autoscaling
        described = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.group])
        self.instances = [instance["InstanceId"] for instance in described["AutoScalingGroups"][0]["Instances"]]
        endpoint.states.take_for_registered(self.group, self.instances)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Endpoint() as endpoint:
        yield Fleet(endpoint)


@pytest.fixture
def host(fleet: Fleet, tmp_path: Path) -> Iterator[Host]:
    fleet.endpoint.at_its_best().lifecycles.told.clear()
    host = Host(tmp_path, fleet)
    host.metadata()
    yield host
    host.close()


def test_a_terminated_instance_drains_after_the_balancer_and_completes_its_action_once(host: Host) -> None:
    host.endpoint.states.draining = 8.0
    host.start()
    host.says("watching")
    host.terminate()
    host.says("waiting for the load balancer", state="Terminating")
    assert host.container.exists()
    host.says("completed", group=host.group, hook=HOOK, result="CONTINUE")
    steps = ["watching", "leaving", "waiting for the load balancer", "waiting for the load balancer"]
    assert host.steps() == [*steps, "draining", "drained", "completed"]
    assert not host.container.exists()
    assert host.told == [(HOOK, host.instance, "CONTINUE")]
    assert host.state() == "Terminating:Proceed"

    # It stays at that, also when it is started again.
    time.sleep(0.5)
    host.kill()
    host.start()
    host.says("nothing to complete", state="Terminating:Proceed")
    assert host.calls("stop") == 1
    assert host.told == [(HOOK, host.instance, "CONTINUE")]
    assert not any(secret in host.text() for secret in SECRETS.values())


def test_killed_in_a_long_drain_with_heartbeats_it_goes_on_there(host: Host) -> None:
    host.takes(60)
    host.start(heartbeat=0.5, drain_timeout=60)
    host.terminate()
    host.says("heartbeat")
    host.kill()
    assert host.container.exists()
    assert set(host.told) == {(HOOK, host.instance, "heartbeat")}
    host.takes(0)
    host.start()
    host.says("completed")
    assert not host.container.exists()
    assert host.told[-1] == (HOOK, host.instance, "CONTINUE")


def test_without_aws_it_drains_and_gives_up_and_completes_when_it_may(host: Host) -> None:
    host.start(url=f"http://127.0.0.1:{free_port()}", deadline=2)
    host.terminate()
    host.says("gave up")
    assert "Could not connect to the endpoint" in host.says("not completed")["error"]
    assert not host.container.exists() and host.told == []
    host.kill()
    host.endpoint.faults.denied["autoscaling:CompleteLifecycleAction"] = host.instance
    host.start()
    host.says("drained")
    denied = "not authorized to perform: autoscaling:CompleteLifecycleAction"
    await_true(lambda: denied in host.text(), "the missing permission is named")
    host.endpoint.faults.denied.clear()
    host.says("completed")
    assert host.text().count(denied) == 1
    assert host.calls("stop") == 1
    assert host.told == [(HOOK, host.instance, "CONTINUE")]


def test_without_metadata_nothing_happens_until_they_answer(host: Host) -> None:
    host.silence_metadata()
    host.start()
    host.says("unanswered", by="metadata")
    time.sleep(0.5)
    assert host.steps() == ["watching", "unanswered"] and host.calls("ps") == 0
    host.metadata()
    host.terminate()
    host.says("completed")


def test_nothing_is_completed_out_of_turn_or_without_a_drain(host: Host) -> None:
    host.start(drain_timeout=1)
    host.announce(lifecycle="Terminated")
    host.says("staying")
    assert host.container.exists() and host.calls("stop") == 0

    broken = host.docker.parent / "broken"
    broken.touch()
    host.terminate()
    assert "Cannot connect to the Docker daemon" in host.says("not drained")["error"]
    assert host.state() == "Terminating:Wait"
    host.takes(30)
    broken.unlink()
    host.says("not drained", error="docker stop: not within 1 s")
    assert host.told == []

    host.takes(0)
    host.says("completed")
    assert host.told == [(HOOK, host.instance, "CONTINUE")]


def test_a_spot_instance_turns_requests_away_before_it_drains_and_comes_back(host: Host) -> None:
    host.start()
    host.announce(rebalance="recommended")
    host.says("at risk")
    host.announce(spot="stop")
    host.says("nothing to complete", state="InService")
    assert not host.container.exists()
    steps = ["watching", "at risk", "leaving", "failing health checks", "draining", "drained", "nothing to complete"]
    assert host.steps() == steps
    assert "exec gw evenkeel-gateway drain" in (host.docker.parent / "calls").read_text()
    host.announce(spot="none")
    host.says("started")
    assert host.container.exists() and host.told == []


def test_a_container_that_somebody_else_stopped_is_left_alone(host: Host) -> None:
    host.container.unlink()
    host.start(rebalance="drain")
    host.announce(rebalance="recommended")
    host.says("nothing to complete")
    host.announce(rebalance="none")
    time.sleep(0.5)
    assert host.calls("exec") == host.calls("stop") == host.calls("start") == 0
