# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of a serving fleet: each is reported, and what served before keeps serving."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.rollouts import never_seen

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

ALONE = ("--limit", "host-1")


@pytest.fixture(autouse=True, scope="module")
def as_the_inventory_says(serving: Fleet) -> None:
    """Tests before may have left another image than site.yml wants."""
    run = serving.site()
    assert run.code == 0, run.output
    serving.assert_serving()


def test_denied_by_the_registry(serving: Fleet) -> None:
    image = never_seen(serving, "denied", 1000)
    with serving.credentials("host-1", "denied"), serving.untouched("host-1"):
        run = serving.site(*ALONE, gateway_image=image)
        assert run.code == 2, run.output
    assert run.says("host-1", "AWS denies it: this host's role needs ecr:GetAuthorizationToken", "AccessDenied")
    serving.assert_serving()


def test_an_image_tag_that_does_not_exist(serving: Fleet) -> None:
    image = serving.variables["gateway_image"].partition("@")[0] + ":no-such-tag"
    with serving.untouched("host-1"):
        run = serving.site(*ALONE, gateway_image=image)
    assert run.code == 2, run.output
    assert run.says(f"The image {image} can't be pulled. There is no such image or tag in the registry")
    serving.assert_serving()


def test_a_disk_that_is_full_when_the_image_comes(serving: Fleet) -> None:
    image = never_seen(serving, "large", 1_000_000)
    serving.on("host-1", "mount -t tmpfs -o size=64k tmpfs /var/lib/docker/tmp")
    try:
        with serving.untouched("host-1"):
            run = serving.site(*ALONE, gateway_image=image)
    finally:
        serving.on("host-1", "umount /var/lib/docker/tmp")
    assert run.code == 2, run.output
    assert run.says(
        "can't be pulled. The disk is full: /var/lib/docker", "docker image prune", "no space left on device"
    )
    serving.assert_serving()


def test_an_unreachable_database_stops_a_run_and_no_gateway(serving: Fleet) -> None:
    serving.service("stop", "db")
    try:
        with serving.untouched(*serving.hosts):
            run = serving.site()
            assert serving.proxies(), "without a database requests are still proxied"
            assert all(serving.healthy(host) for host in serving.hosts)
    finally:
        serving.service("start", "db")
    assert run.code == 2, run.output
    assert run.says("all hosts: db.testbed.internal:5432", "nothing was changed on any host")
    serving.assert_serving()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"password": "not the one"}, "password authentication failed", id="wrong password"),
        pytest.param(
            {"host": "users.testbed.internal"},
            "port 5432 failed: Connection refused",
            id="nothing listens there",
            marks=pytest.mark.weekly,
        ),
    ],
)
def test_a_database_that_the_gateway_cannot_use(serving: Fleet, change: dict[str, Any], reason: str) -> None:
    secrets = serving.aws("secretsmanager")
    secret = json.loads(secrets.get_secret_value(SecretId=serving.variables["gateway_db_secret_arn"])["SecretString"])
    wrong = secrets.create_secret(Name=f"wrong-{next(iter(change))}", SecretString=json.dumps({**secret, **change}))
    before = serving.gateway("host-1")["Id"]
    try:
        run = serving.site(*ALONE, gateway_db_secret_arn=wrong["ARN"], gateway_health_timeout=12)
    finally:
        secrets.delete_secret(SecretId=wrong["ARN"], ForceDeleteWithoutRecovery=True)
    assert run.code == 2, run.output
    assert run.says("The container bk-gateway-api isn't healthy", "database", reason, "the old one is back and serves")
    assert secret["password"] not in run.output
    assert serving.gateway("host-1")["Id"] == before
    serving.assert_serving()


def test_another_subnet_under_a_running_gateway(serving: Fleet) -> None:
    with serving.untouched("host-1"):
        run = serving.site(*ALONE, app_network_subnet="10.250.0.0/24")
    assert run.code == 2, run.output
    assert run.says(
        "The network app-net exists with other settings: subnet is",
        "not '10.250.0.0/24'",
        "would cut off bk-gateway-api",
        "nothing was changed",
    )
    serving.assert_serving()


def test_an_unreachable_host_is_named_and_the_others_finish(serving: Fleet) -> None:
    serving.on("host-1", "rm /root/.docker/config.json")
    serving.service("kill", "host-3")
    try:
        run = serving.site()
    finally:
        serving.service("start", "host-3")
    assert run.code == 4, run.output
    assert run.recap["host-3"]["unreachable"] == 1
    assert run.changed() == {"host-1"}, run.output
    for host in ("host-1", "host-2"):
        assert run.recap[host]["failed"] == 0
    table = run.output.partition("Show host, instance, image, health and leader")[2]
    assert "failed or unreachable" in next(line for line in table.splitlines() if "host-3" in line)
    serving.assert_serving()


def test_a_rebooted_host_serves_again_behind_its_rules(serving: Fleet) -> None:
    before = serving.gateway("host-2")
    serving.service("restart", "host-2")
    serving.assert_serving()
    after = serving.gateway("host-2")
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    connect = "timeout 3 bash -c '</dev/tcp/169.254.169.254/80' 2>&1"
    assert serving.on("host-2", connect) == ""
    assert "Connection refused" in serving.on("host-2", f"setpriv --reuid 65534 --clear-groups {connect}", check=False)
    run = serving.site("--limit", "host-2")
    assert run.code == 0, run.output
    assert run.changed() == set()
    table = run.output.partition("Show host, instance, image, health and leader")[2].partition("PLAY RECAP")[0]
    rows = [line for line in table.splitlines() if {"host-1", "host-2", "host-3"} & set(line.split())]
    assert len(rows) == 1 and {"host-2", "healthy"} <= set(rows[0].split()), run.output


def test_two_operators_at_once(serving: Fleet) -> None:
    """Both roll the same image out at the same moment; who is told of success has it, and the fleet is of one mind."""
    image = serving.facts["gateway_images"]["v2"]
    processes = [serving.start_site(gateway_image=image) for _operator in range(2)]
    runs = [process.wait() for process in processes]
    assert any(run.code == 0 for run in runs), runs[0].output + runs[1].output
    for run in runs:
        assert run.code == 0 or run.says("Another call has been converging this host")
    serving.assert_serving()
    for host in serving.hosts:
        assert serving.gateway(host)["Config"]["Image"] == image
        assert serving.about(host)["version"] == "v2"
        running = serving.on(host, "docker ps --format '{{.Names}}'")
        assert running.split() == ["bk-gateway-api"]
    again = serving.site(gateway_image=image)
    assert again.code == 0, again.output
    assert again.changed() == set()
