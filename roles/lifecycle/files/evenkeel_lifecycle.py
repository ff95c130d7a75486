# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes this instance's gateway out of service before EC2 takes the instance: evenkeel_lifecycle.py SETTINGS.json

It asks the instance metadata whether the instance is to leave, has the gateway drain and resign, and then completes the
lifecycle action of the Auto Scaling group. Its state is in the metadata, the container and the group only: it may be
killed at any moment, and continues where it was.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

TOKEN_SECONDS = 300
BOOT = Path("/proc/sys/kernel/random/boot_id")
DOCKER_SECONDS = 15.0
AWS_SECONDS = 30.0
# The instance is not deregistered yet: the load balancer may still send requests.
ON_THE_WAY = ("InService", "Terminating", "Warmed:Terminating")
MY_TURN = ("Terminating:Wait", "Warmed:Terminating:Wait")


NO_ANSWER = (OSError, http.client.HTTPException)


class UnansweredError(Exception):
    """There was no usable answer, neither a yes nor a no."""


@dataclass(frozen=True)
class Settings:
    """The role's variables of the same names."""

    hook: str
    container: str
    drain_command: list[str]
    rebalance: str
    poll: float
    balancer: float
    drain_timeout: float
    heartbeat: float
    deadline: float


class Metadata:
    """The instance metadata service, version 2."""

    def __init__(self, endpoints: list[str], timeout: float = 2.0) -> None:
        self._endpoints = endpoints
        self._endpoint = ""
        self._token = ""
        self._timeout = timeout
        # Never through a proxy: it would return another instance's metadata.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """The value at the path, or None if there is none."""
        if not self._token:
            self._begin()
        try:
            return self._ask(self._endpoint, "GET", path, {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            self._token = ""  # It has expired: the next request gets a new one.
            raise UnansweredError(f"{path}: HTTP {error.code}") from None
        except NO_ANSWER as error:
            self._token = ""
            raise UnansweredError(f"{path}: {error}") from None

    def _begin(self) -> None:
        problems = []
        for endpoint in self._endpoints:
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            try:
                self._token = self._ask(endpoint, "PUT", "api/token", ttl)
            except NO_ANSWER as error:
                problems.append(f"{endpoint}: {error}")
            else:
                self._endpoint = endpoint
                return
        raise UnansweredError("; ".join(problems))

    def _ask(self, endpoint: str, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{endpoint}/latest/{path}", method=method, headers=headers)  # noqa: S310
        with self._opener.open(request, timeout=self._timeout) as answer:
            return str(answer.read(65536).decode())


@dataclass(frozen=True)
class Notice:
    """What the metadata announce for this instance."""

    instance: str
    region: str
    target: str = ""
    spot: str = ""
    rebalance: bool = False

    @classmethod
    def read(cls, metadata: Metadata) -> Notice:
        known = {name: metadata.get(f"meta-data/{path}") for name, path in PATHS.items()}
        if not known["instance"] or not known["region"]:
            raise UnansweredError("the instance metadata have no id and region")
        try:
            spot = json.loads(known["spot"] or "{}").get("action", "")
        except (ValueError, AttributeError):
            raise UnansweredError(f"spot/instance-action is no JSON object: {known['spot']!r}") from None
        return cls(known["instance"], known["region"], known["target"] or "", spot, known["rebalance"] is not None)

    @property
    def group_takes_it(self) -> bool:
        """Whether the Auto Scaling group takes it out of service, to end it or into its warm pool."""
        return self.target == "Terminated" or self.target.startswith("Warmed:")

    def reason(self, rebalance: str) -> str:
        """Why the gateway is to leave; empty where it is to stay."""
        if self.group_takes_it:
            return f"the Auto Scaling group: {self.target}"
        if self.spot:
            return f"the spot instance is interrupted: {self.spot}"
        if self.rebalance and rebalance == "drain":
            return "the spot instance is at risk: rebalance recommendation"
        return ""


PATHS = {
    "instance": "instance-id",
    "region": "placement/region",
    "target": "autoscaling/target-lifecycle-state",
    "spot": "spot/instance-action",
    "rebalance": "events/recommendations/rebalance",
}


class Group:
    """The Auto Scaling group of this instance, through the AWS CLI, which reads credentials from the metadata."""

    def __init__(self, notice: Notice, hook: str) -> None:
        self._notice = notice
        self._hook = hook

    def state(self) -> tuple[str, str]:
        """The group and the instance's state in it; empty where it is in none."""
        answer = self._aws("describe-auto-scaling-instances", "--instance-ids", self._notice.instance)
        try:
            return own_state(json.loads(answer), self._notice.instance)
        except (ValueError, KeyError, TypeError) as error:
            raise UnansweredError(f"describe-auto-scaling-instances: {error!r}") from None

    def heartbeat(self, group: str) -> None:
        self._aws("record-lifecycle-action-heartbeat", *self._action(group))

    def complete(self, group: str) -> None:
        self._aws("complete-lifecycle-action", *self._action(group), "--lifecycle-action-result", "CONTINUE")

    def _action(self, group: str) -> list[str]:
        about = {"lifecycle-hook-name": self._hook, "auto-scaling-group-name": group}
        return [f"--{name}={value}" for name, value in {**about, "instance-id": self._notice.instance}.items()]

    def _aws(self, *words: str) -> str:
        options = ["--region", self._notice.region, "--output", "json"]
        bounds = ["--cli-connect-timeout", "3", "--cli-read-timeout", "10"]
        environment = {"AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "2", "AWS_METADATA_SERVICE_TIMEOUT": "2"}
        return run(["aws", "autoscaling", *words, *options, *bounds], AWS_SECONDS, {**os.environ, **environment})


def own_state(answer: dict[str, Any], instance: str) -> tuple[str, str]:
    """The group and state of this instance; the answer may list others, too."""
    for found in answer["AutoScalingInstances"]:
        if found["InstanceId"] == instance:
            return found["AutoScalingGroupName"], found["LifecycleState"]
    return "", ""


def run(command: list[str], timeout: float, environment: dict[str, str] | None = None) -> str:
    """What a command prints; UnansweredError where it fails or takes too long."""
    words = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnansweredError(f"{words}: not within {timeout:g} s") from None
    except OSError as error:
        raise UnansweredError(f"{words}: {error.strerror}") from None
    if done.returncode:
        # The first line has the error. Further ones of a refused signature contain the session's token.
        said = next(filter(None, map(str.strip, done.stderr.splitlines())), f"exit code {done.returncode}")
        raise UnansweredError(f"{words}: {said[:300]}")
    return done.stdout


class Container:
    """The gateway. On SIGTERM it resigns, drains and ends, within the container's stop timeout."""

    def __init__(self, name: str) -> None:
        self.name = name

    def running(self) -> bool:
        found = run(["docker", "ps", "--quiet", "--filter", f"name=^/?{self.name}$"], DOCKER_SECONDS)
        return bool(found.strip())

    def tell(self, command: list[str]) -> None:
        run(["docker", "exec", self.name, *command], DOCKER_SECONDS)

    def start(self) -> None:
        run(["docker", "start", self.name], DOCKER_SECONDS)

    def stop(self, timeout: float, meanwhile: Callable[[], None], every: float) -> None:
        try:
            stopping = subprocess.Popen(
                ["docker", "stop", self.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            raise UnansweredError(f"docker stop: {error.strerror}") from None
        end = time.monotonic() + timeout
        with stopping:
            while True:
                left = end - time.monotonic()
                try:
                    code = stopping.wait(max(0.0, min(every, left)))
                except subprocess.TimeoutExpired:
                    if left > every:
                        meanwhile()
                        continue
                    stopping.kill()
                    raise UnansweredError(f"docker stop: not within {timeout:g} s") from None
                if code:
                    raise UnansweredError(f"docker stop: exit code {code}")
                return


class Journal:
    """A log line for each step, not repeated until forget()."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __call__(self, step: str, **about: object) -> None:
        line = json.dumps({"step": step, **about})
        if self._said.get(step) != line:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        self._said[step] = line

    def forget(self, *steps: str) -> None:
        for step in steps or list(self._said):
            self._said.pop(step, None)


class Lifecycle:
    """Polls the metadata and takes the gateway out of service."""

    def __init__(self, settings: Settings, metadata: Metadata, mark: Path, say: Journal) -> None:
        self._settings = settings
        self._metadata = metadata
        self._container = Container(settings.container)
        # Names the instance whose gateway was stopped here: a gateway that was stopped otherwise is never started.
        self._mark = mark
        self._say = say
        self._reason = ""
        self._done = False
        self._end = 0.0
        self._since = mark.with_name("leaving")

    def look(self) -> None:
        try:
            notice = Notice.read(self._metadata)
        except UnansweredError as error:
            self._say("unanswered", by="metadata", error=str(error))
            return
        self._say.forget("unanswered")
        reason = notice.reason(self._settings.rebalance)
        if reason != self._reason:
            self._say.forget()
            self._reason, self._done = reason, False
            self._end = self._deadline(reason)
        if reason:
            self._done = self._done or self._leave(notice, reason)
            return
        if notice.rebalance:
            self._say("at risk", reason="rebalance recommendation")
        self._come_back(notice)

    def _deadline(self, reason: str) -> float:
        """By the monotonic clock, from the first notice, also if a previous process got it."""
        if not reason:
            self._since.unlink(missing_ok=True)
            return 0.0
        about = {"boot": BOOT.read_text().strip(), "reason": reason}
        try:
            known = json.loads(self._since.read_text())
            if {name: known[name] for name in about} == about:
                return float(known["since"]) + self._settings.deadline
        except (OSError, ValueError, KeyError, TypeError):
            pass  # No readable record: this is the first notice.
        since = time.monotonic()
        try:
            self._since.write_text(json.dumps({**about, "since": since}))
        except OSError as error:
            self._say("state not saved", error=str(error))
        return since + self._settings.deadline

    def _leave(self, notice: Notice, reason: str) -> bool:
        """Returns whether all is done."""
        self._say("leaving", instance=notice.instance, reason=reason)
        group = Group(notice, self._settings.hook)
        end = self._end
        if not notice.group_takes_it:
            self._turn_away()
        elif not self._await_turn(group, end):
            return False
        return self._drain(notice, group, end) and self._finish(notice, group, end)

    def _await_turn(self, group: Group, end: float) -> bool:
        """The group deregisters the instance from its load balancers before it waits for the lifecycle hook.

        If the group does not answer, wait as long as that takes.
        """
        end_of_patience = time.monotonic() + self._settings.balancer
        while True:
            patient = time.monotonic() < end_of_patience
            try:
                state = group.state()[1]
            except UnansweredError as error:
                self._say("unanswered", by="Auto Scaling", error=str(error))
                if not patient:
                    return True
            else:
                self._say("waiting for the load balancer", state=state)
                if state not in ON_THE_WAY or time.monotonic() > end:
                    return True
                if state == "InService" and not patient:
                    self._say("staying", reason="the Auto Scaling group says that the instance is in service")
                    return False
            time.sleep(self._settings.poll)

    def _turn_away(self) -> None:
        """No API call deregisters the instance: its load balancers' health checks have to notice."""
        if not self._settings.drain_command:
            return
        try:
            if not self._container.running():
                return
            self._container.tell(self._settings.drain_command)
        except UnansweredError as error:
            self._say("drain command failed", error=str(error))
            return
        self._say("failing health checks", seconds=self._settings.balancer)
        time.sleep(self._settings.balancer)

    def _drain(self, notice: Notice, group: Group, end: float) -> bool:
        def still_at_it() -> None:
            try:
                name, state = group.state()
                if time.monotonic() > end:
                    self._say("no more heartbeats", reason="the deadline is over: the hook's timeout applies")
                elif state in MY_TURN:
                    group.heartbeat(name)
                    self._say("heartbeat")
            except UnansweredError as error:
                self._say("no heartbeat", error=str(error))

        started = time.monotonic()
        try:
            if self._container.running():
                self._remember(notice)
                self._say("draining", container=self._container.name)
                self._container.stop(self._settings.drain_timeout, still_at_it, self._settings.heartbeat)
        except UnansweredError as error:
            self._say("not drained", error=str(error))
            return False
        self._say("drained", seconds=round(time.monotonic() - started, 1))
        return True

    def _remember(self, notice: Notice) -> None:
        try:
            self._mark.write_text(notice.instance)
        except OSError as error:
            self._say("state not saved", error=str(error))

    def _finish(self, notice: Notice, group: Group, end: float) -> bool:
        """Complete the lifecycle action. After the deadline, the hook's timeout applies."""
        on_the_way = ON_THE_WAY if notice.group_takes_it else ON_THE_WAY[1:]
        while True:
            try:
                name, state = group.state()
                if state in MY_TURN:
                    group.complete(name)
                    self._say("completed", group=name, hook=self._settings.hook, result="CONTINUE")
                    return True
                if state not in on_the_way:
                    self._say("nothing to complete", state=state)
                    return True
            except UnansweredError as error:
                self._say("not completed", error=str(error))
            if time.monotonic() > end:
                self._say("gave up", reason="the hook's timeout applies")
                return True
            time.sleep(self._settings.poll)

    def _come_back(self, notice: Notice) -> None:
        """From a warm pool, or after a spot instance's stop: docker does not restart a stopped container by itself."""
        try:
            stopped = self._mark.read_text()
        except FileNotFoundError:
            return
        try:
            if stopped == notice.instance:  # else it is a copy of that instance
                self._container.start()
                self._say("started", container=self._container.name)
        except UnansweredError as error:
            self._say("not started", error=str(error))
            return
        self._mark.unlink()


def endpoints() -> list[str]:
    """The same ones as in the AWS SDKs."""
    configured = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/")
    return [configured] if configured else ["http://169.254.169.254", "http://[fd00:ec2::254]"]


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    os.environ.update(given.pop("environment"))
    settings = Settings(**given)
    folder = Path(os.environ.get("STATE_DIRECTORY", "."))
    say = Journal()
    lifecycle = Lifecycle(settings, Metadata(endpoints()), folder / "stopped", say)
    say("watching", container=settings.container, hook=settings.hook)
    while True:
        lifecycle.look()
        time.sleep(settings.poll)


if __name__ == "__main__":
    main()
