# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of Amazon ECS as containers, behind a load balancer: what AWS would say of them, and what clients notice."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from tests.system.fleet import PREFIX
from tests.system.load import Clients
from tests.system.local_ecs import ACCOUNT, CLUSTER, NETWORK, REGION, REGISTRY, LocalEcs, serve

NAME = f"{PREFIX}-ecs-test"
VALUE = "planted-value"
PARAMETERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
BREAKER = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": "COUNT", "value": 1000}}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEcs]:
    engine = docker.from_env()
    filters = {"label": f"evenkeel.fleet={NAME}"}
    stale = _stale(engine)
    local = LocalEcs(NAME)
    try:
        # What a run that was killed left behind.
        assert stale not in [item["Id"] for item in engine.api.containers(all=True, filters=filters)]
        local.furnish()
        yield local
    finally:
        local.close()
    assert local.containers() == []
    assert not engine.networks.list(filters=filters)
    assert not engine.volumes.list(filters=filters)


def _stale(engine: Any) -> str:
    """A container as an agent of the same name would have left it."""
    local = next(iter(engine.images.list(filters={"label": "evenkeel.checkout"})), None)
    if local is None:
        return ""
    labels = {"evenkeel.fleet": NAME, "evenkeel.ecs": "task"}
    return str(engine.containers.create(local.id, ["true"], labels=labels).id)


@pytest.fixture(scope="module")
def secret(local: LocalEcs) -> str:
    values = json.dumps({"password": VALUE, "port": 5432})
    local.client("ssm").put_parameter(Name="/app/token", Value=VALUE, Type="SecureString")
    return str(local.client("secretsmanager").create_secret(Name="app", SecretString=values)["ARN"])


def test_it_says_why_a_task_does_not_run(local: LocalEcs, secret: str) -> None:
    missing = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:nobody-AbCdEf"
    nowhere = {"logDriver": "awslogs", "options": {"awslogs-group": "/nowhere", "awslogs-region": REGION}}
    retried = "service call has been retried 1 time(s)"
    pull = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
    given: dict[str, tuple[dict[str, Any], str]] = {
        "crash": ({"command": ["sh", "-c", "echo no database >&2; exit 3"]}, "Essential container in task exited"),
        "memory": (
            {"command": ["python3", "-c", "bytearray(200_000_000)"], "memory": 32},
            "Essential container in task",
        ),
        "foreign": ({"entryPoint": ["/foreign"]}, "Essential container in task exited"),
        "command": ({"command": ["nothing-like-that"]}, "CannotStartContainerError: "),
        "image": ({"image": f"{REGISTRY}/app:2.0"}, "CannotPullContainerError: pull image manifest has been retried"),
        "repository": ({"image": f"{REGISTRY}/other:1.0"}, "CannotPullContainerError: "),
        "secret": (
            {"secrets": [{"name": "A", "valueFrom": missing}]},
            f"{pull}unable to retrieve secret from asm: {retried}: failed to fetch secret {missing} from"
            " secrets manager: ResourceNotFoundException: ",
        ),
        "key": (
            {"secrets": [{"name": "A", "valueFrom": f"{secret}:user::"}]},
            f"{pull}unable to retrieve secret from asm",
        ),
        "parameter": (
            {"secrets": [{"name": "A", "valueFrom": f"{PARAMETERS}/app/none"}]},
            f"{pull}unable to retrieve secrets from ssm: {retried}: invalid parameters: /app/none",
        ),
        "logs": ({"logConfiguration": nowhere}, "ResourceInitializationError: failed to validate logger args: "),
    }
    tasks = {name: local.run(local.register(container)) for name, (container, _reason) in given.items()}
    stopped = {name: local.task(arn, "STOPPED") for name, arn in tasks.items()}
    assert {name: stopped[name]["stoppedReason"][: len(reason)] for name, (_given, reason) in given.items()} == {
        name: reason for name, (_given, reason) in given.items()
    }
    mains = {name: task["containers"][0] for name, task in stopped.items()}
    assert mains["crash"]["exitCode"] == 3
    assert local.logged(tasks["crash"]) == ["no database"]
    assert mains["memory"]["exitCode"] == 137
    assert mains["memory"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"
    assert "exec format error" in " ".join(local.logged(tasks["foreign"]))
    assert mains["image"]["reason"] == stopped["image"]["stoppedReason"]
    ran = {"crash", "memory", "foreign"}
    assert {name for name, task in stopped.items() if task["stopCode"] == "EssentialContainerExited"} == ran
    assert {name for name, task in stopped.items() if task["stopCode"] == "TaskFailedToStart"} == set(given) - ran
    assert {name for name, main in mains.items() if "exitCode" in main} == ran


def test_containers_of_a_task_start_in_their_order_and_share_an_address(local: LocalEcs, secret: str) -> None:
    """Secrets, user, volume and environment reach them. They stop in the reverse order, each within its time."""
    ask = (
        "import os, pathlib, signal, sys, time, urllib.request;"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked to stop', flush=True));"
        "print(urllib.request.urlopen('http://127.0.0.1:8080/').read().decode(), os.getuid(), os.environ['PASSWORD'],"
        "os.environ['PORT'], os.environ['TOKEN'], os.environ['EVERYWHERE'], os.environ['OWN'],"
        "pathlib.Path('/shared/note').read_text().strip(), flush=True);"
        "time.sleep(600)"
    )
    shared = [{"sourceVolume": "shared", "containerPath": "/shared"}]
    healthy = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"
    check = {"command": ["CMD", "python3", "-c", healthy], "interval": 5, "timeout": 5, "retries": 3}
    definition = local.register(
        {
            "name": "worker",
            "command": ["python3", "-c", ask],
            "dependsOn": [{"containerName": "api", "condition": "HEALTHY"}],
            "secrets": [
                {"name": "PASSWORD", "valueFrom": f"{secret}:password::"},
                {"name": "PORT", "valueFrom": f"{secret}:port:AWSCURRENT:"},
                {"name": "TOKEN", "valueFrom": f"{PARAMETERS}/app/token"},
            ],
            "environment": [{"name": "OWN", "value": "1"}],
            "user": "1234",
            "readonlyRootFilesystem": True,
            "essential": False,
            "mountPoints": shared,
            "stopTimeout": 2,
        },
        {
            "name": "api",
            "command": serve("from api"),
            "dependsOn": [{"containerName": "prepare", "condition": "SUCCESS"}],
            "healthCheck": check,
        },
        {
            "name": "prepare",
            "command": ["sh", "-c", "echo prepared > /shared/note"],
            "mountPoints": shared,
            "essential": False,
        },
        volumes=[{"name": "shared"}],
    )
    arn = local.run(definition)
    containers = {one["name"]: one for one in local.task(arn, "RUNNING")["containers"]}
    assert {name: one["lastStatus"] for name, one in containers.items()} == {
        "worker": "RUNNING",
        "api": "RUNNING",
        "prepare": "STOPPED",
    }
    assert containers["api"]["healthStatus"] == "HEALTHY"
    assert containers["api"]["imageDigest"].startswith("sha256:")
    local.ecs.stop_task(cluster=CLUSTER, task=arn)
    codes = {one["name"]: one["exitCode"] for one in local.task(arn, "STOPPED")["containers"]}
    # The worker did not end within its two seconds; the API was asked only then.
    assert codes == {"worker": 137, "api": 0, "prepare": 0}
    assert local.logged(arn, "worker") == [f"from api 1234 {VALUE} 5432 {VALUE} yes 1 prepared", "asked to stop"]


def test_deployments_under_load_lose_no_request(local: LocalEcs) -> None:
    """A good one, one that crashes, and two that never become healthy, by the target and by the container's check."""
    group, url = local.balanced()

    def register(*command: str, **more: Any) -> str:
        port = {"portMappings": [{"containerPort": 8080}]}
        return local.register({"command": list(command), **port, **more}, family="app")

    def answer() -> str:
        with urllib.request.urlopen(url, timeout=5) as found:
            return str(found.read().decode())

    local.ecs.create_service(
        cluster=CLUSTER,
        serviceName="app",
        taskDefinition=register(*serve("one")),
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration=NETWORK,
        loadBalancers=[{"targetGroupArn": group, "containerName": "main", "containerPort": 8080}],
        deploymentConfiguration={"deploymentCircuitBreaker": BREAKER},
    )
    first = local.deploy("app", "app:1")
    assert not first["failed"], first
    assert answer() == "one"
    sick = {"command": ["CMD", "false"], "interval": 5, "timeout": 2, "retries": 2}
    with Clients(url, 300) as clients:
        assert not local.deploy("app", register(*serve("two")))["failed"]
        assert answer() == "two"
        failures = {
            "crash": local.deploy("app", register("sh", "-c", "echo no database; exit 3")),
            "target": local.deploy("app", register(*serve("three", 503))),
            "check": local.deploy("app", register(*serve("four"), healthCheck=sick)),
        }
    assert clients.failures == []
    assert clients.answered > 1000
    assert answer() == "two"
    assert all(result["failed"] for result in failures.values()), failures
    told = {name: result["msg"] for name, result in failures.items()}
    assert "exit code 3" in told["crash"]
    assert "no database" in told["crash"]
    assert "Task failed ELB health checks" in told["target"]
    assert "Task failed container health checks" in told["check"]
    assert local.ecs.describe_services(cluster=CLUSTER, services=["app"])["services"][0]["taskDefinition"].endswith(
        ":2"
    )


def test_the_image_of_the_permissions_service_runs_without_root_and_without_a_writable_disk(local: LocalEcs) -> None:
    def run(*command: str, **environment: str) -> tuple[int, str]:
        made = local.engine.containers.create(
            local.images["permissions"],
            list(command),
            read_only=True,
            cap_drop=["ALL"],
            environment=environment,
            labels={"evenkeel.fleet": NAME, "evenkeel.ecs": "task"},
        )
        try:
            made.start()
            return int(made.wait(timeout=60)["StatusCode"]), made.logs().decode()
        finally:
            made.remove(force=True)

    database = {"EPR_DATABASE_URL": "postgresql://permissions:secret@127.0.0.1:1/permissions"}
    trusted = {"EPR_AUTH_TRUSTED_PEERS": "10.0.0.0/8"}
    assert run("api", "--check", **database, **trusted) == (0, "configuration ok\n")
    assert run("worker", "--check", **database) == (0, "configuration ok\n")
    code, told = run("migrate", **database)
    assert code == 1
    assert "migration failed" in told
    assert local.engine.images.get(local.images["permissions"]).attrs["Config"]["User"] == "permissions"
