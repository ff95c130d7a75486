"""Deploy the permissions service on the Amazon ECS of this machine under load: a change, and a broken image.

testbed/ecs_up.yml has started what it needs. At the end everything still runs, and the last lines say what to try.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import docker

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from testbed.services.aws.ecs.containers.images import push  # noqa: E402
from testbed.services.aws.ecs.containers.place import balancer_address  # noqa: E402
from tests.system.fleet import PREFIX  # noqa: E402
from tests.system.load import Clients  # noqa: E402

NAME = f"{PREFIX}-ecs"  # as testbed/vars/ecs.yml has it
STATE = CHECKOUT / ".testbed" / NAME
PLAYBOOKS = CHECKOUT / "playbooks"
RATE = float(os.environ.get("RATE") or 300)
CLUSTER, SERVICE, REPOSITORY, GROUP = "production", "permissions", "permissions", "/ecs/permissions"
# It migrates, and nothing else.
BROKEN = [
    "ENTRYPOINT "
    + json.dumps(
        [
            "sh",
            "-c",
            '[ "$1" != migrate ] || exec evenkeel-permissions migrate; echo "ImportError: no module named api"; exit 3',
            "broken",
        ]
    )
]
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}


class Demo:
    """The account of the demo. facts is what testbed/ecs_up.yml wrote. url: of the load balancer, once there is one."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = json.loads((STATE / "ecs.json").read_text())
        self.engine = docker.from_env()
        self.registry = f"{self.facts['account']}.dkr.ecr.{self.facts['region']}.amazonaws.com"
        self.url = ""
        self.token = secrets.token_hex(16)

    def client(self, service: str) -> Any:
        url = self.facts["messages" if service in ("sqs", "sns") else "url"]
        keys = {"aws_access_key_id": "AKIASTANDIN", "aws_secret_access_key": "standin"}
        return boto3.client(service, endpoint_url=url, region_name=self.facts["region"], **keys)

    def furnish(self) -> dict[str, Any]:
        """What the service needs and does not bring: the variables of playbooks/ecs_deploy.yml."""
        self.client("ecs").create_cluster(clusterName=CLUSTER)
        self.client("logs").create_log_group(logGroupName=GROUP)
        for role in ("execution", "task"):
            self.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
        self.client("ecr").create_repository(repositoryName=REPOSITORY)
        self.push(self.facts["images"]["permissions"], "1.0")
        values = json.dumps({"url": self.facts["database"]})
        database = self.client("secretsmanager").create_secret(Name="permissions/database", SecretString=values)["ARN"]
        scopes = ["permissions:read", "permissions:write"]
        tokens = json.dumps([{"name": "demo", "token": self.token, "scopes": scopes}])
        self.client("ssm").put_parameter(Name="/permissions/tokens", Value=tokens, Type="SecureString")
        return self.variables(database, self.queue(), self.network())

    def push(self, image: str, tag: str) -> None:
        push(self.engine, self.client("ecr"), image, REPOSITORY, tag)

    def queue(self) -> dict[str, str]:
        """The queue of audit events, which the topic sends to, and their dead-letter queue."""
        sqs, sns = self.client("sqs"), self.client("sns")

        def arn(url: str) -> str:
            return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])

        dead = arn(sqs.create_queue(QueueName="audit-events-dead")["QueueUrl"])
        redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": "5"})
        queue = sqs.create_queue(QueueName="audit-events", Attributes={"RedrivePolicy": redrive})["QueueUrl"]
        topic = sns.create_topic(Name="audit")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn(queue))
        return {"topic": topic, "queue": f"http://messages:4100{urlsplit(queue).path}"}

    def network(self) -> dict[str, Any]:
        """A network as far as AWS knows of it, and a load balancer that listens on port 80."""
        ec2, elb = self.client("ec2"), self.client("elbv2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{self.facts['region']}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        nat = ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        front, tasks = (
            ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
            for name in ("front", "tasks")
        )
        rule = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": [{"GroupId": front}]}
        ec2.authorize_security_group_ingress(GroupId=tasks, IpPermissions=[rule])
        balancer = elb.create_load_balancer(Name="front", Subnets=subnets, SecurityGroups=[front])["LoadBalancers"][0]
        self.url = f"http://{balancer_address(self.engine, NAME, balancer['DNSName'])}"
        group = elb.create_target_group(
            Name="permissions", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip", HealthCheckPath="/readyz",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Port=80,
            Protocol="HTTP",
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        return {"subnets": subnets, "tasks": tasks, "group": group}

    def variables(self, database: str, queue: Mapping[str, str], network: Mapping[str, Any]) -> dict[str, Any]:
        """The service: an API, and the audit worker beside it, of one image."""

        def container(name: str, port: int, environment: Mapping[str, str], **more: Any) -> dict[str, Any]:
            options = {
                "awslogs-group": GROUP,
                "awslogs-region": self.facts["region"],
                "awslogs-stream-prefix": "ecs",
            }
            return {
                "name": name,
                "image": f"{self.registry}/{REPOSITORY}:1.0",
                "command": [name],
                "portMappings": [{"containerPort": port}],
                "environment": [{"name": key, "value": value} for key, value in environment.items()],
                "secrets": [{"name": "EPR_DATABASE_URL", "valueFrom": f"{database}:url::"}],
                "healthCheck": {
                    "command": ["CMD", "evenkeel-permissions", "health", name],
                    "interval": 30,
                    "timeout": 10,
                    "retries": 3,
                    "startPeriod": 60,
                },
                "readonlyRootFilesystem": True,
                "stopTimeout": 10,
                "logConfiguration": {"logDriver": "awslogs", "options": options},
                **more,
            }

        common = {"EPR_MIGRATE": "false", "EPR_LOG_LEVEL": "info"}
        api = container(
            "api",
            8080,
            {**common, "EPR_REDIS_URL": self.facts["cache"], "EPR_AUDIT_TOPIC_ARN": queue["topic"]},
            essential=True,
        )
        api["secrets"].append({"name": "EPR_API_TOKENS", "valueFrom": "/permissions/tokens"})
        worker = container(
            "worker",
            8081,
            {**common, "EPR_AUDIT_SQS_URL": queue["queue"], "EPR_AUDIT_SQS_WAIT_TIME": "5"},
            essential=False,
            dependsOn=[{"containerName": "api", "condition": "START"}],
        )
        role = f"arn:aws:iam::{self.facts['account']}:role"
        awsvpc = {"subnets": network["subnets"], "securityGroups": [network["tasks"]]}
        service = {
            "name": SERVICE,
            "count": 2,
            "task": {
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
                "cpu": "512",
                "memory": "1024",
                "executionRoleArn": f"{role}/execution",
                "taskRoleArn": f"{role}/task",
                "containerDefinitions": [api, worker],
            },
            "service": {
                "launchType": "FARGATE",
                "networkConfiguration": {"awsvpcConfiguration": awsvpc},
                "loadBalancers": [{"targetGroupArn": network["group"], "containerName": "api", "containerPort": 8080}],
                "deploymentConfiguration": {
                    "minimumHealthyPercent": 100,
                    "maximumPercent": 200,
                    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
                },
                "healthCheckGracePeriodSeconds": 60,
            },
            "migration": {"container": "api", "command": ["migrate"]},
            "probe": {"url": f"{self.url}/healthz"},
        }
        return {
            "ecs_cluster": CLUSTER,
            "fleet_account": self.facts["account"],
            "fleet_region": self.facts["region"],
            "fleet_endpoint_url": self.facts["url"],
            "ecs_services": [service],
        }

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def events(self) -> int:
        """How many audit events the worker has stored."""
        count = ["psql", "-tA", "permissions", "-c", "SELECT count(*) FROM audit_event"]
        done = self.engine.containers.get(f"{NAME}-database").exec_run(count, user="postgres")
        return int(done.output)

    def spoil(self) -> None:
        """The image 2.0, which does not start."""
        made = self.engine.containers.create(self.facts["images"]["permissions"], labels={"evenkeel.fleet": NAME})
        self.push(made.commit(f"{NAME}-broken", "2.0", changes=BROKEN).id, "2.0")
        made.remove()


class Changes(threading.Thread):
    """Grants, five a second: each is an audit event."""

    def __init__(self, demo: Demo) -> None:
        super().__init__(daemon=True)
        self._demo = demo
        self._over = threading.Event()
        self.made = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._over.wait(0.2):
            grant = {"subject": f"user-{self.made + len(self.failures)}", "permission": "read", "entity": "documents"}
            try:
                status = self._demo.request("PUT", "/v1/grants", grant)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            if status == http.client.CREATED:
                self.made += 1
            else:
                self.failures.append(str(status))

    def stop(self) -> None:
        self._over.set()
        self.join(20)


def deploy(variables: Mapping[str, Any], title: str) -> int:
    """Exit code of the playbook."""
    print(f"\n==> {title}\n", flush=True)
    declared = STATE / "permissions.yml"
    declared.write_text(json.dumps(variables, indent=2))
    program = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
    command: list[str | Path] = [program, PLAYBOOKS / "ecs_deploy.yml", "-i", "localhost,", "-e", f"@{declared}"]
    keys = {"AWS_ACCESS_KEY_ID": "AKIASTANDIN", "AWS_SECRET_ACCESS_KEY": "standin"}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(command, env={**ours, **keys}, check=False, timeout=900)
    return done.returncode


def main() -> int:
    demo = Demo()
    variables = demo.furnish()
    task = variables["ecs_services"][0]["task"]
    if deploy(variables, "Deploy the permissions service: an API, and the audit worker beside it"):
        return 1
    before = demo.events()
    assert demo.request("POST", "/v1/entities", {"id": "documents", "type": "folder", "name": "documents"}) == 201
    changes = Changes(demo)
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {demo.token}"}
    with Clients(demo.url, RATE, "/v1/check?subject=user-1&permission=read&entity=documents", headers) as clients:
        changes.start()
        for container in task["containerDefinitions"]:
            container["environment"][1]["value"] = "warning"
        changed = deploy(
            variables, f"Change an environment variable, with {RATE:g} requests/s through the load balancer"
        )
        demo.spoil()
        variables["ecs_services"][0]["images"] = dict.fromkeys(("api", "worker"), f"{demo.registry}/{REPOSITORY}:2.0")
        broken = deploy(variables, "Deploy an image that does not start. This play fails")
        changes.stop()
    seconds = time.monotonic() - started
    wanted = before + 1 + changes.made
    ends = time.monotonic() + 20
    while (stored := demo.events()) < wanted and time.monotonic() < ends:
        time.sleep(0.5)
    failed = clients.failures + changes.failures
    sent = clients.answered + changes.made + len(failed)
    print(
        f"\n{len(failed)} of {sent} requests failed in {seconds:.0f} s ({sent / seconds:.0f}/s). "
        f"{changes.made + 1} changes were made, {stored - before} audit events were stored by the worker."
    )
    for failure in failed[:5]:
        print(f"  {failure}")
    print(
        f"""
Try it:
  curl {demo.url}/openapi.json        the API, through the load balancer
  export AWS_ACCESS_KEY_ID=AKIASTANDIN AWS_SECRET_ACCESS_KEY=standin
  .venv/bin/ansible-playbook -i localhost, playbooks/ecs_status.yml -e @{STATE.relative_to(CHECKOUT)}/permissions.yml
  docker ps --filter label=evenkeel.fleet={NAME}     the containers of each task
  make down                           remove it all
"""
    )
    return int(bool(changed or not broken or failed or stored != wanted))


if __name__ == "__main__":
    sys.exit(main())
