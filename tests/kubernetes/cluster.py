# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes in one container, with the gateway's real image in pods, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.kubernetes.runs import Reader, Run, play, start

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NAMESPACE = "gateway"
NAME = "gateway"
PORT = 8000
# Seconds that a rollout may be without progress.
DEADLINE = 40
MISSING = "127.0.0.1:5000/gateway-v1@sha256:" + "0" * 64
# Kinds of images that must not stay, and the reason that is told.
BAD_IMAGES = [
    ("missing", "ImagePullBackOff|ErrImagePull"),
    ("crashing", "JWT_SECRET is not set"),
    ("never-ready", f"exceeded its progress deadline of {DEADLINE} s"),
    ("wrong-version", "report the version v2, not v3"),
]
# Requests per second, and how many runs of each test of kills are killed, at seeded moments.
RATE = float(os.environ.get("RATE", "300"))
KILLS = int(os.environ.get("KILLS", "1"))
# One state each of the gateway's images, made on the node from the first version.
BROKEN = {
    "crashing": 'ENTRYPOINT ["sh", "-c", "echo JWT_SECRET is not set; exit 3"]',
    "never-ready": 'ENTRYPOINT ["sh", "-c", "echo waits for a lock; sleep 3600"]',
}
HEARTBEAT = "SELECT instance_id FROM ec2_heartbeat WHERE is_leader AND last_heartbeat > now() - interval '15 s'"


def wait_until(check: Callable[[], object], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)


def operator() -> list[dict[str, Any]]:
    """The permissions of the user with whom playbooks run, as they are shipped."""
    folder = CHECKOUT / "gateway" / "deploy" / "k8s" / "components" / "operator"
    objects = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("role", "role_binding")]
    return [{**one, "metadata": {**one["metadata"], "namespace": NAMESPACE}} for one in objects]


def hand_over(cluster: Cluster, target: str) -> None:
    """Make a pod the leader."""
    request = "UPDATE leader_lease SET requested_holder = %s, requested_by = 'test', reason = 'test', "
    if cluster.leader() == target:
        return
    with cluster.connect() as connection:
        connection.execute((request + "request_expires_at = clock_timestamp() + interval '20 s'").encode(), (target,))
    wait_until(lambda: cluster.leader() == target, f"{target} leads", 30)


class Cluster:
    def __init__(self) -> None:
        found = sorted((CHECKOUT / ".testbed").glob("*-kubernetes/kubernetes.json"))
        facts = json.loads(found[0].read_text())
        self.node: str = facts["node"]
        self.kubeconfig: str = facts["kubeconfig"]
        # Of a user who has the permissions of the component `operator`, and no others.
        self.operator_kubeconfig: str = facts["operator_kubeconfig"]
        self.url: str = facts["url"]
        self.images: dict[str, str] = {name.removeprefix("gateway-"): image for name, image in facts["images"].items()}
        self.password: str = json.loads((found[0].parent / "node.json").read_text())["database_password"]
        self.bridge: str = json.loads((found[0].parent / "node.json").read_text())["bridge"]
        self.database_port = int(facts["database_port"])

    @staticmethod
    def up() -> Cluster:
        command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "testbed/kubernetes_up.yml"]
        subprocess.run(command, cwd=CHECKOUT, check=True, timeout=3600)
        return Cluster()

    def down(self) -> None:
        name = self.node.removesuffix("-node")
        command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "testbed/down.yml", "-e", f"testbed_name={name}"]
        subprocess.run(command, cwd=CHECKOUT, check=True, timeout=600, capture_output=True)

    # Kubernetes

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def kubectl_in_background(self, *words: str) -> subprocess.Popen[str]:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def cordoned(self, node: str) -> bool:
        return bool(json.loads(self.kubectl("get", "node", node, "-o", "json"))["spec"].get("unschedulable"))

    def get(self, kind: str, name: str = "", *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.kubectl("-n", NAMESPACE, "get", kind, *([name] if name else []), "-o", "json", *words)
        )
        return found

    def pods(self) -> list[dict[str, Any]]:
        """Those that are not being deleted, the oldest first."""
        found = [one for one in self.get("pods")["items"] if "deletionTimestamp" not in one["metadata"]]
        return sorted(found, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))

    def names(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.pods()]

    def images_of_pods(self) -> set[str]:
        return {one["spec"]["containers"][0]["image"] for one in self.pods()}

    def annotations(self, name: str = NAME) -> dict[str, str]:
        found = self.get("deployment", name)["metadata"]["annotations"]
        return {key: value for key, value in found.items() if key.startswith("evenkeel.fleet/")}

    def reader(self) -> Reader:
        return Reader(self.kubeconfig, NAMESPACE)

    def settle(self, name: str = NAME) -> None:
        """Wait until no pod is left that is not of the newest template, or that ends."""

        def settled() -> bool:
            status = self.get("deployment", name)["status"]
            wanted = self.get("deployment", name)["spec"]["replicas"]
            counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
            return counts == {wanted} and len(self.get("pods")["items"]) == wanted

        wait_until(settled, "the Deployment is settled", 180)

    def deploy(self, image: str, replicas: int = 3) -> None:
        """A bare namespace with the gateway in this image, which serves."""
        self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
        self.sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
        objects += [self.deployment(image, replicas), self.service(), *operator()]
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.settle()
        wait_until(self.leader, "an instance leads", 60)

    def deploy_colors(self, image: str) -> None:
        """The same in two colours: blue serves, green has no pods; with an autoscaler and a disruption budget."""
        self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
        self.sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-blue"}
        metadata = {"name": NAME, "namespace": NAMESPACE}
        selector = {"matchLabels": {"app.kubernetes.io/name": NAME, "color": "blue"}}
        objects = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            self.deployment(image, 2, "blue"),
            self.deployment(image, 0, "green"),
            self.service("blue"),
            *operator(),
            {
                "apiVersion": "autoscaling/v1",
                "kind": "HorizontalPodAutoscaler",
                "metadata": metadata,
                "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3},
            },
            {
                "apiVersion": "policy/v1beta1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata,
                "spec": {"maxUnavailable": 1, "selector": selector},
            },
        ]
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.settle(f"{NAME}-blue")
        wait_until(self.leader, "an instance leads", 60)

    def deployment(self, image: str, replicas: int, color: str = "") -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": NAME, **({"color": color} if color else {})}
        downward = {"INSTANCE_ID": "metadata.name", "PRIVATE_IP": "status.podIP"}
        values = {
            "AWS_EC2_METADATA_DISABLED": "true",
            "DATABASE_URL": f"postgresql://gateway:{self.password}@{self.bridge}:5432/gateway?sslmode=disable",
            "USERS_SERVICE_URL": f"http://{self.bridge}:8080",
            "SHUTDOWN_DELAY_SECONDS": "8",
            "SHUTDOWN_GRACE_SECONDS": "25",
            "PROXY_THREADS": "1",
            "JWT_SECRET": self.password * 2,
        }
        probe = {"httpGet": {"path": "/api/health", "port": 3000}, "periodSeconds": 1, "failureThreshold": 2}
        start = {"httpGet": {"path": "/api/gateway-info", "port": 3000}, "periodSeconds": 1, "failureThreshold": 90}
        container = {
            "name": NAME,
            "image": image,
            "ports": [{"name": "http", "containerPort": 3000}],
            "env": [
                *({"name": key, "value": value} for key, value in values.items()),
                *({"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in downward.items()),
            ],
            "readinessProbe": {**probe, "timeoutSeconds": 3},
            "startupProbe": {**start, "timeoutSeconds": 3},
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME + (f"-{color}" if color else ""), "namespace": NAMESPACE},
            "spec": {
                "replicas": replicas,
                "minReadySeconds": 3,
                "progressDeadlineSeconds": DEADLINE,
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"terminationGracePeriodSeconds": 40, "containers": [container]},
                },
            },
        }

    @staticmethod
    def service(color: str = "") -> dict[str, Any]:
        selector = {"app.kubernetes.io/name": NAME, **({"color": color} if color else {})}
        annotations = {"testbed/port": str(PORT), **({"evenkeel.fleet/active-color": color} if color else {})}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": annotations},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 3000}]},
        }

    def bad_image(self, kind: str) -> str:
        """One of BAD_IMAGES."""
        return {"missing": MISSING, "wrong-version": self.images["v2"]}.get(kind) or self.broken(kind)

    def broken(self, kind: str) -> str:
        """An image that does not serve, in the node's registry."""
        name = f"127.0.0.1:5000/gateway-{kind}"
        text = f"FROM {self.images['v1']}\nENTRYPOINT []\n{BROKEN[kind]}\n"
        self.on_node("docker", "build", "-q", "-t", name, "-", stdin=text)
        self.on_node("docker", "push", "-q", name)
        return self.on_node("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", name).strip()

    def on_node(self, *words: str, stdin: str = "") -> str:
        command = ["docker", "exec", "-i", self.node, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The database

    @property
    def database(self) -> dict[str, Any]:
        """As playbooks take it."""
        return {
            "host": "127.0.0.1",
            "port": self.database_port,
            "name": "gateway",
            "user": "gateway",
            "password": self.password,
            "sslmode": "disable",
        }

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        wanted = self.database
        return psycopg.connect(
            host=wanted["host"],
            port=wanted["port"],
            dbname="gateway",
            user="gateway",
            password=self.password,
            autocommit=True,
        )

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            for statement in statements:
                found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def leader(self) -> str:
        """Empty while no instance holds the lease."""
        try:
            held = self.sql("SELECT holder FROM leader_lease WHERE expires_at > clock_timestamp()")
        except psycopg.errors.UndefinedTable:
            return ""
        return str(held[0][0] or "") if held else ""

    def leaders(self) -> Callable[[], list[str]]:
        """A question for a Watch, over one connection."""
        connection = self.connect()

        def ask() -> list[str]:
            return [str(row[0]) for row in connection.execute(HEARTBEAT).fetchall()]

        return ask

    # Playbooks

    def command(self, playbook: str, *words: str, **variables: object) -> list[str]:
        settings = {
            "kubernetes_kubeconfig": self.operator_kubeconfig,
            "kubernetes_namespace": NAMESPACE,
            "kubernetes_name": NAME,
            "kubernetes_database": self.database,
            "kubernetes_watch": 3,
            **variables,
        }
        path = CHECKOUT / "playbooks" / f"{playbook}.yml"
        return [str(BIN / "ansible-playbook"), "-i", "localhost,", str(path), "-e", json.dumps(settings), *words]

    def play(self, playbook: str, *words: str, **variables: object) -> Run:
        return play(self.command(playbook, *words, **variables))

    def start(self, playbook: str, *words: str, **variables: object) -> subprocess.Popen[str]:
        """In a process group of its own."""
        return start(self.command(playbook, *words, **variables))


def switch(cluster: Cluster, **variables: object) -> Run:
    settings = {"kubernetes_bake": 5, "kubernetes_overlap": 5, "kubernetes_policy_api": "policy/v1beta1"}
    return cluster.play("kubernetes_blue_green", **{**settings, **variables})


def assert_agrees(cluster: Cluster, color: str) -> None:
    """All that knows a colour knows the same one."""
    service: dict[str, Any] = cluster.get("service", NAME)
    budget, scaler = cluster.get("pdb", NAME), cluster.get("hpa", NAME)
    assert service["spec"]["selector"]["color"] == color
    assert service["metadata"]["annotations"]["evenkeel.fleet/active-color"] == color
    assert budget["spec"]["selector"]["matchLabels"]["color"] == color
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"{NAME}-{color}"
    other = {"blue": "green", "green": "blue"}[color]
    assert cluster.get("deployment", f"{NAME}-{other}")["spec"]["replicas"] == 0
    assert {one["metadata"]["labels"]["color"] for one in cluster.pods()} == {color}
    assert cluster.leader() in cluster.names()
