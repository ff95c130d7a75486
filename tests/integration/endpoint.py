# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWS endpoint for tests of modules and roles: moto, with additions."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import boto3
from moto.moto_api._internal import moto_api_backend

from testbed.services.aws import associations, calls
from testbed.services.aws.faults import Faults
from testbed.services.aws.launch_templates import LaunchTemplates
from testbed.services.aws.lifecycle import Lifecycles
from testbed.services.aws.targets import Pretended, TargetStates

ACCOUNT = "123456789012"
REGION = "eu-central-1"
_numbers = itertools.count(1)
_open: set[Endpoint] = set()


class Endpoint:
    """A served AWS endpoint: url for clients; faults, traffic and states to change how it fares.

    The account is empty at first. Endpoints that are open at the same time share it: moto has one for a process.
    """

    def __init__(self, *gaps: calls.Gap) -> None:
        self.faults = Faults(ACCOUNT, "controller")
        self.traffic = Pretended()
        self.states = TargetStates(self.traffic)
        self.lifecycles = Lifecycles(self.states, ACCOUNT, REGION)
        own = [associations.answer, self.states.answer, self.lifecycles.answer, LaunchTemplates(ACCOUNT, REGION).answer]
        self._server = calls.server("127.0.0.1", 0, [self.faults.answer, *gaps, *own])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def at_its_best(self) -> Endpoint:
        """Without the faults and the sickness that a test before wanted."""
        self.faults.forget()
        self.traffic.sick.clear()
        self.states.changes.clear()
        self.states.registering, self.states.draining = 0.0, 0.6
        return self

    def __enter__(self) -> Endpoint:
        _open.add(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
        _open.discard(self)
        if not _open:
            moto_api_backend.reset()

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
            self.states.take_for_registered(name, [identifier], int(port or 80))
        return name, arn

    def standings(self, arn: str) -> dict[str, str]:
        """State by id:port, of those that the group lists."""
        listed = self.client().describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {f"{item['Target']['Id']}:{item['Target']['Port']}": item["TargetHealth"]["State"] for item in listed}
