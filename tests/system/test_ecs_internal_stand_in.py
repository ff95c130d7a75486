# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six public services and a gateway on the local Amazon ECS: what the cutover starts from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.system.fleet import PREFIX, wait_until
from tests.system.local_ecs import LocalEcs
from tests.system.local_internal import CLUSTER, COUNTS, FRONT, PORTS, Internal

RATE = 100


@pytest.fixture(scope="module")
def internal() -> Iterator[Internal]:
    local = LocalEcs(f"{PREFIX}-ecs-internal")
    try:
        internal = Internal(local)
        internal.start()
        yield internal
    finally:
        local.close()


def test_clients_of_all_kinds_notice_no_deployment_of_the_gateway(internal: Internal) -> None:
    assert internal.counts() == {"gateway": (2, 2)} | {name: (count, count) for name, count in COUNTS.items()}
    assert internal.served_by() == {name: name for name in PORTS}
    assert internal.aggregate() == 200
    ecs = internal.account.client("ecs")
    urls = {f"{name.upper()}_SERVICE_URL": url for name, url in internal.public.items()}
    since = datetime.now(timezone.utc)

    def deployed() -> bool:
        found = ecs.describe_services(cluster=CLUSTER, services=["gateway"])["services"][0]["deployments"]
        return len(found) == 1 and found[0]["rolloutState"] == "COMPLETED"

    with internal.load(RATE, at_least=1000) as load:
        made = ecs.register_task_definition(**internal.gateway_task({**urls, "LOG_LEVEL": "warning"}))
        ecs.update_service(
            cluster=CLUSTER, service="gateway", taskDefinition=made["taskDefinition"]["taskDefinitionArn"]
        )
        wait_until(deployed, "the gateway is deployed", 90)
    assert load.failures == []
    assert {"kept", "new", "slow", "stream", "websocket"} <= set(load.counts)
    front = internal.account.client("elbv2").describe_load_balancers(Names=[FRONT])["LoadBalancers"][0]
    said = internal.account.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {
                "Id": "requests",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/ApplicationELB",
                        "MetricName": "RequestCount",
                        "Dimensions": [
                            {"Name": "LoadBalancer", "Value": front["LoadBalancerArn"].partition("loadbalancer/")[2]}
                        ],
                    },
                    "Period": 5,
                    "Stat": "Sum",
                },
            }
        ],
        StartTime=since,
        EndTime=since + timedelta(minutes=10),
    )
    assert sum(said["MetricDataResults"][0]["Values"]) >= load.answered
