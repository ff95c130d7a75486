# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target-tracking policies: their configuration, and which ones are the module's own."""

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.scaling_policies import (
    MOST,
    configuration,
    described,
    obsolete,
    problems,
    record,
)

CPU: dict[str, Any] = {"name": "cpu", "metric": "ECSServiceAverageCPUUtilization", "target_value": 60}


def test_what_aws_fills_in_is_no_difference() -> None:
    said = {
        "TargetValue": 60,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
    }
    answer = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": said}
    assert described(answer) == configuration(CPU)
    assert described({"PolicyType": "StepScaling"}) == {"PolicyType": "StepScaling"}


def test_only_recorded_policies_are_obsolete() -> None:
    ours = record(["cpu", "requests", "memory"])
    assert obsolete(["cpu", "requests", "theirs"], ours, ["cpu"]) == ["requests"]
    assert obsolete(["cpu"], "", []) == []


def test_the_record_of_all_policies_fits_into_a_tag() -> None:
    assert len(record(f"policy-{number}" for number in range(MOST))) <= 256


def test_too_many_policies_are_refused() -> None:
    [found] = problems([{**CPU, "name": f"policy-{number}"} for number in range(MOST + 1)])
    assert found == "51 policies are declared, and AWS takes 50: declare fewer."
