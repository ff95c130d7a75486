# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments to ECS with lock, live view, report and hooks, by the real playbooks and callback plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.history import rollouts
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import LockRenewal, release
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.scope import Scope
from testbed.services.aws.ecs.pretended import Behaviour, crashes
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, Stage, stage
from tests.integration.aws.stage import SECRET
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.fleetdb.fleets import Fleet, database
from tests.integration.support import CHECKOUT, await_true, environment

SERVICE = "permissions"
SCOPE, OTHER = Scope(f"ecs/{CLUSTER}/{SERVICE}"), Scope(f"ecs/{CLUSTER}/other")
SCHEMA = json.loads((CHECKOUT / "docs" / "rollout-report.schema.json").read_text())
HELD = "SELECT scope FROM scoped_rollout WHERE finished_at IS NULL AND expires_at > clock_timestamp()"


class Operator:
    """Deploys one service, with the callback plugin of the checkout."""

    def __init__(self, ecs: Stage, fleet: Fleet, folder: Path) -> None:
        self.ecs, self.fleet, self.folder = ecs, fleet, folder
        self.reports = folder / "reports"
        ecs.agent.by_command["slow"] = Behaviour(healthy_after=2.0)
        ecs.agent.by_command["crash"] = crashes(code=3)

    def start(self, command: str, *, playbook: str = "ecs_deploy", **more: Any) -> subprocess.Popen[str]:
        options = {"awslogs-group": self.ecs.agent.group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        container = {
            "name": "api",
            "image": "permissions:1",
            "essential": True,
            "command": [command],
            "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 1},
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        }
        task = {
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "containerDefinitions": [container],
        }
        service = {"launchType": "FARGATE", "networkConfiguration": NETWORK}
        variables = {
            "fleet_region": REGION,
            "fleet_account": ACCOUNT,
            "ecs_cluster": CLUSTER,
            "ecs_database": {"conninfo": self.fleet.conninfo},
            "ecs_reason": "permissions 2.1.0",
            "ecs_services": [{"name": SERVICE, "task": task, "service": service, "count": 1, "pin": "tag"}],
            **more,
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        verify = {"_ecs_verify": False}
        return subprocess.Popen(
            [program, f"playbooks/{playbook}.yml", "-i", "nobody,", "-e", json.dumps({**variables, **verify})],
            cwd=CHECKOUT,
            env=environment(
                AWS_ENDPOINT_URL=self.ecs.endpoint.url,
                AWS_REGION=REGION,
                AWS_ACCESS_KEY_ID="AKIATEST",
                AWS_SECRET_ACCESS_KEY=SECRET,
                EVENKEEL_ROLLOUT_REPORT=str(self.reports),
                GITHUB_ACTIONS="true",
                ANSIBLE_NOCOLOR="1",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, **more: Any) -> tuple[int, str]:
        process = self.start(command, **more)
        said, _errors = process.communicate(timeout=180)
        return process.returncode, said

    def report(self) -> dict[str, Any]:
        """The newest."""
        found: dict[str, Any] = json.loads(max(self.reports.glob("deployment-*.json")).read_text())
        jsonschema.validate(found, SCHEMA)
        return found

    def revisions(self) -> list[str]:
        said = self.ecs.ecs.list_task_definitions(familyPrefix=SERVICE)
        return [arn.rpartition("/")[2] for arn in said["taskDefinitionArns"]]

    def journal(self) -> dict[str, Any]:
        with database(self.fleet.conninfo) as connected:
            return rollouts(connected, rollout_id=None, last=9, steps=True, scope=SCOPE)


@pytest.fixture
def operator(empty: str, tmp_path: Path) -> Iterator[Operator]:
    with stage() as ecs:
        yield Operator(ecs, Fleet(empty), tmp_path)


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", heard
        server.shutdown()


def test_a_deployment_has_lock_live_view_report_and_hooks(operator: Operator, webhook: tuple[str, list[str]]) -> None:
    url, heard = webhook
    hooks = {"before_deployment": ["webhook.yml"], "after_deployment": ["webhook.yml"]}
    code, said = operator.run("serve", ecs_hooks=hooks, ecs_webhook_url=url)
    assert code == 0, said
    first, last = heard
    assert first == "permissions 2.1.0: before deployment, begins. permissions"
    assert last.startswith("permissions 2.1.0: after deployment, succeeded. permissions: permissions:1 runs")
    report = operator.report()
    assert (report["kind"], report["result"], report["reason"]) == ("deployment", "succeeded", "permissions 2.1.0")
    [one] = report["hosts"]
    assert (one["name"], one["state"]) == (SERVICE, "done")
    [made] = operator.journal()["rollouts"]
    assert (made["rollout_id"], made["result"]) == (report["rollout_id"], "succeeded")
    assert made["hosts"][SERVICE]["after"].endswith("task-definition/permissions:1")

    # Another deployer has the lock.
    held = operator.fleet.acquire(renewal=LockRenewal(scope=SCOPE), holder="ci@runner-3", reason="a hotfix")
    code, said = operator.run("slow")
    assert code == 2
    assert "Nothing was changed." in said
    assert f"The service permissions in the cluster {CLUSTER} is locked by ci@runner-3 since" in said
    assert "::error title=Deployment refused::" in said
    assert operator.revisions() == ["permissions:1"]
    with database(operator.fleet.conninfo) as connected:
        renewal = LockRenewal(held["rollout_id"], scope=SCOPE)
        release(connected, result="failed", renewal=renewal, check_mode=False)

    # Progress of the deployment is shown while it runs.
    process = operator.start("slow")
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "permissions: IN_PROGRESS" in line:
            assert process.poll() is None
    assert process.wait(60) == 0, "".join(lines)
    assert any("permissions: IN_PROGRESS" in line for line in lines), "".join(lines)
    [one] = operator.report()["hosts"]
    assert (one["state"], one["deployment"]["outcome"]) == ("done", "succeeded")
    assert any("has started" in event for event in one["deployment"]["events"])

    # A broken revision: the verdict, the exit code and the log lines.
    code, said = operator.run("crash")
    assert code == 2
    report = operator.report()
    [one], [failure] = report["hosts"], report["failures"]
    assert (report["result"], one["state"], one["deployment"]["rolled_back_to"]) == (
        "failed",
        "rolled back",
        "permissions:2",
    )
    assert (failure["host"], failure["step"], failure["exit_code"]) == (SERVICE, "deploy", 3)
    assert failure["log"] and "hunter2" not in json.dumps(report)
    assert "::error title=permissions%3A deploy failed::" in said
    assert [one["result"] for one in operator.journal()["rollouts"]] == [
        "failed",
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert operator.fleet.query(HELD) == []

    # Nothing to do: no lock, no report.
    before = len(list(operator.reports.iterdir()))
    code, said = operator.run("slow")
    assert (code, len(operator.journal()["rollouts"])) == (0, 4), said
    assert len(list(operator.reports.iterdir())) == before


@pytest.mark.parametrize("at", ["UpdateService", pytest.param("RegisterTaskDefinition", marks=pytest.mark.weekly)])
def test_a_killed_deployment_is_ended_by_the_next_run(operator: Operator, at: str) -> None:
    """Its lock is released, or expires; meanwhile the fleet and other services are free."""
    assert operator.run("serve")[0] == 0
    operator.ecs.fake.writes.clear()
    process = operator.start("slow")
    await_true(lambda: at in operator.ecs.writes, f"it has called {at}")
    assert operator.fleet.query(HELD) == [(SCOPE.name,)]
    operator.fleet.acquire(renewal=LockRenewal(scope=OTHER))
    process.kill()
    process.communicate()
    code, said = operator.run("slow", ecs_lock_wait=60)
    assert code == 0, said
    assert operator.revisions() == ["permissions:1", "permissions:2"], "nothing doubled"
    operator.ecs.await_status(SERVICE, "SUCCESSFUL")
    assert {arn.rpartition("/")[2] for arn in operator.ecs.runs(SERVICE)} == {"permissions:2"}
    assert operator.ecs.writes.count("UpdateService") == 1
    await_true(lambda: operator.fleet.query(HELD) == [(OTHER.name,)], "the lock is free")
    [dead] = [one for one in operator.journal()["rollouts"] if one["result"] == "failed"]
    assert "ended before the deployment did" in dead["steps"][-1]["detail"]


def test_another_deployer_leaves_nothing_to_change(operator: Operator) -> None:
    assert operator.run("serve")[0] == 0
    theirs = operator.fleet.acquire(renewal=LockRenewal(scope=SCOPE))
    process = operator.start("slow", ecs_lock_wait=60)
    assert process.stdout
    assert any("Show the plan" in line for line in process.stdout)
    assert operator.run("slow", ecs_database={})[0] == 0
    with database(operator.fleet.conninfo) as connected:
        renewal = LockRenewal(theirs["rollout_id"], scope=SCOPE)
        release(connected, result="succeeded", renewal=renewal, check_mode=False)
    said, _errors = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Waiting, for 60 s at most." in said
    assert operator.ecs.writes.count("UpdateService") == 1
    assert [one["result"] for one in operator.journal()["rollouts"]] == ["succeeded"] * 3
    assert operator.fleet.query(HELD) == []


def test_a_deployment_whose_lock_was_broken_changes_nothing_more(operator: Operator, tmp_path: Path) -> None:
    assert operator.run("serve")[0] == 0
    operator.ecs.fake.writes.clear()
    breaking = {
        "name": "Break the lock",
        "evenkeel.fleet.rollout_lock": {
            "database": {"conninfo": operator.fleet.conninfo},
            "scope": SCOPE.name,
            "state": "broken",
            "reason": "its runner is gone",
        },
    }
    hook = tmp_path / "break.yml"
    hook.write_text(json.dumps([breaking]))
    code, said = operator.run("slow", ecs_hooks={"before_service": [str(hook)]})
    assert code == 2, said
    assert "its lock is lost" in said
    assert operator.ecs.writes == []


def test_followed_logs_are_shown_as_they_come(operator: Operator) -> None:
    assert operator.run("serve")[0] == 0
    process = operator.start("serve", playbook="ecs_logs", ecs_logs_follow=6)
    assert process.stdout
    before = []
    for line in process.stdout:
        before.append(line)
        if "permissions api" in line:
            break
    assert process.poll() is None, "it shows lines while it runs"
    rest, _errors = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "permissions api" in before[-1], "".join(before)
    assert before[-1] not in rest, "shown once"
