# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights that a listener gives to its target groups, for what stands behind them; moto has the listener itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from werkzeug.wrappers import Request, Response

from .calls import Call, parameters
from .targets import TargetStates

LONE = 1


class Listeners:
    """Only default actions count."""

    def __init__(self, states: TargetStates) -> None:
        self._states = states

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service == "elasticloadbalancing" and call.action in ("CreateListener", "ModifyListener"):
            # Growing weights first, so that each request finds a target.
            for arn, weight in sorted(forwards(parameters(request)), key=lambda pair: -pair[1]):
                self._states.weigh(arn, weight)
        return None  # moto does the rest


def forwards(given: dict[str, str]) -> Iterable[tuple[str, int]]:
    for number in itertools.count(1):
        action = f"DefaultActions.member.{number}"
        if f"{action}.Type" not in given:
            return
        if f"{action}.TargetGroupArn" in given:
            yield given[f"{action}.TargetGroupArn"], LONE
        for member in itertools.count(1):
            group = f"{action}.ForwardConfig.TargetGroups.member.{member}"
            if f"{group}.TargetGroupArn" not in given:
                break
            yield given[f"{group}.TargetGroupArn"], int(given.get(f"{group}.Weight", LONE))
