# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._cloudwatch import config_problems


def config(**metrics_collected: Any) -> dict[str, Any]:
    return {"metrics": {"namespace": "CWAgent", "metrics_collected": metrics_collected}}


def test_a_whole_configuration_is_fine() -> None:
    whole = {
        "agent": {"metrics_collection_interval": 60, "run_as_user": "root"},
        "metrics": {
            "namespace": "CWAgent",
            "append_dimensions": {"AutoScalingGroupName": "${aws:AutoScalingGroupName}"},
            "aggregation_dimensions": [["AutoScalingGroupName"]],
            "metrics_collected": {
                "mem": {"measurement": ["mem_used_percent", {"name": "used", "rename": "MemoryUsed"}]},
                "disk": {"measurement": ["used_percent", "disk_inodes_free"], "resources": ["/"]},
                "cpu": {"measurement": ["cpu_usage_active"], "totalcpu": True},
                "statsd": {"service_address": ":8125"},
            },
        },
        "logs": {"logs_collected": {"files": {"collect_list": [{"file_path": "/x", "log_group_name": "g"}]}}},
    }
    assert config_problems(whole) == []


@pytest.mark.parametrize(
    ("wrong", "where", "suggestion"),
    [
        ({"metricss": {}}, "metricss", "metrics"),
        ({"agent": {"run_as_usr": "root"}}, "agent.run_as_usr", "run_as_user"),
        (config(memory={}), "metrics.metrics_collected.memory", "mem"),
        (config(mem={"measurment": []}), "metrics.metrics_collected.mem.measurment", "measurement"),
        (
            {"metrics": {"append_dimensions": {"AutoScalingGroup": "x"}}},
            "metrics.append_dimensions.AutoScalingGroup",
            "AutoScalingGroupName",
        ),
        (
            {"logs": {"logs_collected": {"files": {"collect_list": [{"file_path": "/x"}, {"file_pth": "/y"}]}}}},
            "collect_list[1].file_pth",
            "file_path",
        ),
        (config(mem={"measurement": ["mem_used_pct"]}), "mem_used_pct", "used_percent"),
        (config(disk={"measurement": ["qqq"]}), "qqq", ""),
    ],
)
def test_typing_errors_are_found_and_explained(wrong: dict[str, Any], where: str, suggestion: str) -> None:
    (problem,) = config_problems(wrong)
    assert where in problem
    assert ("did you mean" in problem) is bool(suggestion)
    assert suggestion in problem


@pytest.mark.parametrize("wrong", [{"metrics": []}, {"logs": {"logs_collected": {"files": {"collect_list": {}}}}}])
def test_wrong_shapes_are_found(wrong: dict[str, Any]) -> None:
    (problem,) = config_problems(wrong)
    assert "has to be a" in problem
