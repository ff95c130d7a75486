# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks for services on ECS, as an operator runs them."""

from __future__ import annotations

import copy
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.services.aws.ecs.pretended import Behaviour, crashes
from tests.integration.aws.ecs_declaration import REGISTRY, declaration, policy_simulator, push
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.stage import Played, call, play
from tests.integration.endpoint import ACCOUNT, REGION

Service = dict[str, Any]


class Operator:
    """Runs the playbooks against one endpoint."""

    def __init__(self, ecs: Stage) -> None:
        self.ecs = ecs
        self.made = declaration(ecs.endpoint)
        ecs.agent.by_command["migrate"] = Behaviour(exits_after=0.1)
        ecs.agent.by_command["crash"] = crashes(code=3)

    def service(self, name: str, **more: Any) -> Service:
        """A declared service, without a load balancer."""
        task = copy.deepcopy(self.made["task"])
        task |= {"family": name, "taskRoleArn": task["executionRoleArn"]}
        log = {"awslogs-group": self.ecs.agent.group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        task["containerDefinitions"][0]["logConfiguration"]["options"] = log
        task["containerDefinitions"][0]["environment"] = [{"name": "LOG_LEVEL", "value": "INFO"}]
        definition = {"launchType": "FARGATE", "networkConfiguration": self.made["definition"]["networkConfiguration"]}
        return {"name": name, "task": task, "service": definition, "count": 1, **more}

    def run(
        self,
        playbook: str,
        services: Sequence[Service],
        *options: str,
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Played:
        variables = {
            "fleet_region": REGION,
            "fleet_account": ACCOUNT,
            "ecs_cluster": CLUSTER,
            "ecs_services": list(services),
            **more,
        }
        name = f"playbooks/{playbook}.yml"
        return play(self.ecs.endpoint, variables, *options, playbook=name, **(environment or {}))

    def there(self, one: Service) -> None:
        """The service runs as it is declared, without a playbook."""
        made = call(self.ecs.endpoint, "ecs_task_definition", {"definition": one["task"]})
        place = {"cluster": CLUSTER, "name": one["name"], "desired_count": one["count"], "definition": one["service"]}
        assert not call(self.ecs.endpoint, "ecs_service", {**place, "task_definition": made["task_definition"]})[
            "failed"
        ]
        self.ecs.await_status(one["name"], "SUCCESSFUL")
        self.ecs.fake.writes.clear()

    def revisions(self, service: str) -> set[str]:
        there = self.ecs.ecs.describe_services(cluster=CLUSTER, services=[service])["services"]
        return {arn.rpartition("/")[2] for arn in self.ecs.runs(service)} if there else set()


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    with stage(policy_simulator) as ecs:
        made = Operator(ecs)
        ecs.fake.writes.clear()
        yield made


def container(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service["task"]["containerDefinitions"][0]
    return found


def test_six_services_are_made_left_alone_and_changed(operator: Operator) -> None:
    ecs = operator.ecs
    names = [f"six-{kind}" for kind in ("env", "secret", "port", "command", "cpu", "same")]
    services = [operator.service(name) for name in names]
    services[0] |= {
        "scaling": {"min": 1, "max": 3, "policies": None},
        "logs": {"retention": 30},
        "migration": {"command": ["migrate"]},
        "images": {"api": f"{REGISTRY}/permissions:1.0"},
    }

    would = operator.run("ecs_deploy", services, "--check")
    assert (would.failures, ecs.writes) == ("", [])
    first = operator.run("ecs_deploy", services)
    assert first.failures == ""
    assert first.changed == would.changed
    assert [operator.revisions(name) for name in names] == [{f"{name}:1"} for name in names]
    assert ecs.writes.count("CreateService") == len(names)
    assert ecs.writes.count("UpdateService") == 0
    assert ecs.writes.count("RunTask") == 1
    ecs.fake.writes.clear()

    again = operator.run("ecs_deploy", services)
    assert (again.failures, again.changed, ecs.writes) == ("", [], [])
    assert "six-same: is as declared" in shown(again)

    changed = copy.deepcopy(services)
    container(changed[0])["environment"][0]["value"] = "DEBUG"
    container(changed[1])["secrets"][0]["valueFrom"] = container(services[1])["secrets"][1]["valueFrom"]
    container(changed[2])["portMappings"][0]["containerPort"] = 8081
    container(changed[3])["command"] = ["serve"]
    changed[4]["task"]["cpu"], changed[4]["service"]["deploymentConfiguration"] = "1024", {"maximumPercent": 300}
    changed[4]["task"]["memory"] = "2048"
    changed[0]["scaling"]["max"] = 4
    would = operator.run("ecs_deploy", changed, "--check")
    assert (would.failures, ecs.writes) == ("", [])
    for words in (
        "six-env: register a revision: container api: environment LOG_LEVEL: INFO → DEBUG",
        "six-env: change the scaling",
        "six-secret: register a revision: container api: secrets DATABASE_URL",
        "six-port: register a revision: container api: portMappings",
        "six-command: register a revision: container api: command",
        "six-cpu: register a revision: cpu: 512 → 1024",
        "six-cpu: change of the service: deploymentConfiguration.maximumPercent",
        "six-same: is as declared",
    ):
        assert words in shown(would), words
    second = operator.run("ecs_deploy", changed)
    assert second.failures == ""
    assert second.changed == would.changed
    assert [operator.revisions(name) for name in names] == [{f"{name}:2"} for name in names[:5]] + [{"six-same:1"}]
    # One deployment brings the new revision and the other settings.
    assert ecs.writes.count("UpdateService") == 5
    ecs.fake.writes.clear()
    again = operator.run("ecs_deploy", changed)
    assert (again.failures, again.changed, ecs.writes) == ("", [], [])


def shown(played: Played) -> str:
    """All that the tasks said."""
    plays = json.loads(played.text[played.text.index("{") : played.text.rindex("}") + 1])["plays"]
    return json.dumps(plays, ensure_ascii=False)


def test_a_broken_image_fails_with_its_reason_and_goes_back(operator: Operator) -> None:
    good, later = operator.service("broken"), operator.service("broken-later")
    operator.there(good)
    broken = copy.deepcopy(good)
    container(broken)["command"] = ["crash"]
    finished = operator.run("ecs_deploy", [broken, later])
    assert finished.code == 2
    assert "exit code 3" in finished.failures and "broken:1 runs again" in finished.failures
    assert "broken-later: was not reached" in shown(finished)
    assert operator.revisions("broken") == {"broken:1"}

    status = operator.run("ecs_status", [broken, later])
    assert status.code == 2
    assert "broken: it differs from its declaration" in status.failures
    assert "broken-later: it does not exist" in status.failures
    assert "exit code 3" in shown(status)


def test_a_failed_migration_prevents_the_deployment_also_in_the_next_run(operator: Operator) -> None:
    operator.ecs.fake.writes.clear()
    good = operator.service("migrated", migration={"command": ["crash"]})
    for _run in range(2):
        finished = operator.run("ecs_deploy", [good])
        assert finished.code == 2 and "exit code 3" in finished.failures
        assert operator.revisions("migrated") == set()
    assert operator.ecs.writes.count("RegisterTaskDefinition") == 1


def test_rollback_and_status(operator: Operator, tmp_path: Path) -> None:
    one, two = operator.service("tools"), operator.service("tools")
    container(two)["environment"][0]["value"] = "DEBUG"
    operator.there(one)
    made = call(operator.ecs.endpoint, "ecs_task_definition", {"definition": two["task"]})
    assert operator.ecs.deploy("tools", made["task_definition"])["outcome"] == "succeeded"
    operator.ecs.fake.writes.clear()

    file = tmp_path / "status.json"
    status = operator.run("ecs_status", [two], ecs_status_file=str(file))
    assert (status.failures, status.changed) == ("", [])
    (found,) = json.loads(file.read_text())["services"]
    assert (found["revision"], found["way_back"], found["drift"]) == ("tools:2", "tools:1", [])
    assert (found["running"], found["desired"]) == (1, 1)

    would = operator.run("ecs_rollback", [two], "--check")
    assert (would.failures, would.changed, operator.ecs.writes) == ("", ["Deploy the earlier revision"], [])
    for _twice in range(2):
        back = operator.run("ecs_rollback", [two])
        assert back.failures == ""
        assert operator.revisions("tools") == {"tools:1"}
    assert operator.ecs.writes == ["UpdateService"]
    forward = operator.run("ecs_rollback", [two], ecs_revision="2")
    assert forward.failures == "" and operator.revisions("tools") == {"tools:2"}


def test_a_command_and_the_logs(operator: Operator) -> None:
    one = operator.service("commands")
    operator.there(one)
    ran = operator.run("ecs_run", [one], ecs_run_command="migrate")
    assert ran.failures == "" and "starts" in shown(ran)
    failed = operator.run("ecs_run", [one], ecs_run_command="crash")
    assert failed.code == 2 and "exit code 3" in failed.failures
    logs = operator.run("ecs_logs", [one], ecs_logs_container="api", ecs_logs_lines="5")
    assert logs.failures == "" and "commands api" in shown(logs)
    followed = operator.run("ecs_logs", [one], ecs_logs_container="api", ecs_logs_follow="1")
    assert followed.failures == "" and "commands api" in shown(followed)
    assert "hunter2" not in ran.text + failed.text + logs.text


def test_a_failed_probe_is_a_failed_deployment(operator: Operator) -> None:
    one = operator.service("probed", probe={"url": "http://127.0.0.1:1/healthz", "timeout": 1})
    operator.there(one)
    container(one)["environment"][0]["value"] = "DEBUG"
    finished = operator.run("ecs_deploy", [one])
    assert finished.code == 2
    assert "failed its health probe" in finished.failures and "probed:1 runs again" in finished.failures
    assert operator.revisions("probed") == {"probed:1"}

    left = operator.run("ecs_deploy", [one], ecs_on_failure="leave")
    assert left.code == 2 and "It was left as it is: ecs_on_failure is leave." in left.failures
    again = operator.run("ecs_deploy", [one])
    assert (again.code, again.changed) == (2, []), "nothing differs, and it is not healthy"


def test_a_newer_deployment_supersedes(operator: Operator) -> None:
    ecs = operator.ecs
    good, slow = operator.service("raced"), operator.service("raced")
    operator.there(good)
    container(slow)["command"] = ["slow"]
    ecs.agent.by_command["slow"] = Behaviour(starts_after=60)
    other = ecs.register("raced", "raced:other")

    def somebody_else() -> None:
        while ecs.newest("raced")["status"] == "SUCCESSFUL":
            time.sleep(0.1)
        time.sleep(0.5)
        ecs.ecs.update_service(cluster=CLUSTER, service="raced", taskDefinition=other)

    thread = threading.Thread(target=somebody_else)
    thread.start()
    finished = operator.run("ecs_deploy", [slow])
    thread.join()
    assert finished.code == 2
    assert "was superseded by a newer deployment of raced:" in finished.failures


def test_names_are_checked(operator: Operator) -> None:
    services = [operator.service("known"), operator.service("other")]
    wrong = operator.run("ecs_deploy", services, "-e", "ecs_service=unknown")
    assert wrong.code == 2
    assert "ecs_service names unknown, and ecs_services has known, other" in wrong.failures + wrong.text
    several = operator.run("ecs_rollback", services)
    assert several.code == 2 and "Set ecs_service to the ones to roll back" in several.failures
    one = operator.run("ecs_deploy", services, "--check", "-e", "ecs_service=other")
    assert one.failures == "" and "other: create the service" in one.text and "known:" not in one.text


def test_findings_of_all_services_stop_the_run_before_anything_changes(operator: Operator) -> None:
    services = [operator.service("finding-image"), operator.service("finding-secret")]
    container(services[0])["image"] = f"{REGISTRY}/permissions:nowhere"
    container(services[1])["secrets"][0]["valueFrom"] = "/nowhere"
    finished = operator.run("ecs_deploy", services)
    assert finished.code == 2
    assert "Nothing was changed." in finished.text
    assert "permissions:nowhere does not exist" in finished.failures
    assert "the parameter /nowhere does not exist" in finished.failures


DOCKER = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$*" in
  *version*) echo '{{"Server": {{"ApiVersion": "1.45"}}}}' ;;
  *info*) echo '{{"ClientInfo": {{"Plugins": [{{"Name": "buildx", "Version": "v0.17.1"}}]}}}}' ;;
  *get-login-password*) echo hunter2 ;;
  *login*) cat > /dev/null ;;
esac
"""


def test_images_are_tested_built_pushed_and_deployed_by_digest(operator: Operator, tmp_path: Path) -> None:
    """The programs docker and aws are stand-ins: buildx and a registry are not on every machine."""
    log, bin_folder = tmp_path / "log", tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("docker", "aws"):
        (bin_folder / name).write_text(DOCKER.format(log=log))
        (bin_folder / name).chmod(0o755)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    one = operator.service("built", images={"api": f"{REGISTRY}/permissions:2.0"})
    one["build"] = {"path": str(tmp_path), "args": {"VERSION": "2.0"}, "tests": [f"cp {__file__} {tmp_path}/tested"]}
    path = f"{bin_folder}:{os.environ['PATH']}"
    # What the run itself builds need not exist yet.
    would = operator.run("ecs_deploy", [one], "--check", ecs_build=True, environment={"PATH": path})
    assert would.failures == ""
    assert not (tmp_path / "tested").exists() and "buildx build" not in log.read_text()

    push(operator.ecs.endpoint, "permissions", "2.0", "amd64")
    finished = operator.run("ecs_deploy", [one], ecs_build=True, environment={"PATH": path})
    assert finished.failures == ""
    assert finished.changed == would.changed
    assert (tmp_path / "tested").exists()
    (line,) = [line for line in log.read_text().splitlines() if "buildx build" in line]
    for words in ("--platform linux/amd64", "--build-arg VERSION=2.0", "push=true", f"{REGISTRY}/permissions:2.0"):
        assert words in line
    assert f"login --username AWS --password-stdin {REGISTRY}" in log.read_text()
    assert "hunter2" not in log.read_text()
    (running,) = operator.ecs.runs("built")
    described = operator.ecs.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
    assert "permissions@sha256:" in described["containerDefinitions"][0]["image"]


def test_a_worker_leaves_for_a_service_of_its_own(operator: Operator) -> None:
    ecs = operator.ecs
    both = operator.service("main")
    sidecar = {**copy.deepcopy(container(both)), "name": "worker", "command": ["work"], "portMappings": []}
    both["task"]["containerDefinitions"].append({**sidecar, "essential": False})
    operator.there(both)
    main, worker = operator.service("main"), operator.service("main-worker")
    worker["task"]["containerDefinitions"] = [sidecar]
    names: dict[str, Any] = {
        "ecs_split_from": "main",
        "ecs_split_worker": "main-worker",
        "ecs_split_container": "worker",
    }

    refused = operator.run("ecs_split_worker", [both, worker], **names)
    assert refused.code == 2
    assert "ecs_split_evidence is not set" in refused.text and "still has the container worker" in refused.text
    unseen = operator.run(
        "ecs_split_worker", [main, worker], ecs_split_evidence="batch stored", ecs_split_timeout=2, **names
    )
    assert unseen.code == 2 and "No log line of the running tasks of main-worker matched" in unseen.failures
    assert (operator.revisions("main"), operator.revisions("main-worker")) == ({"main:1"}, {"main-worker:1"})

    seen = operator.run("ecs_split_worker", [main, worker], ecs_split_evidence="main-worker.* starts", **names)
    assert seen.failures == ""
    assert operator.revisions("main") == {"main:2"}
    ecs.fake.writes.clear()
    again = operator.run("ecs_split_worker", [main, worker], ecs_split_evidence="starts", **names)
    assert (again.failures, again.changed, ecs.writes) == ("", [], [])
