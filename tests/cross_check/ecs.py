# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for ECS against another emulator, ministack, whose tasks are containers of the local engine.

Run by hand (make cross-check): it shows that the modules understand an implementation that is not ours. It has no
service deployments and no scaling, so ecs_deploy and scalable_target are tested against our own stand-in alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3

from tests.integration.aws.stage import call
from tests.integration.endpoint import REGION

CLUSTER = "cross-check"
GROUP = "/ecs/cross-check"
NETWORK = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}}}


@contextmanager
def emulator(python: Path) -> Iterator[str]:
    """The URL of a ministack that runs until the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "PYTHONPATH": ""}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([python, "-m", "ministack.app"], env=variables, stdout=log, stderr=log)
        try:
            await_true(lambda: answers(port) or process.poll() is not None, "ministack answers")
            if process.poll() is not None:
                log.seek(0)
                sys.exit(f"ministack ended at its start:\n{log.read().decode()[-2000:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=1):
            return True
    except OSError:
        return False


def await_true(asked: Callable[[], Any], what: str, within: float = 60.0) -> None:
    ends = time.monotonic() + within
    while not asked():
        if time.monotonic() > ends:
            sys.exit(f"not within {within:g} s: {what}")
        time.sleep(0.2)


@contextmanager
def image() -> Iterator[str]:
    """An image of the local engine that has sh and sleep, until the end."""
    with tempfile.TemporaryDirectory() as folder:
        binaries = Path(folder) / "bin"
        binaries.mkdir()
        shutil.copy("/bin/busybox", binaries)
        for name in ("sh", "sleep", "echo"):
            (binaries / name).symlink_to("busybox")
        packed = subprocess.run(["tar", "-C", folder, "-c", "bin"], check=True, capture_output=True).stdout
    importing = ["docker", "import", "--change", "ENV PATH=/bin", "-", f"{CLUSTER}:busybox"]
    subprocess.run(importing, input=packed, check=True, capture_output=True, timeout=60)
    try:
        yield f"{CLUSTER}:busybox"
    finally:
        subprocess.run(["docker", "image", "rm", f"{CLUSTER}:busybox"], capture_output=True, timeout=60)


def definition(image: str, **container: Any) -> dict[str, Any]:
    options = {"awslogs-group": GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
    return {
        "family": "cross-check",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
        "containerDefinitions": [
            {
                "name": "main",
                "image": image,
                "essential": True,
                "command": ["sleep", "600"],
                "logConfiguration": {"logDriver": "awslogs", "options": options},
                **container,
            }
        ],
    }


class Check:
    """What each module answers, and whether that is expected."""

    def __init__(self, url: str, image: str) -> None:
        self.target: Any = SimpleNamespace(url=url)
        self.image = image
        self.wrong = 0

    def expect(self, what: str, found: object, wanted: object) -> None:
        well = found == wanted
        self.wrong += not well
        print(f"{'ok   ' if well else 'WRONG'} {what}" + ("" if well else f": {found!r}, expected {wanted!r}"))

    def module(self, module: str, /, *, check: bool = False, **wanted: Any) -> dict[str, Any]:
        return call(self.target, module, wanted, check=check)

    def changes(self, what: str, module: str, /, **wanted: Any) -> dict[str, Any]:
        """In check mode, for real, and once more: the answer of the second."""
        would = self.module(module, check=True, **wanted)
        did = self.module(module, **wanted)
        again = self.module(module, **wanted)
        told = [one.get("msg") or one["changed"] for one in (would, did, again)]
        self.expect(f"{module}: {what}: check mode, run, second run", told, [True, True, False])
        return did

    def all(self) -> None:
        self.changes("a log group", "log_group", name=GROUP, retention=1096)
        first = self.changes("the first revision", "ecs_task_definition", **self.revision())
        changes: dict[str, dict[str, Any]] = {
            "an environment variable": {"environment": [{"name": "A", "value": "1"}]},
            "its value, of the same length": {"environment": [{"name": "A", "value": "2"}]},
            "a command": {"command": ["sleep", "601"]},
        }
        for what, container in changes.items():
            self.changes(what, "ecs_task_definition", **self.revision(**container))
        service: dict[str, Any] = {
            "cluster": CLUSTER,
            "name": "cross-check",
            "definition": {"launchType": "FARGATE", **NETWORK},
        }
        self.changes("a service", "ecs_service", task_definition=first["task_definition"], desired_count=2, **service)
        await_true(lambda: running(self.target.url) == 2, "two tasks run")
        info = self.module("ecs_service_info", cluster=CLUSTER, name="cross-check")
        self.expect("ecs_service_info: no failure", info.get("msg", ""), "")
        run: dict[str, Any] = {"cluster": CLUSTER, "task_definition": first["task_definition"]}
        for what, command, failed in (
            ("a task that exits with 0", "echo migrated", False),
            ("one that exits with 3", "echo broken; exit 3", True),
        ):
            overrides = {"containerOverrides": [{"name": "main", "command": ["sh", "-c", command]}]}
            found = self.module(
                "ecs_run", definition={"launchType": "FARGATE", **NETWORK, "overrides": overrides}, **run
            )
            self.expect(f"ecs_run: {what}", found["failed"], failed)
            print(f"      {found.get('msg') or found.get('containers')}")
        self.changes("no service any more", "ecs_service", cluster=CLUSTER, name="cross-check", state="absent")

    def revision(self, **container: Any) -> dict[str, Any]:
        return {"pin": "tag", "definition": definition(self.image, **container)}


def client(url: str, service: str) -> Any:
    return boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id="AKIATEST", aws_secret_access_key="secret"
    )


def running(url: str) -> int:
    [service] = client(url, "ecs").describe_services(cluster=CLUSTER, services=["cross-check"])["services"]
    return int(service["runningCount"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="interpreter that has ministack")
    chosen = parser.parse_args()
    with emulator(chosen.python) as url, image() as name:
        client(url, "ecs").create_cluster(clusterName=CLUSTER)
        check = Check(url, name)
        check.all()
    sys.exit(f"{check.wrong} answers are not as expected" if check.wrong else 0)


if __name__ == "__main__":
    main()
