# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six public services on Amazon ECS and a gateway in front of them, ready to become internal ones.

Each service has a port of a public load balancer, and the gateway its URL in <NAME>_SERVICE_URL. Clients come through
another load balancer to the gateway, whose image is the real one; it runs without a database. The Network Load
Balancer and the services behind it are made by the playbooks, from `variables()`.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from testbed.services.aws.ecs.containers.images import push
from testbed.services.aws.ecs.containers.place import balancer_address
from tests.system.load import MixedLoad

CHECKOUT = Path(__file__).resolve().parents[2]
ACCOUNT, REGION, CLUSTER = "123456789012", "eu-central-1", "production"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PORTS = {"users": 3001, "orders": 3002, "catalog": 3003, "payments": 3004, "messages": 3005, "reviews": 3006}
COUNTS = {"users": 2, **dict.fromkeys(list(PORTS)[1:], 1)}
FRONT = "gateway"
# Seconds of the load balancer's metrics here.
PERIOD = 5
ROLE = f"arn:aws:iam::{ACCOUNT}:role"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
# Five times as much is a difference that the playbook does not ignore.
DELAY = 0.02
# What an internal service may have: ways in which it is no match for the public one.
BROKEN: Mapping[str, Mapping[str, str]] = {
    "unhealthy": {"HEALTH": "503"},
    "port": {"PORT": "9999"},
    "slow": {"DELAY": str(5 * DELAY)},
    "secret": {},
    # Only under traffic: a probe finds nothing.
    "errs": {"STATUS": "500"},
    "drags": {"REQUEST_DELAY": "0.3"},
}
NO_SECRET = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/internal/none"


class Account(Protocol):
    """An endpoint that serves Amazon ECS. name: of its place on the engine. images: the engine's, by name."""

    name: str
    url: str
    engine: Any
    images: dict[str, str]

    def client(self, service: str) -> Any: ...


class Internal:
    """Made by start(). front: the URL for clients on this machine. public: those of the legacy services, for tasks.

    names: of the services, of PORTS.
    """

    def __init__(self, account: Account, names: Sequence[str] = tuple(PORTS)) -> None:
        self.account = account
        self.names = names
        self.front = ""
        self.public: dict[str, str] = {}
        self._network: dict[str, Any] = {}
        self._gateway_group = ""
        self._ecs = account.client("ecs")

    def start(self) -> None:
        """Returns once the gateway reaches all services."""
        self.start_services()
        front = self._load_balancer(FRONT)
        self._gateway_group = self._group("gateway", 3000, "/api/health", front, 80)
        urls = {f"{name.upper()}_SERVICE_URL": url for name, url in self.public.items()}
        self._serve("gateway", 2, self.gateway_task(urls), "gateway", 3000, self._gateway_group)
        self.front = f"http://{balancer_address(self.account.engine, self.account.name, front['DNSName'])}"
        self.wait_for_services()
        self._wait("the gateway reaches all services", lambda: set(self.served_by().values()) == set(self.names))

    def start_services(self) -> None:
        """The legacy ones, behind their public load balancer."""
        self._furnish()
        self._network = self._make_network()
        public = self._load_balancer("public")
        self.public = {name: f"http://{public['DNSName']}:{PORTS[name]}" for name in self.names}
        for name in self.names:
            port = PORTS[name]
            group = self._group(name, port, "/health", public, port)
            self._serve(name, COUNTS[name], self._upstream_task(name, port), name, port, group)

    def wait_for_services(self) -> None:
        self._wait("all services run", lambda: all(one[0] == one[1] for one in self.counts().values()))

    def load(self, rate: float, at_least: int = 0) -> MixedLoad:
        """Clients of all services through the front load balancer, while it is entered."""
        return MixedLoad(self.front, rate, at_least, [f"/api/{name}/hello" for name in self.names])

    def counts(self) -> dict[str, tuple[int, int]]:
        """The desired and the running tasks of each service."""
        arns = self._ecs.list_services(cluster=CLUSTER, maxResults=100)["serviceArns"]
        found: dict[str, tuple[int, int]] = {}
        for start in range(0, len(arns), 10):
            for one in self._ecs.describe_services(cluster=CLUSTER, services=arns[start : start + 10])["services"]:
                found[one["serviceName"]] = (one["desiredCount"], one["runningCount"])
        return found

    def served_by(self, front: str = "") -> dict[str, str]:
        """The service that answers the gateway's clients, by the name in the path; or what went wrong."""
        return {name: self.served(name, front) for name in self.names}

    def served(self, name: str, front: str = "") -> str:
        """The service that answers a client now."""
        try:
            with urllib.request.urlopen(f"{front or self.front}/api/{name}/hello", timeout=5) as answer:
                return str(json.load(answer)["service"])
        except OSError as error:
            return str(error)

    def aggregate(self) -> int:
        """The status of the gateway's health of all backends."""
        try:
            with urllib.request.urlopen(f"{self.front}/api/health/aggregate", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def variables(
        self, broken: Mapping[str, str] | None = None, gateway: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """For the playbooks. broken: of BROKEN, by the legacy service's name. gateway: variables of its own."""
        internal = self.declared(broken)
        caller = {
            "name": "gateway",
            "task": self.gateway_task(gateway or {}),
            "service": self._settings("gateway", 3000, self._gateway_group),
            "upstreams": [one["name"] for one in internal],
        }
        return {
            **self.surroundings(),
            "ecs_services": [*internal, caller],
            "ecs_cutover_gateway": "gateway",
            "ecs_cutover_metrics": {"load_balancer": FRONT, "period": PERIOD},
        }

    def declared(self, broken: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """The services that replace the legacy ones."""
        return [self._declared(name, (broken or {}).get(name, "")) for name in self.names]

    def surroundings(self) -> dict[str, Any]:
        """Variables for the playbooks, without the services."""
        place = self._network
        return {
            "ecs_cluster": CLUSTER,
            "fleet_account": ACCOUNT,
            "fleet_region": REGION,
            "fleet_endpoint_url": self.account.url,
            "ecs_internal": {
                "name": "internal",
                "vpc_id": place["vpc"],
                "subnets": place["subnets"],
                "security_groups": [place["internal"]],
            },
            "ecs_network": {"subnets": place["subnets"], "security_groups": [place["tasks"]]},
        }

    def listeners(self) -> dict[int, dict[str, int]]:
        """Of the internal load balancer: by port, the weights of its groups by their names."""
        elb = self.account.client("elbv2")
        arn = elb.describe_load_balancers(Names=["internal"])["LoadBalancers"][0]["LoadBalancerArn"]
        found = {}
        for listener in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            action: dict[str, Any] = listener["DefaultActions"][0]
            groups = action.get("ForwardConfig", {}).get("TargetGroups") or [action]
            found[int(listener["Port"])] = {
                one["TargetGroupArn"].split("/")[-2]: int(one.get("Weight", 1)) for one in groups
            }
        return found

    def groups(self) -> set[str]:
        """The names of all target groups."""
        return {one["TargetGroupName"] for one in self.account.client("elbv2").describe_target_groups()["TargetGroups"]}

    def gateway_task(self, urls: Mapping[str, str]) -> dict[str, Any]:
        """AWS's task definition of the gateway."""
        environment = {
            "IS_LOCAL": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RATE_LIMIT_ENABLED": "false",
            "SHUTDOWN_DELAY_SECONDS": "1",
            "SHUTDOWN_GRACE_SECONDS": "20",
            **urls,
        }
        return self._task("gateway", "gateway", 3000, environment)

    def _declared(self, name: str, broken: str) -> dict[str, Any]:
        port = PORTS[name]
        environment = {"NAME": f"{name}-nlb", "PORT": str(port), "DELAY": str(DELAY)}
        environment.update(BROKEN[broken] if broken else {})
        secret = NO_SECRET if broken == "secret" else "/internal/token"
        return {
            "name": f"{name}-nlb",
            "image": f"{REGISTRY}/upstream:1.0",
            "port": port,
            "health_check": {"protocol": "HTTP", "path": "/health", "interval": 5, "timeout": 2},
            "environment": environment,
            "secrets": {"TOKEN": secret},
            "count": COUNTS[name],
            "cpu": 256,
            "memory": 512,
            "execution_role": f"{ROLE}/execution",
            "task_role": f"{ROLE}/task",
            "legacy": {"service": name, "url": self.public[name]},
            "url_variable": f"{name.upper()}_SERVICE_URL",
        }

    def _upstream_task(self, name: str, port: int) -> dict[str, Any]:
        environment = {"NAME": name, "PORT": str(port), "DELAY": str(DELAY)}
        return self._task(name, "upstream", port, environment)

    def _task(self, family: str, image: str, port: int, environment: Mapping[str, str]) -> dict[str, Any]:
        options = {"awslogs-group": f"/ecs/{family}", "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        container = {
            "name": family,
            "image": f"{REGISTRY}/{image}:1.0",
            "essential": True,
            "portMappings": [{"containerPort": port}],
            "environment": [{"name": key, "value": value} for key, value in environment.items()],
            "stopTimeout": 30,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        }
        return {
            "family": family,
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": f"{ROLE}/execution",
            "taskRoleArn": f"{ROLE}/task",
            "containerDefinitions": [container],
        }

    def _settings(self, container: str, port: int, group: str) -> dict[str, Any]:
        """AWS's of a service."""
        place = self._network
        return {
            "launchType": "FARGATE",
            "networkConfiguration": {
                "awsvpcConfiguration": {"subnets": place["subnets"], "securityGroups": [place["tasks"]]}
            },
            "loadBalancers": [{"targetGroupArn": group, "containerName": container, "containerPort": port}],
            "deploymentConfiguration": {
                "minimumHealthyPercent": 100,
                "maximumPercent": 200,
                "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            },
            "healthCheckGracePeriodSeconds": 60,
        }

    def _serve(self, name: str, count: int, task: Mapping[str, Any], container: str, port: int, group: str) -> None:
        made = self._ecs.register_task_definition(**task)["taskDefinition"]["taskDefinitionArn"]
        settings = self._settings(container, port, group)
        self._ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=made, desiredCount=count, **settings)

    def _furnish(self) -> None:
        """What the services need and do not bring: a cluster, log groups, roles, a secret, and images."""
        client, engine = self.account.client, self.account.engine
        self._ecs.create_cluster(clusterName=CLUSTER)
        for name in (*self.names, "gateway"):
            client("logs").create_log_group(logGroupName=f"/ecs/{name}")
        for name in self.names:
            client("logs").create_log_group(logGroupName=f"/ecs/{name}-nlb")
        iam = client("iam")
        for role in ("execution", "task"):
            with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
                iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
        client("ssm").put_parameter(Name="/internal/token", Value="planted-value", Type="SecureString")
        for image in (("upstream", self._upstream_image()), ("gateway", self.account.images["gateway-v1"])):
            client("ecr").create_repository(repositoryName=image[0])
            push(engine, client("ecr"), image[1], image[0], "1.0")

    def _upstream_image(self) -> str:
        made = self.account.engine.containers.create(
            self.account.images["runtime"], labels={"evenkeel.fleet": self.account.name}
        )
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(CHECKOUT / "testbed/services/upstream.py", "upstream.py")
        made.put_archive("/", packed.getvalue())
        changes = ['CMD ["python3", "/upstream.py"]']
        found = made.commit(f"{self.account.name}-upstream", "1.0", changes=changes).id
        made.remove()
        return str(found)

    def _make_network(self) -> dict[str, Any]:
        """A VPC whose subnets reach AWS by a NAT gateway, and its security groups."""
        ec2 = self.account.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
                "SubnetId"
            ]
            for number, zone in enumerate("ab")
        ]
        nat = ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        groups = {
            name: ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
            for name in ("front", "internal", "tasks")
        }
        ranges = {"IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3006, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
        for name in ("internal", "tasks"):
            ec2.authorize_security_group_ingress(GroupId=groups[name], IpPermissions=[ranges])
        from_balancers = [{"GroupId": groups["front"]}, {"GroupId": groups["internal"]}]
        rule = {"IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3006, "UserIdGroupPairs": from_balancers}
        ec2.authorize_security_group_ingress(GroupId=groups["tasks"], IpPermissions=[rule])
        return {"vpc": vpc, "subnets": subnets, **groups}

    def _load_balancer(self, name: str) -> dict[str, Any]:
        place = self._network
        made = self.account.client("elbv2").create_load_balancer(
            Name=name, Type="application", Subnets=place["subnets"], SecurityGroups=[place["front"]]
        )
        return dict(made["LoadBalancers"][0])

    def _group(self, name: str, port: int, path: str, balancer: Mapping[str, Any], listens: int) -> str:
        """A target group with its listener."""
        elb = self.account.client("elbv2")
        group = elb.create_target_group(
            Name=name, Protocol="HTTP", Port=port, VpcId=self._network["vpc"], TargetType="ip", HealthCheckPath=path,
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Port=listens,
            Protocol="HTTP",
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        return str(group)

    def _wait(self, what: str, condition: Callable[[], bool], within: float = 60.0) -> None:
        ends = time.monotonic() + within
        while not condition():
            assert time.monotonic() < ends, f"{what}: not within {within:g} s: {self.counts()}, {self.served_by()}"
            time.sleep(0.2)
