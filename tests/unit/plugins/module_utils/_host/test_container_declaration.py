# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_declaration import (
    body,
    duration,
    fingerprint,
    port,
    restart_policy,
    shown,
    size,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import HostError

SPEC = {
    "name": "gateway",
    "image": "registry/gateway@sha256:1",
    "networks": ["app-net", "other"],
    "network_aliases": ["gw"],
    "ports": ["80:3000", "127.0.0.1:81:3000", "53:53/udp"],
    "env": {"A": True, "B": 1, "C": None, "DB_PASSWORD": "hunter2"},
    "volumes": ["/etc/ssl:/etc/ssl:ro"],
    "tmpfs": ["/run:size=1m", "/tmp"],
    "read_only": True,
    "cap_drop": ["ALL"],
    "memory": "500m",
    "restart_policy": "unless-stopped",
    "log_options": {"max-file": 3},
    "stop_timeout": 30,
    "init": True,
    "healthcheck": {"test": ["curl", "-f", "x"], "interval": "1m30s", "retries": 3},
    "gate": {"url": "http://127.0.0.1/"},
}


def test_body() -> None:
    result = body(SPEC)
    host = result["HostConfig"]
    assert result["Env"] == ["A=true", "B=1", "DB_PASSWORD=hunter2"]
    assert host["PortBindings"]["3000/tcp"] == [
        {"HostIp": "", "HostPort": "80"},
        {"HostIp": "127.0.0.1", "HostPort": "81"},
    ]
    assert host["PortBindings"]["53/udp"] == [{"HostIp": "", "HostPort": "53"}]
    assert host["Tmpfs"] == {"/run": "size=1m", "/tmp": ""}
    assert host["Memory"] == 500 * 2**20
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3"}}
    assert host["NetworkMode"] == "app-net"
    assert result["NetworkingConfig"] == {"EndpointsConfig": {"app-net": {"Aliases": ["gw"]}}}
    assert result["Healthcheck"] == {"Test": ["CMD", "curl", "-f", "x"], "Interval": 90 * 10**9, "Retries": 3}
    assert result["StopTimeout"] == 30


def test_it_may_not_restart_before_it_has_proven_itself() -> None:
    assert body(SPEC)["HostConfig"]["RestartPolicy"] == {"Name": "no"}


def test_what_is_left_out_is_left_to_the_image_and_the_engine() -> None:
    result = body({"name": "a", "image": "b"})
    assert not {"Cmd", "User", "Healthcheck", "NetworkingConfig"} & set(result)
    assert not {"LogConfig", "Init"} & set(result["HostConfig"])


def test_no_label_holds_a_secret() -> None:
    assert "hunter2" not in json.dumps(body(SPEC)["Labels"])
    assert "hunter2" not in shown(SPEC)


@pytest.mark.parametrize(
    "change",
    [{"env": {"A": "2"}}, {"ports": ["81:3000"]}, {"stop_timeout": 5}, {"labels": {"a": "b"}}, {"read_only": False}],
)
def test_these_replace(change: dict[str, object]) -> None:
    assert fingerprint({**SPEC, **change}) != fingerprint(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"gate": {"url": "http://else"}},
        {"pull_timeout": 5},
        {"pull_environment": {"A": "b"}},
        {"memory": "1g"},
        {"restart_policy": "always"},
        {"image": "registry/gateway:1"},
        {"user": None, "security_opt": []},
        {"env": {"A": "true", "B": "1", "DB_PASSWORD": "hunter2"}},
    ],
)
def test_these_replace_nothing(change: dict[str, object]) -> None:
    assert fingerprint({**SPEC, **change}) == fingerprint(SPEC)


@pytest.mark.parametrize(("text", "value"), [("500m", 500 * 2**20), ("1GiB", 2**30), ("64k", 65536), ("7", 7)])
def test_size(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(("text", "value"), [("500ms", 5 * 10**8), ("1h", 3600 * 10**9), ("5", 5 * 10**9)])
def test_duration(text: str, value: int) -> None:
    assert duration(text) == value


@pytest.mark.parametrize("text", ["3000", "a:b", "80:3000/icmp", "80:3000:1:2"])
def test_wrong_ports(text: str) -> None:
    with pytest.raises(HostError, match="isn't of the form"):
        port(text)


def test_wrong_values_are_named() -> None:
    with pytest.raises(HostError, match="size 'half'"):
        body({**SPEC, "memory": "half"})
    with pytest.raises(HostError, match="duration 'soon'"):
        body({**SPEC, "healthcheck": {"interval": "soon"}})
    with pytest.raises(HostError, match="restart policy 'sometimes'"):
        restart_policy({**SPEC, "restart_policy": "sometimes"})
