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
        (config(memory={}, swap={"measurement": []}), "metrics.metrics_collected.memory", "mem"),
        (config(mem={"measurment": []}), "metrics.metrics_collected.mem.measurment", "measurement"),
        (
            {"metrics": {"append_dimensions": {"AutoScalingGroup": "x"}, "metrics_collected": {"statsd": {}}}},
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


def log_file(**keys: Any) -> dict[str, Any]:
    return {"logs": {"logs_collected": {"files": {"collect_list": [{"file_path": "/x", **keys}]}}}}


@pytest.mark.parametrize(
    "right",
    [
        {"agent": {"system_metrics_enabled": True, "use_dualstack_endpoint": False, "logfile": ""}},
        config(prometheus={"prometheus_config_path": "/etc/prometheus.yaml"}),
        config(efa={"measurement": ["efa_rx_bytes"]}),
        config(cpu={"measurement": ["usage_idle"], "drop_original_metrics": ["cpu_usage_idle"]}),
        config(diskio={"measurement": ["diskio_ebs_total_read_ops", "writes"], "resources": ["*"]}),
        config(procstat=[{"exe": "haproxy", "measurement": ["memory_rss", "procstat_cpu_usage"]}]),
        config(jmx={"endpoint": "localhost:9010", "jvm": {"measurement": ["jvm.threads.count"]}}),
        config(jmx=[{"endpoint": "localhost:9010", "tomcat": {"measurement": ["tomcat.threads"]}}]),
        config(otlp={"grpc_endpoint": "127.0.0.1:4317", "tls": {"insecure": True}}),
        config(**{"Network Interface": {"measurement": ["Bytes Sent/sec"], "resources": ["*"]}}),
        log_file(publish_multi_logs=True, timezone="UTC", backpressure_mode="fd_release", retention_in_days=-1),
        log_file(filters=[{"type": "exclude", "expression": "health"}], **{"service.name": "gateway"}),
        {"logs": {"logs_collected": {"journald": {"collect_list": [{"log_group_name": "g", "priority": "err"}]}}}},
        {"logs": {"metrics_collected": {"application_signals": {"hosted_in": "cluster"}, "kubernetes": {"any": 1}}}},
        {"traces": {"traces_collected": {"xray": {"bind_address": "127.0.0.1:2000"}, "application_signals": {}}}},
        {"opentelemetry": {"collect": {"host_metrics": {"collection_interval": 60}}}},
    ],
)
def test_what_the_agent_takes_is_fine(right: dict[str, Any]) -> None:
    assert config_problems(right) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (config(cpu={"measurement": 5}), "cpu.measurement has to be a list, not 5"),
        (
            config(mem={"measurment": ["used"]}),
            "unknown key metrics.metrics_collected.mem.measurment, did you mean measurement",
        ),
        (config(mem={}), "metrics.metrics_collected.mem needs the key measurement"),
        (config(statsd={"service_adress": ":8125"}), "did you mean service_address"),
        (config(statsd={"metrics_aggregation_interval": 172801}), "is 172801, 0 to 172800 are allowed"),
        (config(collectd={"collectd_security_level": "signed"}), "can't be 'signed', did you mean sign; choose one of"),
        (config(procstat=[{"measurement": ["pid"]}]), "procstat[0] needs one of the keys pid_file, exe, pattern"),
        (config(procstat=[{"exe": "a", "measurement": ["memory_rs"]}]), "has no measurement memory_rs"),
        (config(diskio={"measurement": ["diskio_read"]}), "diskio has no measurement diskio_read"),
        (config(disk={"measurement": ["used", "used"]}), "disk.measurement[1] is in the list twice"),
        (config(), "metrics.metrics_collected has 0 keys"),
        ({"metrics": {"namespace": "x"}}, "metrics needs the key metrics_collected"),
        (
            {"metrics": {"aggregation_dimensions": ["InstanceId"], "metrics_collected": {"statsd": {}}}},
            "metrics.aggregation_dimensions[0] has to be a list, not 'InstanceId'",
        ),
        ({"agent": {"metrics_collection_interval": "30"}}, "has to be a whole number, not '30'"),
        ({"agent": {"metrics_collection_interval": True}}, "has to be a whole number, not True"),
        ({"agent": {"debug": "true"}}, "agent.debug has to be true or false, not 'true'"),
        ({"agent": {"region": ""}}, "agent.region has 0 characters, 1 to 64 are allowed"),
        (log_file(retention_in_days=31), "collect_list[0].retention_in_days can't be 31; choose one of -1, 1, 3,"),
        (log_file(filters=[{"type": "drop", "expression": "x"}]), "filters[0].type can't be 'drop'"),
        (
            {"logs": {"logs_collected": {"files": {"collect_list": [{"log_group_name": "g"}]}}}},
            "logs.logs_collected.files.collect_list[0] needs the key file_path",
        ),
        ({"logs": {"concurrency": 1}}, "logs needs one of the keys logs_collected, metrics_collected"),
        ({"traces": {"traces_collected": {"xray": {}}, "buffer_size_mb": 1}}, "traces.buffer_size_mb is 1"),
    ],
)
def test_what_the_agent_refuses_or_ignores_is_named(wrong: dict[str, Any], said: str) -> None:
    (problem,) = config_problems(wrong)
    assert said in problem


def test_a_newer_agents_keys_pass_where_that_is_wanted() -> None:
    newer = {"agent": {"new": 1}, **config(mem={"measurement": ["new"]}, tape={"measurement": ["reels"]})}
    assert len(config_problems(newer)) == 3
    assert config_problems(newer, unknown_keys=True) == []
    newer["agent"]["debug"] = 1
    (problem,) = config_problems(newer, unknown_keys=True)
    assert "agent.debug has to be true or false" in problem
