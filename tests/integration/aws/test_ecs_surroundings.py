# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs.yml and ecs_scale.yml: all that is around services is created, kept, changed and deleted, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.scaling_tags import ScalingTags
from tests.integration.aws.ecs_declaration import declaration, policy_simulator
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.stage import Played, call, play
from tests.integration.endpoint import ACCOUNT, REGION

FRESH = "fresh"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/front/50dc"
WRITES = re.compile(
    r"\w[\w-]*:(Add|Attach|Create|Delete|Deregister|Put|Register|Remove|Run|Set|Stop|Subscribe|Tag|Untag|Update)"
)
AROUND = [
    "Create or change the dead-letter queue",
    "Create or change the queue with its policy",
    "Create the topic, and subscribe the queue",
    "Create or change the cluster",
    "Create or change the log groups",
    "Create or change the roles",
    "Put the roles' policies",
    "Create or change the alarms' topic",
    "Create or change the alarms",
]


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage(policy_simulator, ScalingTags().answer) as served:
        yield served


def declared(ecs: Stage) -> dict[str, Any]:
    """Variables of a service with a role of its own, in a cluster that does not exist yet."""
    made = declaration(ecs.endpoint)
    (api,) = made["task"]["containerDefinitions"]
    api["logConfiguration"]["options"]["awslogs-group"] = f"/ecs/{FRESH}"
    task = {**made["task"], "family": FRESH, "executionRoleArn": f"{ROLE}{FRESH}-execution"}
    service = {
        "name": "vault",
        "task": task,
        "service": {"launchType": "FARGATE", **made["definition"]},
        "roles": ["execution"],
        "scaling": {"min": 1, "max": 3},
        "logs": {"retention": 1096},
    }
    return {
        "fleet_account": ACCOUNT,
        "fleet_region": REGION,
        "ecs_cluster": FRESH,
        "ecs_container_insights": "enabled",
        "ecs_services": [service],
        "queue_name": "audit",
        "queue_topic": "audit-events",
        "queue_raw_delivery": True,
        "queue_tags": {"team": "identity"},
        "ecs_load_balancer_arn": BALANCER,
        # Its policy is compared with calls elsewhere; each role takes seconds.
        "ecs_deployer": "",
        "ecs_tags": {"team": "identity"},
    }


def run(ecs: Stage, variables: dict[str, Any], *options: str) -> Played:
    ecs.endpoint.faults.calls.clear()
    return play(ecs.endpoint, variables, *options, playbook="playbooks/ecs.yml")


def writes(ecs: Stage) -> list[str]:
    return [one for one in ecs.endpoint.faults.calls if WRITES.match(one)]


def alarms(ecs: Stage) -> set[str]:
    return {one["AlarmName"] for one in ecs.endpoint.client("cloudwatch").describe_alarms()["MetricAlarms"]}


def queue(ecs: Stage, name: str) -> dict[str, Any]:
    """Its attributes, with its URL."""
    sqs = ecs.endpoint.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    return {"url": url, **sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]}


def test_all_around_services(ecs: Stage) -> None:
    variables = declared(ecs)
    iam, logs, sqs, sns = (ecs.endpoint.client(name) for name in ("iam", "logs", "sqs", "sns"))

    wrong = {**variables["ecs_services"][0], "scaling": {"min": 4, "max": 3}}
    network = {"awsvpcConfiguration": {"subnets": ["sg-1"]}}
    other = {"name": "a" * 256, "task": {}, "service": {"networkConfiguration": network}}
    refused = run(ecs, {**variables, "ecs_services": [wrong, other]})
    assert refused.failures.startswith("Nothing was changed: service vault: scaling.min 4 is above scaling.max 3")
    assert "has 256 characters" in refused.failures and "subnets has sg-1" in refused.failures
    assert writes(ecs) == []

    would = run(ecs, variables, "--check")
    assert (would.code, would.failures, writes(ecs)) == (0, "", [])
    assert [name for name in would.changed if name in AROUND] == AROUND
    (shown,) = would.tasks["Create or change the alarms"].diff
    assert len(shown["after"]) == 4
    assert "These services are created after it: vault" in would.text

    # One denied call, and the next run goes on.
    ecs.endpoint.faults.denied["iam:PutRolePolicy"] = ""
    denied = run(ecs, variables, "--tags", "roles")
    ecs.endpoint.faults.forget()
    assert "not authorized to perform: iam:PutRolePolicy" in denied.failures
    made = run(ecs, variables)
    assert (made.code, made.failures) == (0, "")
    assert {*denied.changed, *made.changed} >= set(AROUND)
    (cluster,) = ecs.ecs.describe_clusters(clusters=[FRESH], include=["SETTINGS"])["clusters"]
    assert (cluster["status"], cluster["settings"][0]["value"]) == ("ACTIVE", "enabled")
    (group,) = logs.describe_log_groups(logGroupNamePrefix=f"/ecs/{FRESH}")["logGroups"]
    assert group["retentionInDays"] == 1096
    applied = iam.get_role_policy(RoleName=f"{FRESH}-execution", PolicyName="evenkeel-ecs")["PolicyDocument"]
    assert "ReadSecrets" in [one["Sid"] for one in applied["Statement"]]
    assert iam.list_instance_profiles_for_role(RoleName=f"{FRESH}-execution")["InstanceProfiles"] == []
    watched = {"fresh-vault-running", "fresh-vault-target-5xx", "audit-oldest-message", "audit-dlq-not-empty"}
    assert alarms(ecs) == watched
    (service,) = ecs.ecs.describe_services(cluster=FRESH, services=["vault"])["services"]
    assert service["status"] == "ACTIVE"
    audit, dead = queue(ecs, "audit"), queue(ecs, "audit-dlq")
    redrive = json.loads(audit["RedrivePolicy"])
    assert (redrive["deadLetterTargetArn"], redrive["maxReceiveCount"]) == (dead["QueueArn"], 5)
    (statement,) = json.loads(audit["Policy"])["Statement"]
    (subscribed,) = sns.list_subscriptions()["Subscriptions"]
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": subscribed["TopicArn"]}}
    settings = sns.get_subscription_attributes(SubscriptionArn=subscribed["SubscriptionArn"])["Attributes"]
    assert (subscribed["Endpoint"], settings["RawMessageDelivery"]) == (audit["QueueArn"], "true")

    again = run(ecs, variables, "-e", "ecs_alarm_message_age=300", "-e", "queue_raw_delivery=yes")
    assert (again.failures, again.changed, writes(ecs)) == ("", [], [])

    # A run of one part that knows less than all takes nothing away.
    unknown = {key: value for key, value in variables.items() if key != "ecs_load_balancer_arn"}
    tagged = run(ecs, {**unknown, "ecs_container_insights": "", "queue_name": ""}, "--tags", "alarms")
    assert (tagged.failures, tagged.changed, alarms(ecs)) == ("", [], watched)
    assert {one.partition(":")[0] for one in ecs.endpoint.faults.calls} == {"sts", "sns", "cloudwatch"}

    changes = {
        "ecs_container_insights": "disabled",
        "ecs_tags": {},
        "ecs_alarm_target_5xx_percent": "2.5",
        "queue_max_receives": "3",
        "queue_tags": {"stage": "production"},
    }
    ours = "cluster,log_groups,alarms"
    would = run(ecs, {**variables, **changes}, "--check", "--tags", ours)
    assert writes(ecs) == []
    changed = run(ecs, {**variables, **changes}, "--tags", f"{ours},queue")
    assert changed.failures == ""
    assert [name for name in changed.changed if name in would.tasks] == would.changed
    assert {name: changed.tasks[name].diff for name in would.tasks} == {
        name: task.diff for name, task in would.tasks.items()
    }
    assert alarms(ecs) == watched - {"fresh-vault-running"}
    assert set(sqs.list_queue_tags(QueueUrl=audit["url"])["Tags"]) == {"stage", "evenkeel:tags"}

    sqs.send_message(QueueUrl=audit["url"], MessageBody="{}")
    refused = run(ecs, {**variables, "queue_state": "absent"}, "--tags", "queue")
    arn = subscribed["SubscriptionArn"]
    assert (
        f"Nothing was changed: the queue audit has 1 messages, the subscription {arn} delivers to the queue audit."
        in refused.failures
    )
    sqs.purge_queue(QueueUrl=audit["url"])
    sns.unsubscribe(SubscriptionArn=arn)
    without = {**variables, "ecs_state": "absent", "queue_state": "absent"}
    # The queues' names are declared, so that their alarms are known.
    without["ecs_queues"] = [{"name": "audit", "dead_letter": "audit-dlq"}]
    refused = run(ecs, without)
    assert "Nothing was changed: the cluster fresh has 1 services" in refused.failures
    assert alarms(ecs) == watched - {"fresh-vault-running"}
    assert queue(ecs, "audit")["QueueArn"] == audit["QueueArn"]
    gone = {"cluster": FRESH, "name": "vault", "state": "absent", "wait_timeout": 20}
    assert call(ecs.endpoint, "ecs_service", gone)["changed"]
    deleted = run(ecs, without)
    assert (deleted.failures, alarms(ecs)) == ("", set())
    assert (sqs.list_queues().get("QueueUrls", []), len(sns.list_topics()["Topics"])) == ([], 1)
    assert FRESH not in str([role["RoleName"] for role in iam.list_roles()["Roles"]])
    assert logs.describe_log_groups(logGroupNamePrefix=f"/ecs/{FRESH}")["logGroups"], "logs are kept"


def test_scale(ecs: Stage) -> None:
    name, _first = ecs.serving(count=1)
    service = {"name": name, "task": {"containerDefinitions": []}}
    variables = {"fleet_region": REGION, "ecs_cluster": CLUSTER, "ecs_services": [service], "ecs_scale_timeout": 20}

    def scale(*options: str) -> Played:
        ecs.fake.writes.clear()
        return play(ecs.endpoint, variables, *options, playbook="playbooks/ecs_scale.yml")

    def desired() -> int:
        return int(ecs.ecs.describe_services(cluster=CLUSTER, services=[name])["services"][0]["desiredCount"])

    would = scale("--check", "-e", "ecs_scale_count=3")
    assert (would.failures, ecs.writes) == ("", [])
    scaled = scale("-e", "ecs_scale_count=3")
    assert scaled.changed == would.changed == ["Set the number of tasks"]
    assert (desired(), "3 of 3 tasks run" in scaled.text) == (3, True)

    limits = scale("-e", "ecs_scale_min=2", "-e", "ecs_scale_max=5", "-e", "ecs_scale_suspend=in")
    assert limits.changed == ["Change the limits or the suspension of the scaling"]
    (target,) = ecs.endpoint.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[f"service/{CLUSTER}/{name}"]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 5)
    assert target["SuspendedState"]["DynamicScalingInSuspended"] is True
    refused = scale("-e", "ecs_scale_count=1")
    assert f"Nothing was changed: Application Auto Scaling sets the number of tasks of {name}" in refused.failures
    assert (desired(), ecs.writes) == (3, [])
