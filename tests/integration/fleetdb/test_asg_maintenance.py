# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""maintenance.yml on an instance of an Auto Scaling group, with real elections."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.asg import Group, Scaled
from tests.integration.fleetdb.fleets import Fleet
from tests.integration.fleetdb.machines import Machines, Run, elections_as_instances, leader, results, way_to

WORK = """
- name: Look at the fleet
  evenkeel.fleet.leader_info:
    database: "{{ rollout_database }}"
    source: database
  register: seen

- name: Write down what it is like meanwhile
  ansible.builtin.copy:
    content: "{{ seen.instances | to_json }}"
    dest: "{{ seen_file }}"
    mode: "0644"

- name: Do what may fail
  ansible.builtin.command: "{{ work }}"
  changed_when: true
"""


class Gateway(BaseHTTPRequestHandler):
    """Healthy."""

    def do_GET(self) -> None:
        body = b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def gateway() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def container() -> Iterator[str]:
    """One that runs on this machine, which is the host."""
    name = f"evenkeel-maintenance-{os.getpid()}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as image:
        for folder in ("bin", "lib", "lib64"):
            link = tarfile.TarInfo(folder)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{folder}"
            image.addfile(link)
    docker("import", "-", name, stdin=archive.getvalue())
    docker("run", "--detach", "--init", "--name", name, "--volume", "/usr:/usr:ro", name, "/bin/sleep", "600")
    yield name
    docker("rm", "--force", name)
    docker("rmi", name)


def docker(*command: str, stdin: bytes | None = None) -> None:
    subprocess.run(["docker", *command], input=stdin, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def aws() -> Iterator[Scaled]:
    with elections_as_instances() as scaled:
        yield scaled


def states(group: Group) -> dict[str, str]:
    return {item["InstanceId"]: item["LifecycleState"] for item in group.described["Instances"]}


def test_an_instance_leaves_for_the_work_and_comes_back(
    aws: Scaled, fleet: Fleet, gateway: int, container: str, tmp_path: Path
) -> None:
    group = aws.group(3)
    work = tmp_path / "work.yml"
    work.write_text(WORK)
    with Machines(group, fleet, tmp_path):
        first, term = leader(fleet)
        hosts = {f"gateway-{number}": {"instance_id": name} for number, name in enumerate(group.versions)}
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"gateways": {"hosts": hosts}}))
        host = next(name for name, known in hosts.items() if known["instance_id"] == first)
        variables = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "gateway_image": "registry.example/gateway:1",
            "gateway_aws_region": "eu-central-1",
            "gateway_secret_arn": "",
            "gateway_db_secret_arn": "",
            "gateway_host_port": gateway,
            "gateway_name": container,
            "rollout_database": {"conninfo": fleet.conninfo},
            "maintenance_group": group.name,
            "maintenance_aws": way_to(aws),
            "maintenance_tasks": [str(work)],
            "maintenance_reason": "new disk",
            "seen_file": str(tmp_path / "seen.json"),
        }

        def run(code: int, *options: str, work: str = "true") -> str:
            limited = ["--limit", host, *options]
            return Run("maintenance", inventory, {**variables, "work": work}, *limited).ended(code)

        run(0, "--check")
        assert leader(fleet) == (first, term) and set(states(group).values()) == {"InService"}
        assert not (tmp_path / "seen.json").exists() and results(fleet) == []

        run(2, work="false")
        meanwhile = {one["instance_id"]: one for one in json.loads((tmp_path / "seen.json").read_text())}
        assert not meanwhile[first]["in_service"] and not meanwhile[first]["leads"]
        assert leader(fleet)[1] == term + 1
        # What failed leaves it where it does no harm.
        assert states(group)[first] == "Standby" and group.described["DesiredCapacity"] == 2
        assert fleet.query("SELECT detail FROM fleet_rollout_step WHERE step = 'permit'") == [("new disk",)]

        run(0)
        assert set(states(group).values()) == {"InService"} and len(group.versions) == 3
        assert group.described["DesiredCapacity"] == 3
        assert fleet.draining == [] and set(results(fleet)) == {"succeeded"}
        # It is not given leadership back.
        assert leader(fleet)[1] == term + 1

        aws.endpoint.faults.denied["autoscaling:EnterStandby"] = ""
        assert "not authorized to perform: autoscaling:EnterStandby" in run(2)
        assert set(states(group).values()) == {"InService"} and fleet.draining == [first]
        aws.endpoint.faults.forget()
        run(0)
        assert set(states(group).values()) == {"InService"} and fleet.draining == []
