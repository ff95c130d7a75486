# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancers of a target group. moto keeps one whose listener is gone, and misses a changed listener's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.elbv2.models import elbv2_backends
from werkzeug.wrappers import Request, Response

from .calls import Call


def answer(call: Call, _request: Request) -> Response | None:
    if call.service == "elasticloadbalancing" and call.action == "DescribeTargetGroups":
        for account in list(elbv2_backends.values()):
            for backend in list(account.values()):
                _correct(backend)
    return None  # moto does the rest


def _correct(backend: Any) -> None:
    users: dict[str, list[str]] = {}
    for balancer in list(backend.load_balancers.values()):
        for arn in dict.fromkeys(_forwarded(backend, balancer)):
            users.setdefault(arn, []).append(balancer.arn)
    for group in list(backend.target_groups.values()):
        group.load_balancer_arns = users.get(group.arn, [])


def _forwarded(backend: Any, balancer: Any) -> Iterator[str]:
    for listener in list(balancer.listeners.values()):
        for rule in list(listener.rules.values()):
            for action in rule.actions:
                yield from backend._get_target_group_arns_from(action_data=action.data)
