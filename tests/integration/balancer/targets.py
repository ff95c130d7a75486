# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto with what it lacks of target groups: registering and draining take time, and a target can be sick."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from fleet.services import aws

NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
ACCOUNT = {"account": "123456789012", "role": "controller"}
REGION = "eu-central-1"
Key = tuple[str, int]
_numbers = itertools.count(1)  # moto keeps one account for all endpoints of a process


@dataclass
class Standing:
    """A target in a group: since when it is registered, or draining."""

    since: float
    draining: bool = False


@dataclass
class Settings:
    """Seconds, and by a target's id the reason and description of its sickness. Calls are counted down."""

    registering: float = 0.0
    draining: float = 0.6
    sick: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    throttled: Counter[str] = field(default_factory=Counter)
    calls: list[tuple[str, tuple[Key, ...]]] = field(default_factory=list)


class TargetStates:
    """Answers the three calls about a group's targets; all else goes on to moto."""

    def __init__(self) -> None:
        self.now = Settings()
        self.groups: dict[str, dict[Key, Standing]] = {}
        self._lock = threading.Lock()

    def answer(self, call: aws.Call, request: Request) -> Response | None:
        if call.service != "elasticloadbalancing":
            return None
        given = {name: values[0] for name, values in parse_qs(request.get_data(as_text=True)).items()}
        arn = given.get("TargetGroupArn", "")
        with self._lock:
            if (call.action, arn) in self.now.denied or (call.action, "*") in self.now.denied:
                return aws.refuse_marked_keys(aws.Call("DENIED", call.service, call.action, call.protocol), ACCOUNT)
            if self.now.throttled[call.action]:
                self.now.throttled[call.action] -= 1
                return aws.error(call, "Throttling", "Rate exceeded")
            targets = tuple(_targets(given))
            if call.action == "RegisterTargets":
                self._register(arn, targets)
            elif call.action == "DeregisterTargets":
                self._deregister(arn, targets)
            elif call.action == "DescribeTargetHealth":
                return _xml(call.action, self._health(arn, targets))
            else:
                return None
            self.now.calls.append((call.action, targets))
            return _xml(call.action, "")

    def _register(self, arn: str, targets: Iterable[Key]) -> None:
        group = self.groups.setdefault(arn, {})
        for key in targets:
            if key not in group or self._state(group, key)[0] in ("draining", "unused"):
                group[key] = Standing(time.monotonic())

    def _deregister(self, arn: str, targets: Iterable[Key]) -> None:
        group = self.groups.setdefault(arn, {})
        for key in targets:
            if self._state(group, key)[0] not in ("draining", "unused"):
                group[key] = Standing(time.monotonic(), draining=True)

    def _health(self, arn: str, targets: tuple[Key, ...]) -> str:
        group = self.groups.get(arn, {})
        listed = [key for key in group if self._state(group, key)[0] != "unused" or group[key].draining is False]
        described = []
        for identifier, port in targets or listed:
            state, reason, description = self._state(group, (identifier, port))
            described.append(
                f"<member><HealthCheckPort>{port}</HealthCheckPort><TargetHealth><State>{state}</State>"
                + (f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else "")
                + f"</TargetHealth><Target><Id>{identifier}</Id><Port>{port}</Port></Target></member>"
            )
        return f"<TargetHealthDescriptions>{''.join(described)}</TargetHealthDescriptions>"

    def _state(self, group: dict[Key, Standing], key: Key) -> tuple[str, str, str]:
        standing = group.get(key)
        age = time.monotonic() - standing.since if standing else 0.0
        if standing is None or (standing.draining and age >= self.now.draining):
            return "unused", "Target.NotRegistered", "Target is not registered to the target group"
        if standing.draining:
            return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
        if age < self.now.registering:
            return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
        return self.now.sick.get(key[0], ("healthy", "", ""))


def _targets(given: dict[str, str]) -> Iterable[Key]:
    for number in itertools.count(1):
        identifier = given.get(f"Targets.member.{number}.Id")
        if identifier is None:
            return
        yield identifier, int(given.get(f"Targets.member.{number}.Port", 80))


def _xml(action: str, content: str) -> Response:
    body = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{content}</{action}Result></{action}Response>'
    return Response(body, content_type="text/xml")


class Endpoint:
    """A served AWS endpoint: url for clients, states to change what targets do."""

    def __init__(self) -> None:
        self.states = TargetStates()
        moto = aws.with_gaps_filled(DomainDispatcherApplication(create_backend_app), ACCOUNT)

        def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            request = Request(environ, populate_request=False)
            answer = self.states.answer(aws.Call.of(request), request)
            if answer is not None:
                return answer(environ, start_response)
            environ["wsgi.input"] = io.BytesIO(request.get_data())
            return moto(environ, start_response)

        self._server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=aws.Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def client(self, service: str = "elbv2") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="secret",
        )

    def group(self, *targets: str, kind: str = "instance", delay: int = 1) -> tuple[str, str]:
        """A new group, with these targets healthy: its name and ARN."""
        name = f"gateways-{next(_numbers)}"
        vpc = self.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        elb = self.client()
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType=kind)
        arn = made["TargetGroups"][0]["TargetGroupArn"]
        attribute = {"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[attribute])
        for target in targets:
            identifier, _, port = target.partition(":")
            self.states.groups.setdefault(arn, {})[identifier, int(port or 80)] = Standing(time.monotonic() - 1000)
        return name, arn

    def standings(self, arn: str) -> dict[str, str]:
        """State by id:port, of those that the group lists."""
        listed = self.client().describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {f"{item['Target']['Id']}:{item['Target']['Port']}": item["TargetHealth"]["State"] for item in listed}
