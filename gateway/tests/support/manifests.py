"""Kubernetes manifests as kubectl builds them, and what is wrong with them that no schema shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import evenkeel_gateway
from evenkeel_gateway.haproxy.render import CONTROL_PATHS

Object = dict[str, Any]

K8S = Path(evenkeel_gateway.__file__).parents[2] / "deploy" / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
COMPONENTS = sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml"))
KUBECTL = Path(sys.executable).with_name("kubectl")
_TAG = re.compile(r"[^:@]+(/[^:@]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


@cache
def _built(folder: Path) -> str:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def build(folder: Path) -> list[Object]:
    return list(yaml.safe_load_all(_built(folder)))


def overlay(name: str) -> list[Object]:
    return build(K8S / "overlays" / name)


def with_components(folder: Path, name: str, *components: str) -> list[Object]:
    """Return an overlay with more components, as a user's own overlay in `folder` has them."""
    relative = os.path.relpath(K8S, folder.resolve())
    [space] = of_kind(overlay(name), "Namespace")
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": space["metadata"]["name"],
        "resources": [f"{relative}/overlays/{name}"],
        "components": [f"{relative}/components/{component}" for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return build(folder)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def title(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def pod_of(deployment: Object) -> Any:
    return deployment["spec"]["template"]["spec"]


def environment_of(container: Object, objects: list[Object]) -> dict[str, str]:
    """Return the variables whose values are in the manifests."""
    values: dict[str, str] = {}
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    for source in container["envFrom"]:
        values |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
    return values | {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def configuration_of(objects: list[Object]) -> dict[str, str]:
    """Return the files of CONFIG_DIR by their names."""
    [deployment] = of_kind(objects, "Deployment")
    [name] = [volume["configMap"]["name"] for volume in pod_of(deployment)["volumes"] if "configMap" in volume]
    [found] = [one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == name]
    files: dict[str, str] = found["data"]
    return files


def _selects(selector: Any, labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _pod_labels(objects: list[Object]) -> list[dict[str, str]]:
    return [deployment["spec"]["template"]["metadata"]["labels"] for deployment in of_kind(objects, "Deployment")]


def dangling(objects: list[Object]) -> list[str]:
    """Return references between the objects of an environment that lead nowhere."""
    names = {title(one) for one in objects}
    pods = _pod_labels(objects)
    services = [one["metadata"].get("labels", {}) for one in of_kind(objects, "Service")]
    selectors = [
        *((one, one["spec"]["selector"], pods) for one in of_kind(objects, "Service")),
        *((one, one["spec"]["selector"]["matchLabels"], pods) for one in of_kind(objects, "PodDisruptionBudget")),
        *((one, one["spec"]["podSelector"]["matchLabels"], pods) for one in of_kind(objects, "NetworkPolicy")),
        *((one, one["spec"]["selector"]["matchLabels"], services) for one in of_kind(objects, "ServiceMonitor")),
    ]
    problems = [
        f"{title(one)} selects nothing"
        for one, selector, labels in selectors
        if not any(_selects(selector, each) for each in labels)
    ]
    problems += [f"{title(one)} has another namespace" for one in objects if _strays(one, objects)]
    wanted: list[tuple[Object, str]] = []
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        wanted.append((one, f"{target['kind']}/{target['name']}"))
    for one in of_kind(objects, "RoleBinding"):
        refs = [one["roleRef"], *one["subjects"]]
        # Groups are no objects.
        wanted += [(one, f"{ref['kind']}/{ref['name']}") for ref in refs if ref["kind"] != "Group"]
    for one in of_kind(objects, "Deployment"):
        wanted.append((one, f"ServiceAccount/{pod_of(one)['serviceAccountName']}"))
        maps = [volume["configMap"]["name"] for volume in pod_of(one)["volumes"] if "configMap" in volume]
        for container in pod_of(one)["containers"]:
            maps += [source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source]
        wanted += [(one, f"ConfigMap/{name}") for name in maps]
    return problems + [f"{title(one)} refers to {name}" for one, name in wanted if name not in names]


def _strays(one: Object, objects: list[Object]) -> bool:
    spaces = [space["metadata"]["name"] for space in of_kind(objects, "Namespace")]
    return bool(spaces) and one["kind"] != "Namespace" and one["metadata"].get("namespace") not in spaces


def inconsistent(deployment: Object) -> list[str]:
    """Return what does not fit together within a Deployment."""
    spec, pod = deployment["spec"], pod_of(deployment)
    problems = []
    if not _selects(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
        problems.append("the selector is not that of the pods")
    problems += [
        f"the spread over {spread['topologyKey']} counts other pods"
        for spread in pod["topologySpreadConstraints"]
        if not _selects(spread["labelSelector"]["matchLabels"], spec["template"]["metadata"]["labels"])
    ]
    if "replicas" in spec:
        problems.append("replicas is the autoscaler's")
    rolling = spec["strategy"]["rollingUpdate"]
    if (rolling["maxUnavailable"], rolling["maxSurge"]) != (0, 1):
        problems.append("an update takes a pod away before there is another")
    if spec["minReadySeconds"] >= spec["progressDeadlineSeconds"]:
        problems.append("no pod can be ready before the deadline")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for name in ("readinessProbe", "startupProbe", "livenessProbe"):
            probe = container[name]["httpGet"]
            if probe["path"] not in CONTROL_PATHS:
                problems.append(f"{name}: the gateway has no {probe['path']}")
            if probe["port"] not in ports:
                problems.append(f"{name}: no port {probe['port']}")
        found = _TAG.fullmatch(container["image"])
        if not found or not (found[2] or found[3]) or found[2] == ":latest":
            problems.append(f"the image {container['image']} is no version")
        problems += [f"no volume {name}" for name in {mount["name"] for mount in container["volumeMounts"]} - volumes]
    return problems


def unrestricted(deployment: Object) -> list[str]:
    """Return what the Pod Security Standard "restricted" refuses, and a root file system that can be written."""
    pod = pod_of(deployment)
    problems = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    if pod["securityContext"].get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        problems.append("seccompProfile")
    if not pod["securityContext"].get("runAsNonRoot") or not pod["securityContext"].get("runAsUser"):
        problems.append("runAsNonRoot")
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    problems += [f"volume {volume['name']}" for volume in pod["volumes"] if not allowed & volume.keys()]
    for container in pod["containers"]:
        context = container["securityContext"]
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            problems.append("allowPrivilegeEscalation")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            problems.append("capabilities")
        if not context.get("readOnlyRootFilesystem"):
            problems.append("readOnlyRootFilesystem")
        problems += [f"hostPort {port['hostPort']}" for port in container["ports"] if "hostPort" in port]
    return problems
