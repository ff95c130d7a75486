# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws.yml: load balancer, policies and alarms are created, kept, changed and deleted, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.elbv2.models import elbv2_backends

from tests.integration.aws.stage import call, network, play, surroundings
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

TARGET = "i-0000000000000000a"
OF_NO_USE: dict[str, Any] = {
    "load_balancer_name": "front",
    "load_balancer_vpc_id": "vpc-1",
    "load_balancer_subnets": [],
    "load_balancer_security_groups": [],
    "iam_apply": True,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(served: Endpoint) -> Endpoint:
    return served.at_its_best()


def test_made_left_alone_changed_and_deleted(endpoint: Endpoint, tmp_path: Path) -> None:
    certificate = endpoint.client("acm").request_certificate(DomainName="example.com")["CertificateArn"]
    chosen = surroundings(endpoint, "front", tmp_path)
    elb, watch, iam = endpoint.client(), endpoint.client("cloudwatch"), endpoint.client("iam")

    would = play(endpoint, chosen, "--check")
    assert (would.code, would.failures) == (0, "")
    assert elb.describe_load_balancers()["LoadBalancers"] == []
    (shown,) = would.tasks["Create or change the alarms and the dashboard"].diff
    assert len(shown["after"]) == 8 + 1, "all alarms and the dashboard, though there is no load balancer yet"
    refused = play(endpoint, chosen, "--tags", "alarms", "--check")
    assert "Nothing was changed: there is no load balancer front to set alarms on." in refused.failures
    made = play(endpoint, chosen)
    assert (made.code, made.failures) == (0, "")
    assert made.changed == would.changed
    assert set(made.tasks) - set(made.changed) == {
        name
        for name in made.tasks
        if name.startswith(("Validating", "Check", "Look up", "Refuse", "Remove tags", "Set the facts", "Show"))
    }

    (made_balancer,) = elb.describe_load_balancers(Names=["front"])["LoadBalancers"]
    assert f"The load balancer front answers at {made_balancer['DNSName']}" in made.text

    (group,) = elb.describe_target_groups(Names=["front"])["TargetGroups"]
    assert (group["HealthCheckPath"], group["HealthCheckIntervalSeconds"]) == ("/api/health", 10)
    assert (group["HealthCheckTimeoutSeconds"], group["HealthyThresholdCount"]) == (5, 2)
    arn = group["TargetGroupArn"]
    described = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    attributes = {pair["Key"]: pair["Value"] for pair in described}
    assert attributes["deregistration_delay.timeout_seconds"] == "30"
    alarms = watch.describe_alarms()["MetricAlarms"]
    assert len(alarms) == 8
    (topic,) = endpoint.client("sns").list_topics()["Topics"]
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == [topic["TopicArn"]] for alarm in alarms)
    (profile,) = iam.list_instance_profiles_for_role(RoleName="front")["InstanceProfiles"]
    assert profile["InstanceProfileName"] == "front"
    applied = iam.get_role_policy(RoleName="front", PolicyName="front-host")["PolicyDocument"]
    assert applied == json.loads((tmp_path / "iam" / "host.json").read_text())
    operators = iam.get_group_policy(GroupName="front-operators", PolicyName="front-operator")["PolicyDocument"]
    assert operators == json.loads((tmp_path / "iam" / "operator.json").read_text())
    ours = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/front/*"
    assert [ours] in [statement["Resource"] for statement in operators["Statement"]]
    assert arn.startswith(ours.rstrip("*"))

    # A run of one part knows nothing of the others' results, and takes nothing away.
    for tag in ("alarms", "iam", "load_balancer"):
        tagged = play(endpoint, chosen, "--tags", tag)
        assert (tagged.code, tagged.changed, tagged.failures) == (0, [], ""), tag
    assert len(watch.describe_alarms()["MetricAlarms"]) == 8
    unknown = {key: value for key, value in chosen.items() if key != "load_balancer_name"}
    alone = play(endpoint, unknown, playbook=alarms_alone(tmp_path))
    assert "it is unknown whether the fleet front has a load balancer. Set load_balancer_name, or" in alone.failures
    assert len(watch.describe_alarms()["MetricAlarms"]) == 8

    # What others do meanwhile: a target is registered, a canary gets its share, an alarm is silenced.
    endpoint.states.take_for_registered("front", [TARGET])
    canary = elb.create_target_group(Name="canary", Protocol="HTTP", Port=80, VpcId=chosen["load_balancer_vpc_id"])
    shares = [{"TargetGroupArn": arn, "Weight": 95}]
    shares += [{"TargetGroupArn": canary["TargetGroups"][0]["TargetGroupArn"], "Weight": 5}]
    balancer = elb.describe_load_balancers(Names=["front"])["LoadBalancers"][0]["LoadBalancerArn"]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    forward = [{"Type": "forward", "ForwardConfig": {"TargetGroups": shares}}]
    elb.modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=forward)
    watch.disable_alarm_actions(AlarmNames=["front-cpu"])

    again = play(endpoint, chosen)
    assert (again.code, again.changed) == (0, [])

    endpoint.faults.denied["iam:GetRole"] = ""
    denied = play(endpoint, chosen, "--tags", "iam")
    endpoint.faults.forget()
    assert "when calling the GetRole operation" in denied.failures
    assert "not authorized to perform: iam:GetRole" in denied.failures

    other = {
        **chosen,
        "load_balancer_certificate_arn": certificate,
        "load_balancer_health_interval": 20,
        "load_balancer_stickiness": "lb_cookie",
        "load_balancer_idle_timeout": 90,
        "iam_ssm_prefix": "/gateway",
        "alarms_cpu_percent": 70,
        "cloudwatch_agent_fleet": "",
    }
    would = play(endpoint, other, "--check", "--skip-tags", "iam")  # whose modules take longest
    changed = play(endpoint, other)
    assert (would.code, changed.code, changed.failures) == (0, 0, "")
    for name, task in would.tasks.items():
        assert changed.tasks[name].diff == task.diff, name
    assert changed.changed == [
        "Create or change the target group",
        "Create or change the load balancer and its listeners",
        "Write the documents",
        "Put the hosts' policy",
        "Create or change the alarms and the dashboard",
    ]
    listeners = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    actions = {each["Port"]: each["DefaultActions"] for each in listeners}
    assert actions[80][0]["RedirectConfig"]["StatusCode"] == "HTTP_301"
    assert actions[443][0]["ForwardConfig"]["TargetGroups"] == shares
    alarms = {alarm["AlarmName"]: alarm for alarm in watch.describe_alarms()["MetricAlarms"]}
    assert (alarms["front-cpu"]["Threshold"], alarms["front-cpu"]["ActionsEnabled"]) == (70, False)
    assert not {"front-no-leader", "front-two-leaders"} & set(alarms)

    gone = {**other, **{f"{role}_state": "absent" for role in ("load_balancer", "iam", "alarms")}}
    refused = play(endpoint, gone, "--tags", "load_balancer")
    assert refused.code != 0
    assert f"The target group front was not deleted: {TARGET} are registered there." in refused.failures
    assert elb.describe_load_balancers(Names=["front"])["LoadBalancers"]
    assert endpoint.standings(arn) == {f"{TARGET}:80": "healthy"}
    assert endpoint.states.changes == []  # only we registered or deregistered anything

    endpoint.states.groups.clear()
    remove = used_by_others(endpoint, chosen, arn)
    for words, *options in (
        ("The target group front was not deleted: it is used by the load balancer other.", "load_balancer"),
        ("The target group front was not deleted: it is used by the load balancer other.", "load_balancer", "--check"),
        ("Nothing was changed: the instance profile others contains the role front, the policy arn:", "iam"),
        ("Nothing was changed: email:someone@example.com is subscribed to the topic front-alarms, the", "alarms"),
    ):
        refused = play(endpoint, gone, "--tags", *options)
        assert (refused.code != 0, refused.changed) == (True, []), options
        assert words in refused.failures
    assert elb.describe_load_balancers(Names=["front"])["LoadBalancers"]
    remove()

    would = play(endpoint, gone, "--check")
    deleted = play(endpoint, gone)
    assert (would.code, deleted.code, deleted.changed) == (0, 0, would.changed)
    assert len(deleted.changed) == 7
    assert elb.describe_load_balancers()["LoadBalancers"] == watch.describe_alarms()["MetricAlarms"] == []
    groups = [each["TargetGroupName"] for each in elb.describe_target_groups()["TargetGroups"]]
    assert ("front" in groups, "canary" in groups) == (False, True)
    assert endpoint.client("sns").list_topics()["Topics"] == watch.list_dashboards()["DashboardEntries"] == []
    assert "front" not in [each["RoleName"] for each in iam.list_roles()["Roles"]]
    assert iam.list_group_policies(GroupName="front-operators")["PolicyNames"] == []


def used_by_others(endpoint: Endpoint, chosen: dict[str, Any], group: str) -> Callable[[], None]:
    """Others use the target group, the hosts' role and the topic; returns what ends that."""
    elb, iam = endpoint.client(), endpoint.client("iam")
    sns, watch = endpoint.client("sns"), endpoint.client("cloudwatch")
    made = elb.create_load_balancer(Name="other", Subnets=chosen["load_balancer_subnets"], Type="application")
    other = made["LoadBalancers"][0]["LoadBalancerArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    listener = elb.create_listener(LoadBalancerArn=other, Protocol="HTTP", Port=80, DefaultActions=forward)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
    policy = iam.create_policy(PolicyName="others", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.create_instance_profile(InstanceProfileName="others")
    iam.add_role_to_instance_profile(InstanceProfileName="others", RoleName="front")
    iam.attach_role_policy(RoleName="front", PolicyArn=policy)
    (topic,) = [found["TopicArn"] for found in sns.list_topics()["Topics"]]
    subscribed = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="someone@example.com")["SubscriptionArn"]
    settings = {"Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
    compared = {"Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold", "AlarmActions": [topic]}
    watch.put_metric_alarm(AlarmName="others", **settings, **compared)

    def remove() -> None:
        elb.delete_listener(ListenerArn=listener["Listeners"][0]["ListenerArn"])
        elb.delete_load_balancer(LoadBalancerArn=other)
        for found in elbv2_backends[ACCOUNT][REGION].target_groups.values():
            # moto goes on to tell of a load balancer that is gone.
            found.load_balancer_arns = [arn for arn in found.load_balancer_arns if arn != other]
        iam.remove_role_from_instance_profile(InstanceProfileName="others", RoleName="front")
        iam.delete_instance_profile(InstanceProfileName="others")
        iam.detach_role_policy(RoleName="front", PolicyArn=policy)
        iam.delete_policy(PolicyArn=policy)
        sns.unsubscribe(SubscriptionArn=subscribed)
        watch.delete_alarms(AlarmNames=["others"])

    return remove


def test_users_are_named(endpoint: Endpoint) -> None:
    place = network(endpoint)
    _name, arn = endpoint.group()
    endpoint.client("sns").create_topic(Name="front-alarms")
    trust = {"Version": "2012-10-17", "Statement": []}
    endpoint.client("iam").create_role(RoleName="front", AssumeRolePolicyDocument=json.dumps(trust))
    remove = used_by_others(endpoint, {"load_balancer_subnets": place["subnets"]}, arn)
    role = call(endpoint, "aws_dependents_info", {"role": "front"})
    assert role["dependents"] == [
        "the instance profile others contains the role front",
        f"the policy arn:aws:iam::{ACCOUNT}:policy/others is attached to the role front",
    ]
    topic = {"topic": "front-alarms", "alarms": ["front-cpu"]}
    assert call(endpoint, "aws_dependents_info", topic)["dependents"] == [
        "email:someone@example.com is subscribed to the topic front-alarms",
        "the alarm others is sent to the topic front-alarms",
    ]
    own = {**topic, "subscriptions": ["someone@example.com"], "alarms": ["others"]}
    assert call(endpoint, "aws_dependents_info", own)["dependents"] == []
    remove()
    assert call(endpoint, "aws_dependents_info", {"role": "front"})["dependents"] == []
    endpoint.client("iam").delete_role(RoleName="front")
    (found,) = endpoint.client("sns").list_topics()["Topics"]
    endpoint.client("sns").delete_topic(TopicArn=found["TopicArn"])
    assert call(endpoint, "aws_dependents_info", {"role": "front", **topic})["dependents"] == []


def test_launch_templates_and_what_launches_from_them_are_named(endpoint: Endpoint) -> None:
    subnets = network(endpoint)["subnets"]
    ec2, scaling, iam = (endpoint.client(service) for service in ("ec2", "autoscaling", "iam"))
    profile = iam.create_instance_profile(InstanceProfileName="fore")["InstanceProfile"]["Arn"]
    named = {"ImageId": "ami-1", "InstanceType": "t3.small", "IamInstanceProfile": {"Arn": profile}}
    other = {"ImageId": "ami-1", "InstanceType": "t3.small"}
    for name, versions in (("fore", [named]), ("old", [named, other]), ("none", [other])):
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=versions[0])
        for data in versions[1:]:
            ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)
            ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion="2")
    sizes = {"MinSize": 0, "MaxSize": 0, "VPCZoneIdentifier": subnets[0]}
    own = {"LaunchTemplateName": "fore", "Version": "$Latest"}
    scaling.create_auto_scaling_group(AutoScalingGroupName="fore", LaunchTemplate=own, **sizes)
    assert call(endpoint, "aws_dependents_info", {"launch_template": "fore"})["dependents"] == []

    mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": own, "Overrides": [{"InstanceType": "t3.large"}]}}
    scaling.create_auto_scaling_group(AutoScalingGroupName="mixed", MixedInstancesPolicy=mixed, **sizes)
    pinned = {"LaunchTemplateName": "old", "Version": "1"}
    scaling.create_auto_scaling_group(AutoScalingGroupName="pinned", LaunchTemplate=pinned, **sizes)
    assert call(endpoint, "aws_dependents_info", {"launch_template": "fore"})["dependents"] == [
        "the Auto Scaling group mixed launches from the launch template fore"
    ]
    assert call(endpoint, "aws_dependents_info", {"launch_template": "nothing"})["dependents"] == []
    assert call(endpoint, "aws_dependents_info", {"role": "fore"})["dependents"] == [
        "the launch template fore (version 1) names the instance profile fore",
        "the launch template old (version 1) names the instance profile fore",
    ]
    for name in ("fore", "mixed", "pinned"):
        scaling.delete_auto_scaling_group(AutoScalingGroupName=name)
    for name in ("fore", "old", "none"):
        ec2.delete_launch_template(LaunchTemplateName=name)
    iam.delete_instance_profile(InstanceProfileName="fore")


def test_a_policy_too_large_for_a_user_is_managed(endpoint: Endpoint, tmp_path: Path) -> None:
    iam = endpoint.client("iam")
    iam.create_user(UserName="operator")
    large = [
        f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener/app/gateways/{number:016d}/1" for number in range(12)
    ]
    chosen = {
        **OF_NO_USE,
        "iam_directory": str(tmp_path),
        "iam_name": "large",
        "fleet_account": ACCOUNT,
        "fleet_region": REGION,
        "iam_operators": "operator",
        "iam_operators_type": "user",
        "iam_listener_arns": large,
    }
    arn = f"arn:aws:iam::{ACCOUNT}:policy/large-operator"
    allowed = [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]
    document = {"Version": "2012-10-17", "Statement": allowed}
    # As the version before would have put it.
    iam.put_user_policy(UserName="operator", PolicyName="large-operator", PolicyDocument=json.dumps(document))
    foreign = iam.create_policy(PolicyName="foreign", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.attach_user_policy(UserName="operator", PolicyArn=foreign)

    def run(*options: str, **more: Any) -> tuple[list[str], str]:
        played = play(endpoint, {**chosen, **more}, "--tags", "iam", *options)
        assert (played.code == 0) == (not played.failures), played.text
        return played.changed, played.failures

    def has() -> tuple[list[str], list[str]]:
        attached = iam.list_attached_user_policies(UserName="operator")["AttachedPolicies"]
        return iam.list_user_policies(UserName="operator")["PolicyNames"], sorted(
            each["PolicyArn"] for each in attached
        )

    assert "there is no IAM user nobody. Create it first" in run(iam_operators="nobody")[1]
    many = run(iam_listener_arns=large * 6)[1]
    assert "characters, and IAM takes 6144 in a policy of a user. Nothing was changed." in many
    would, made = run("--check"), run()
    assert made == (would[0], "")
    assert made[0][-3:] == [
        "Create the operators' managed policy",
        "Attach the operators' managed policy",
        "Delete the inline policy that it replaces",
    ]
    assert has() == ([], [foreign, arn])
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    applied = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert applied == json.loads((tmp_path / "operator.json").read_text())

    gone = {"iam_state": "absent"}
    iam.create_group(GroupName="large-others")
    iam.attach_group_policy(GroupName="large-others", PolicyArn=arn)
    changed, refused = run(**gone)
    assert changed == []
    assert "the policy large-operator is attached to the group large-others" in refused
    iam.detach_group_policy(GroupName="large-others", PolicyArn=arn)
    assert run(iam_listener_arns=[])[0] == [
        "Write the documents",
        "Put the operators' inline policy",
        "Delete the managed policy that it replaces",
    ]
    assert has() == (["large-operator"], [foreign])
    iam.create_policy(PolicyName="large-operator", PolicyDocument=json.dumps(document))
    iam.attach_user_policy(UserName="operator", PolicyArn=arn)
    assert run(**gone)[0][:2] == ["Delete the operators' managed policy", "Delete the operators' inline policy"]
    assert has() == ([], [foreign])
    assert "large-operator" not in [each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"]]


def test_a_load_balancer_with_listeners_of_others_stays(endpoint: Endpoint) -> None:
    place = network(endpoint)
    _name, arn = endpoint.group()
    there = {"name": "shared", "subnets": place["subnets"], "security_groups": [], "target_group_arn": arn}
    made = call(endpoint, "load_balancer", there)
    elb = endpoint.client()
    forward = [{"Type": "forward", "TargetGroupArn": arn}]
    at = {"LoadBalancerArn": made["load_balancer_arn"], "Protocol": "HTTP", "DefaultActions": forward}
    other = elb.create_listener(Port=8443, **at)["Listeners"][0]["ListenerArn"]
    gone = {"name": "shared", "state": "absent"}
    for check in (True, False):
        refused = call(endpoint, "load_balancer", gone, check=check)
        assert refused["msg"] == (
            "The load balancer shared was not deleted: It has listeners of others, on port 8443; delete these first."
        )
    elb.delete_listener(ListenerArn=other)
    assert call(endpoint, "load_balancer", gone)["changed"]


def test_many_alarms_are_asked_for_by_the_hundred(endpoint: Endpoint) -> None:
    result = call(endpoint, "cloudwatch_alarms", {"absent": [f"alarm-{number}" for number in range(250)]})
    assert (result["failed"], result["changed"]) == (False, False)
    assert endpoint.faults.calls == ["cloudwatch:DescribeAlarms"] * 3


def test_another_place_is_refused_before_anything_changes(endpoint: Endpoint, tmp_path: Path) -> None:
    chosen = {**OF_NO_USE, "iam_directory": str(tmp_path), "fleet_account": ACCOUNT, "fleet_region": REGION}
    (tmp_path / "config").write_text("[profile fleet]\n[profile private]\n")
    elsewhere = {"fleet_profile": "fleet", "fleet_endpoint_url": "http://127.0.0.1:9"}
    environment = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "private"}
    refused = play(endpoint, {**chosen, **elsewhere}, region="us-west-2", **environment)
    assert refused.code != 0
    for words in (
        "AWS_REGION of the environment is us-west-2, and the region declared is eu-central-1.",
        "AWS_PROFILE of the environment is private, and the profile declared is fleet.",
        f"AWS_ENDPOINT_URL of the environment is {endpoint.url}, and the endpoint_url declared is http://127.0.0.1:9.",
        "AWS_ACCESS_KEY_ID is set in the environment beside the profile fleet.",
    ):
        assert words in refused.failures
    assert endpoint.faults.calls == []

    inventory = tmp_path / "aws_ec2.yml"
    inventory.write_text("{plugin: amazon.aws.aws_ec2, regions: [us-west-2]}")
    asked = play(endpoint, chosen, "-i", str(inventory))
    assert (asked.code != 0, asked.changed) == (True, [])
    words = f"The inventory {inventory} lists instances of us-west-2, and the region is {REGION}."
    assert words in asked.failures
    assert set(endpoint.faults.calls) == {"ec2:DescribeInstances"}
    endpoint.faults.forget()

    foreign = play(endpoint, {**chosen, "fleet_account": "210987654321"}, "--tags", "iam")
    assert f"these credentials are of the account {ACCOUNT} (arn:aws:" in foreign.failures
    assert endpoint.faults.calls == ["sts:GetCallerIdentity"]
    assert list(tmp_path.glob("*.json")) == []


def alarms_alone(folder: Path) -> str:
    """A playbook with nothing but the role alarms."""
    path = folder / "alarms.yml"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": ["evenkeel.fleet.alarms"]}]))
    return str(path)


@pytest.mark.parametrize(
    ("module", "arguments", "permission"),
    [
        ("target_group", {"vpc_id": "vpc-1", "name": "gw"}, "elasticloadbalancing:DescribeTargetGroups"),
        (
            "load_balancer",
            {"name": "gw", "subnets": [], "security_groups": [], "target_group_arn": "arn"},
            "elasticloadbalancing:DescribeLoadBalancers",
        ),
        ("cloudwatch_alarms", {"absent": ["gw-cpu"]}, "cloudwatch:DescribeAlarms"),
    ],
)
def test_bad_credentials(endpoint: Endpoint, module: str, arguments: dict[str, Any], permission: str) -> None:
    denied = call(endpoint, module, arguments, access_key="AKIADENIED")
    assert denied["msg"].startswith(f"AWS denies it: the role or user needs {permission} on the ")
    expired = call(endpoint, module, arguments, access_key="AKIAEXPIRED")
    assert "The AWS credentials have expired: renew them" in expired["msg"]


def test_a_target_group_that_is_half_done_is_finished(endpoint: Endpoint) -> None:
    wanted = {
        "name": "half",
        "vpc_id": network(endpoint)["vpc_id"],
        "health_check": {"path": "/api/health", "interval": 10, "timeout": 5},
        "attributes": {"slow_start.duration_seconds": 60, "stickiness.enabled": True, "stickiness.type": "lb_cookie"},
        "tags": {"fleet": "gateways"},
    }
    endpoint.faults.denied["elasticloadbalancing:ModifyTargetGroupAttributes"] = ""
    broken = call(endpoint, "target_group", wanted)
    assert "needs elasticloadbalancing:ModifyTargetGroupAttributes on the target group half." in broken["msg"]
    endpoint.faults.forget()
    endpoint.faults.throttled["elasticloadbalancing:DescribeTargetGroups"] = 2  # the SDK asks again
    finished = call(endpoint, "target_group", wanted)
    assert (finished["failed"], finished["changed"]) == (False, True)
    assert set(finished["diff"]["before"]) == set(finished["diff"]["after"])
    assert not call(endpoint, "target_group", wanted)["changed"]

    off = call(endpoint, "target_group", {**wanted, "attributes": {"stickiness.enabled": False}})
    assert off["diff"]["before"]["attributes"] == {"stickiness.enabled": "true"}
    moved = call(endpoint, "target_group", {**wanted, "port": 8080}, check=True)
    assert moved["msg"] == (
        "AWS can't change port (is 80, wanted 8080) of the target group half. Create one with another name."
    )
    elsewhere = call(endpoint, "target_group", {**wanted, "name": "other"}, region="us-west-2")
    assert "CreateTargetGroup failed" in elsewhere["msg"]
    assert wanted["vpc_id"] in elsewhere["msg"]


def test_a_load_balancer_that_is_half_done_is_finished(endpoint: Endpoint) -> None:
    place = network(endpoint)
    name, arn = endpoint.group()
    wanted = {
        "name": "half",
        "subnets": place["subnets"],
        "security_groups": place["security_groups"],
        "target_group_arn": arn,
        "attributes": {"idle_timeout.timeout_seconds": 30},
        "tags": {"fleet": "gateways"},
    }
    missing = call(endpoint, "load_balancer", {**wanted, "target_group_arn": arn.replace(name, "nobody")})
    assert "CreateListener failed: TargetGroupNotFound" in missing["msg"]
    finished = call(endpoint, "load_balancer", wanted)
    assert (finished["failed"], finished["changed"]) == (False, True)
    assert finished["diff"]["before"]["listeners"] == {}
    assert not call(endpoint, "load_balancer", wanted)["changed"]

    inside = call(endpoint, "load_balancer", {**wanted, "scheme": "internal"})
    assert "half is internet-facing and AWS can't make it internal" in inside["msg"]
    endpoint.faults.throttled["elasticloadbalancing:DescribeLoadBalancers"] = 50
    busy = call(endpoint, "load_balancer", wanted)
    assert "AWS did not serve DescribeLoadBalancers: Throttling: Rate exceeded" in busy["msg"]


def test_alarms_that_are_wrong_are_refused_before_anything_changes(endpoint: Endpoint) -> None:
    misspelt = {"AlarmName": "cpu", "Treshold": 1}
    result = call(endpoint, "cloudwatch_alarms", {"alarms": [misspelt]})
    assert result["msg"] == "cpu: PutMetricAlarm has no Treshold."
    unfit = {"AlarmName": "cpu", "EvaluationPeriods": "often", "ComparisonOperator": "GreaterThanThreshold"}
    result = call(endpoint, "cloudwatch_alarms", {"alarms": [unfit]})
    assert "PutMetricAlarm failed: Parameter validation failed" in result["msg"]
    assert endpoint.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
