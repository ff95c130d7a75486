# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway, legacy services, and those that replace them behind an internal load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.services.aws.ecs.agent import Order
from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs_declaration import REGISTRY, declaration, push
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, LoggingAgent, Stage
from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import ACCOUNT, REGION

NAMES = ("users", "orders")
PORTS = {"users": 3002, "orders": 5003}
Service = dict[str, Any]


class ProbingAgent(LoggingAgent):
    """Its probe finds what `answers` says of a URL: a status and seconds; without that, 200 at once."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, tuple[int, float]] = {}
        self.asked: list[str] = []

    def start(self, order: Order, now: float) -> None:
        for container in order.definition["containerDefinitions"]:
            if container["name"] == "probe":
                self.by_command[" ".join(container["command"])] = Behaviour(exits_after=0.1)
        super().start(order, now)
        for container in order.definition["containerDefinitions"]:
            if container["name"] == "probe":
                count, *urls = container["command"]
                self.asked += urls
                stream = f"ecs/probe/{order.arn.rpartition('/')[2]}"
                lines = [
                    "probe {} {} {}".format(index, *self.answers.get(url, (200, 0.01)))
                    for index, url in enumerate(urls)
                    for _ in range(int(count))
                ]
                events = [{"timestamp": int(now * 1000), "message": line} for line in lines]
                self.logs.put_log_events(logGroupName=self.group_of(container), logStreamName=stream, logEvents=events)


class Scene:
    """A gateway, legacy services, and a load balancer for those that replace them. ports: of the services, by name."""

    def __init__(self, ecs: Stage, agent: ProbingAgent, ports: Mapping[str, int] = PORTS) -> None:
        self.ecs, self.agent, self.ports = ecs, agent, ports
        self.key = "AKIATEST"
        ecs.fake.engine.tasks.targets = ecs.endpoint.states
        made = declaration(ecs.endpoint)
        self.network = made["definition"]["networkConfiguration"]["awsvpcConfiguration"]
        self.vpc = ecs.endpoint.client("ec2").describe_subnets(SubnetIds=self.network["subnets"])["Subnets"][0]["VpcId"]
        group = {"GroupId": self.network["securityGroups"][0]}
        rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
        ecs.endpoint.client("ec2").authorize_security_group_ingress(**group, IpPermissions=[rule])
        self.execution = made["task"]["executionRoleArn"]
        for name in (*ports, "gateway"):
            push(ecs.endpoint, name, "1.0", "amd64")
        self.services = [self.new(name) for name in ports] + [self.gateway()]
        self.variables = {
            "fleet_region": REGION,
            "fleet_account": ACCOUNT,
            "ecs_cluster": CLUSTER,
            "ecs_services": self.services,
            "ecs_internal": {
                "name": "inside",
                "vpc_id": self.vpc,
                "subnets": self.network["subnets"],
                "security_groups": self.network["securityGroups"],
            },
            "ecs_cutover_gateway": "gateway",
            "ecs_cutover_seconds": 1,
            "ecs_cutover_timeout": 20,
            "ecs_deployer": "",
        }

    def new(self, name: str) -> Service:
        return {
            "name": f"{name}-nlb",
            "image": f"{REGISTRY}/{name}:1.0",
            "port": self.ports[name],
            "health_check": {"protocol": "HTTP", "path": "/health"},
            "environment": {"LOG_LEVEL": "info"},
            "count": 2,
            "execution_role": self.execution,
            "legacy": {"service": name, "url": f"http://public.example.com:{self.ports[name]}"},
        }

    def gateway(self) -> Service:
        return {
            "name": "gateway",
            "image": f"{REGISTRY}/gateway:1.0",
            "count": 2,
            "execution_role": self.execution,
            "upstreams": [f"{name}-nlb" for name in self.ports],
        }

    def with_orders(self, **changes: Any) -> list[Service]:
        """The services with another declaration of one of them."""
        return [{**one, **changes} if one["name"] == "orders-nlb" else one for one in self.services]

    def begin(self) -> None:
        """The legacy services with two and three tasks, the gateway that uses them, and the load balancer."""
        self.start_legacy()
        for playbook, options in (("ecs", ["--tags", "load_balancer"]), ("ecs_deploy", [])):
            played = self.run(playbook, *options, ecs_service=["gateway"])
            assert played.code == 0, played.text
        self.calm()

    def start_legacy(self) -> None:
        """The first with two tasks, each with one more than the one before."""
        for number, name in enumerate(self.ports):
            definition = self.ecs.register(name, f"{REGISTRY}/{name}:1.0")
            self.ecs.ecs.create_service(
                cluster=CLUSTER, serviceName=name, taskDefinition=definition, desiredCount=2 + number,
                launchType="FARGATE", networkConfiguration=NETWORK,
            )  # fmt: skip

    def calm(self) -> None:
        self.ecs.fake.writes.clear()
        self.agent.asked.clear()
        self.agent.answers.clear()

    def run(self, playbook: str, *options: str, **more: Any) -> Played:
        variables = {**self.variables, **more}
        return play(self.ecs.endpoint, variables, *options, playbook=f"playbooks/{playbook}.yml", key=self.key)

    def cut_over(self, *options: str, **more: Any) -> Played:
        return self.run("ecs_cutover", *options, **more)

    def counts(self) -> dict[str, int]:
        names = [*self.ports, *(f"{name}-nlb" for name in self.ports)]
        found = self.ecs.ecs.describe_services(cluster=CLUSTER, services=names)["services"]
        return {one["serviceName"]: one["desiredCount"] for one in found}

    def dns_name(self) -> str:
        return str(self.ecs.endpoint.client().describe_load_balancers(Names=["inside"])["LoadBalancers"][0]["DNSName"])

    def urls(self) -> dict[str, str]:
        """What the gateway runs with."""
        [arn] = self.ecs.runs("gateway")
        found = self.ecs.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"][0]
        return {one["name"]: one["value"] for one in found["environment"]}
