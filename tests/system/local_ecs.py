# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon ECS with real containers on the engine of this machine, for tests."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import docker
import docker.errors

from testbed.services.aws.ecs.containers.images import push
from testbed.services.aws.ecs.containers.place import balancer_address
from tests.integration.aws.stage import call
from tests.system.fleet import BUILD_SECONDS

CHECKOUT = Path(__file__).resolve().parents[2]
ACCOUNT, REGION, CLUSTER = "123456789012", "eu-central-1", "production"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
GROUP = "/ecs/app"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}}
# A request takes a moment, so that one that is cut off is seen; SIGTERM ends the process at once.
SERVER = """
import http.server, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 65536
    def do_GET(self):
        if not self.path.startswith('/health'):
            time.sleep(0.02)
        body = sys.argv[1].encode()
        self.send_response(int(sys.argv[2]) if self.path.startswith('/health') else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('serving', flush=True)
http.server.ThreadingHTTPServer(('', 8080), Handler).serve_forever()
"""
# The header of an executable for another machine.
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44)
_numbers = itertools.count(1)


def serve(body: str, health: int = 200) -> list[str]:
    """The command of a container that answers with this, and on /health with this status."""
    return ["python3", "-c", SERVER, body, str(health)]


@dataclass(frozen=True)
class Front:
    """A load balancer. address: for clients on this machine."""

    arn: str
    kind: str
    dns_name: str
    address: str


def forward(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """A listener's default actions. weights: of target groups, by ARN."""
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


class LocalEcs:
    """An endpoint in a process of its own. url is what modules need of an endpoint."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine = docker.from_env()
        self.images = dict(_images())
        self._vpc, self._subnets = "", list[str]()
        command = [sys.executable, "-m", "testbed.services.aws.ecs", "--name", name, "--image", self.images["runtime"]]
        self._process = subprocess.Popen(
            [*command, "--second", "0.1", "--environment", "EVERYWHERE=yes"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = json.loads(self._process.stdout.readline())["url"]
        self.ecs = self.client("ecs")

    def client(self, service: str) -> Any:
        credentials = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **credentials)

    def furnish(self) -> None:
        """A cluster, a log group, and the image app:1.0, which has upstream.py and a program of another machine too."""
        self.ecs.create_cluster(clusterName=CLUSTER)
        self.client("logs").create_log_group(logGroupName=GROUP)
        self.client("ecr").create_repository(repositoryName="app")
        made = self.engine.containers.create(self.images["runtime"], labels={"evenkeel.fleet": self.name})
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("foreign")
            entry.size, entry.mode = len(FOREIGN), 0o755
            archive.addfile(entry, io.BytesIO(FOREIGN))
            archive.add(CHECKOUT / "testbed/services/upstream.py", "upstream.py")
        made.put_archive("/", packed.getvalue())
        self._app = made.commit(f"{self.name}-app", "1.0").id
        made.remove()
        push(self.engine, self.client("ecr"), self._app, "app", "1.0")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            for image in ("app", "upstream"):
                with contextlib.suppress(docker.errors.ImageNotFound):
                    self.engine.images.remove(f"{self.name}-{image}:1.0", force=True)

    def containers(self) -> list[str]:
        """Those that exist of this name."""
        listed = self.engine.api.containers(all=True, filters={"label": f"evenkeel.fleet={self.name}"})
        return [item["Names"][0] for item in listed]

    def register(self, *containers: Mapping[str, Any], family: str = "", **more: Any) -> str:
        """The ARN of a definition; its containers log, and are of app:1.0, unless they say something else."""
        options = {"awslogs-group": GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        defaults = {
            "name": "main",
            "image": f"{REGISTRY}/app:1.0",
            "stopTimeout": 3,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        }
        made = self.ecs.register_task_definition(
            **{
                "family": family or f"family-{next(_numbers)}",
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
                "cpu": "256",
                "memory": "512",
                "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
                "containerDefinitions": [{**defaults, **container} for container in containers],
                **more,
            }
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def run(self, definition: str) -> str:
        """The ARN of a new task."""
        made = self.ecs.run_task(
            cluster=CLUSTER, taskDefinition=definition, launchType="FARGATE", networkConfiguration=NETWORK
        )
        return str(made["tasks"][0]["taskArn"])

    def task(self, arn: str, status: str, within: float = 30.0) -> dict[str, Any]:
        """A task, once it has this status."""
        ends = time.monotonic() + within
        while True:
            found: dict[str, Any] = self.ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
            if found["lastStatus"] == status:
                return found
            assert time.monotonic() < ends and found["lastStatus"] != "STOPPED", found
            time.sleep(0.1)

    def upstream(self, name: str, port: int = 8080, **environment: str) -> str:
        """The address of a new task of upstream.py."""
        variables = {"NAME": name, "PORT": str(port), **environment}
        declared = [{"name": key, "value": value} for key, value in variables.items()]
        arn = self.run(self.register({"command": ["python3", "/upstream.py"], "environment": declared}))
        details = self.task(arn, "RUNNING")["attachments"][0]["details"]
        return next(str(item["value"]) for item in details if item["name"] == "privateIPv4Address")

    def logged(self, task: str, container: str = "main") -> list[str]:
        stream = f"ecs/{container}/{task.rpartition('/')[2]}"
        events = self.client("logs").get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)
        return [event["message"] for event in events["events"]]

    def balanced(self) -> tuple[str, str]:
        """A target group with a listener: its ARN, and the listener's URL."""
        front = self.load_balancer("application")
        group = self.group("HTTP")
        return group, f"http://{front.address}:{self.listen(front, {group: 1})[1]}"

    def load_balancer(self, kind: str) -> Front:
        elb = self.client("elbv2")
        if not self._vpc:
            ec2 = self.client("ec2")
            self._vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            for index, zone in enumerate("ab"):
                self._subnets.append(
                    ec2.create_subnet(
                        VpcId=self._vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"{REGION}{zone}"
                    )["Subnet"]["SubnetId"]
                )
        made = elb.create_load_balancer(Name=f"front-{next(_numbers)}", Type=kind, Subnets=self._subnets)
        found = made["LoadBalancers"][0]
        return Front(found["LoadBalancerArn"], kind, found["DNSName"], self.address(found["DNSName"]))

    def group(self, protocol: str) -> str:
        """The ARN of a target group with HTTP health checks, which needs a load balancer's network."""
        made = self.client("elbv2").create_target_group(
            Name=f"app-{next(_numbers)}", Protocol=protocol, Port=8080, VpcId=self._vpc, TargetType="ip",
            HealthCheckProtocol="HTTP", HealthCheckPath="/health", HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
        )  # fmt: skip
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def listen(self, front: Front, weights: Mapping[str, int]) -> tuple[str, int]:
        """A listener's ARN, and its port. weights: of target groups."""
        port = 8000 + next(_numbers)
        made = self.client("elbv2").create_listener(
            LoadBalancerArn=front.arn,
            Port=port,
            Protocol="TCP" if front.kind == "network" else "HTTP",
            DefaultActions=forward(weights),
        )
        return str(made["Listeners"][0]["ListenerArn"]), port

    def address(self, dns_name: str) -> str:
        """Of a load balancer, for clients on this machine."""
        return balancer_address(self.engine, self.name, dns_name)

    def deploy(self, service: str, definition: str, **more: Any) -> dict[str, Any]:
        wanted = {"cluster": CLUSTER, "service": service, "task_definition": definition, "wait_timeout": 90, **more}
        return call(self, "ecs_deploy", wanted)  # type: ignore[arg-type]  # it needs the URL alone


@functools.cache
def _images() -> dict[str, str]:
    """Names of the engine's images, which are the same for all endpoints of a checkout."""
    # Another suite may look for them at the same time.
    name = f"images-of-{os.getpid()}"
    state = CHECKOUT / ".testbed" / name
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "testbed/ecs_images.yml"]
    done = subprocess.run(
        [*playbook, "-e", f"testbed_name={name}"], cwd=CHECKOUT, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads((state / "images.json").read_text())
    shutil.rmtree(state)
    return found
