# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/how-to/kubernetes.md, command by command: the shipped manifests, and the playbooks on what they created.

What differs from the page: Kubernetes 1.20 has older API versions of the autoscaler and the disruption budget, and the
testbed's load balancer wants an annotation. Both are patches of the overlay.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.cluster import BIN, CHECKOUT, NAMESPACE, PORT, RATE, Cluster, wait_until
from tests.system.load import MixedLoad, Watch

PAGE = CHECKOUT / "docs" / "how-to" / "kubernetes.md"
OLDER = {"PodDisruptionBudget": "policy/v1beta1", "HorizontalPodAutoscaler": "autoscaling/v2beta2"}
COMMAND = re.compile(r"^ *\$ (.*)$", re.MULTILINE)
LONGEST = 400


class Reader:
    """Someone who follows the page, in a directory of their own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self.typed: list[str] = []

    def prepare(self) -> None:
        """What the page tells to write: images, the database's address, the inventory."""
        for name in ("playbooks", ".collections", "ansible.cfg"):
            (self._folder / name).symlink_to(CHECKOUT / name)
        shutil.copytree(CHECKOUT / "gateway" / "deploy", self._folder / "gateway" / "deploy")
        shutil.copytree(CHECKOUT / "inventories" / "kubernetes", self._folder / "inventories" / "kubernetes")
        overlays = self._folder / "gateway" / "deploy" / "k8s" / "overlays"
        for name in ("production", "green"):
            self._write_overlay(overlays / name / "kustomization.yaml")
        values = [
            f"DB__HOST={self._cluster.bridge}",
            f"USERS_SERVICE_URL=http://{self._cluster.bridge}:8080",
            "DB__SSLMODE=disable",
        ]
        (overlays / "production" / "production.env").write_text("\n".join(values) + "\n")
        variables = self._folder / "inventories" / "kubernetes" / "group_vars" / "all" / "gateway.yml"
        settings = yaml.safe_load(variables.read_text())
        settings["kubernetes_database"] = self._cluster.database
        settings |= {"kubernetes_policy_api": "policy/v1beta1", "kubernetes_watch": 3, "kubernetes_bake": 3}
        variables.write_text(yaml.safe_dump(settings))
        files = self._folder / "files"
        files.mkdir()
        shutil.copy(overlays.parent / "base" / "service" / "gateway.env", files / ".env")
        shutil.copy(overlays / "production" / "production.env", files / ".env.production")

    def _write_overlay(self, path: Path) -> None:
        overlay = yaml.safe_load(path.read_text())
        name, _at, digest = self._cluster.images["v1"].partition("@")
        [image] = overlay["images"]
        overlay["images"] = [{"name": image["name"], "newName": name, "digest": digest}]
        if path.parent.name == "production":
            overlay["components"].append("../../components/operator")
            patches = {kind: ("replace", "/apiVersion", version) for kind, version in OLDER.items()}
            patches["Service"] = ("add", "/metadata/annotations/testbed~1port", str(PORT))
            overlay["patches"] = [
                {"target": {"kind": kind}, "patch": yaml.safe_dump([{"op": how, "path": where, "value": value}])}
                for kind, (how, where, value) in patches.items()
            ]
        path.write_text(yaml.safe_dump(overlay))

    def type(self, command: str) -> str:
        """Run it with the page's placeholders filled in. Playbooks have the permissions of the page, and no others."""
        cluster = self._cluster
        values = {
            "registry.example.com/gateway@sha256:…": cluster.images["v2"],
            "/path/to/files": str(self._folder / "files"),
            "DB_USERNAME=…": "DB_USERNAME=gateway",
            "DB_PASSWORD=…": f"DB_PASSWORD={cluster.password}",
            "JWT_SECRET=…": f"JWT_SECRET={cluster.password * 2}",
        }
        line = command
        for placeholder, value in values.items():
            line = line.replace(placeholder, value)
        assert "…" not in line, f"a placeholder without a value: {command}"
        plays = command.startswith("ansible-playbook")
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "KUBECONFIG": cluster.operator_kubeconfig if plays else cluster.kubeconfig,
        }
        if "evenkeel-gateway" in command:
            environment |= {"DB_USERNAME": "any", "DB_PASSWORD": "any", "JWT_SECRET": "any" * 20}
        done = subprocess.run(
            line,
            shell=True,
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        self.typed.append(command)
        return done.stdout


@pytest.fixture
def reader(cluster: Cluster, tmp_path: Path) -> Reader:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    cluster.sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    found = Reader(cluster, tmp_path)
    found.prepare()
    return found


def test_the_page_as_it_is_typed(cluster: Cluster, reader: Reader) -> None:
    commands = COMMAND.findall(PAGE.read_text())
    install = [one for one in commands if not one.startswith("ansible-playbook")]
    plays = [one for one in commands if one.startswith("ansible-playbook")]
    assert len(install) >= 7
    assert len(plays) >= 6
    for command in install:
        reader.type(command)
    # The autoscaler raises the Deployment to its minimum.
    wait_until(lambda: cluster.get("deployment", "gateway-blue")["spec"]["replicas"] == 3, "three replicas", 120)
    cluster.settle("gateway-blue")
    wait_until(cluster.leader, "an instance leads", 60)
    with MixedLoad(cluster.url, RATE / 3) as load, Watch(cluster.leaders()) as watch:
        for command in plays:
            said = reader.type(command)
            print(f"{command.partition('playbooks/')[2][:60]}: typed")
    assert load.failures == []
    assert watch.most_at_once == 1
    assert "as blue" in said
    assert reader.typed == [*install, *plays]
    assert cluster.images_of_pods() == {cluster.images["v1"]}
    # What was typed left the manifests and the cluster the same.
    reader.type("kubectl diff -k gateway/deploy/k8s/overlays/production")
