# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto lacks of NAT gateways, VPC endpoints and route tables: their time, their failures, their end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from moto.ec2.models import ec2_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, error

DESCRIBING = ("DescribeNatGateways", "DescribeVpcEndpoints")
WRONG = "Elastic IP is in use"
UNKNOWN_TIMES = 2


class NetworkStates:
    """Answers nothing itself, but changes what moto answers.

    pending: for so many descriptions, what is created is pending. failure: the code with which a NAT gateway fails.
    unknown: by action, the error that its first two calls get.
    """

    def __init__(self, account: str, region: str) -> None:
        self._account, self._region = account, region
        self.forget()

    def forget(self) -> None:
        self.pending = 0
        self.failure = ""
        self.unknown: dict[str, str] = {}
        self._asked: Counter[str] = Counter()
        self._described: Counter[str] = Counter()

    def answer(self, call: Call, _request: Request) -> Response | None:
        if call.service != "ec2":
            return None
        if call.action in self.unknown:
            self._asked[call.action] += 1
            if self._asked[call.action] <= UNKNOWN_TIMES:
                return error(call, self.unknown[call.action], "It does not exist")
        self._age(call.action in DESCRIBING)
        if call.action in ("DescribeRouteTables", "DeleteRouteTable"):
            _forget_subnets(ec2_backends[self._account][self._region])
        return None  # moto does the rest

    def _age(self, described: bool) -> None:
        backend: Any = ec2_backends[self._account][self._region]
        for found in [*backend.nat_gateways.values(), *backend.vpc_end_points.values()]:
            if found.state == "deleted" and found.id.startswith("nat-"):
                _disassociate(backend, found)
            if found.state not in ("available", "pending") or not described:
                continue
            self._described[found.id] += 1
            is_gateway = found.id.startswith("nat-")
            if is_gateway and self.failure:
                found.state = "failed"
                found.failure_code, found.failure_message = self.failure, WRONG
                _disassociate(backend, found)
            else:
                found.state = "pending" if self._described[found.id] <= self.pending else "available"


def _forget_subnets(backend: Any) -> None:
    """A subnet that is deleted has no route table any more."""
    there = {identifier for of_zone in backend.subnets.values() for identifier in of_zone}
    for table in backend.route_tables.values():
        for association, subnet in list(table._associations.items()):
            if subnet not in there:
                del table._associations[association]


def _disassociate(backend: Any, gateway: Any) -> None:
    """A gateway that has failed or is deleted has no address any more."""
    for address in backend.addresses:
        if address.eni and address.eni.id == gateway._eni.id:
            address.association_id = address.eni = None
