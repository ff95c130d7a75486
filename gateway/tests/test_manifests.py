"""The manifests in deploy/k8s: built by kubectl, valid, and in keeping with the gateway's own settings."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest

from evenkeel_gateway import app
from evenkeel_gateway.main import main
from evenkeel_gateway.settings import load
from support.manifests import (
    COMPONENTS,
    K8S,
    OVERLAYS,
    build,
    configuration_of,
    dangling,
    environment_of,
    inconsistent,
    of_kind,
    overlay,
    pod_of,
    title,
    unrestricted,
    with_components,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.gateway import GatewayProcess
    from support.manifests import Object

ENVIRONMENTS = [name for name in OVERLAYS if of_kind(overlay(name), "Service")]
COLORS = [name for name in OVERLAYS if name not in ENVIRONMENTS]
# It lists each twice: with and without the strict schema.
VERSIONS = list(dict.fromkeys(kubernetes_validate.utils.all_versions()))[-5:]
# Their schemas come with their operators.
CUSTOM = {"ServiceMonitor", "ExternalSecret"}
# Components that no overlay has.
OPTIONAL = ("external_secrets", "operator", "service_monitor")
SECRETS = {"JWT_SECRET": "x" * 40, "DB_USERNAME": "gateway", "DB_PASSWORD": "planted"}
# What stopping takes beside the delay and the grace: the control plane's own requests, and killing what is left.
STOPPING = 5.0


def everything(folder: Path) -> list[Object]:
    return with_components(folder, "production", *OPTIONAL)


def deployments() -> list[tuple[str, Object]]:
    return [(name, one) for name in OVERLAYS for one in of_kind(overlay(name), "Deployment")]


def configured(files: Callable[..., None], objects: list[Object], deployment: Object, **secrets: str) -> None:
    """Set what the gateway reads in a pod of it."""
    [container] = pod_of(deployment)["containers"]
    files(configuration_of(objects), **environment_of(container, objects) | secrets)


@pytest.fixture
def files(environment: Callable[..., None], tmp_path: Path) -> Callable[..., None]:
    def write(texts: dict[str, str], **values: str) -> None:
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        environment(**values | {"CONFIG_DIR": str(tmp_path)})

    return write


def test_which_overlays_and_versions_there_are() -> None:
    assert len(VERSIONS) == 5
    assert {"blue", "green"} <= set(COLORS)
    assert {"production", "staging"} <= set(ENVIRONMENTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_valid_for_the_newest_versions(tmp_path: Path, version: str) -> None:
    builds = {name: overlay(name) for name in OVERLAYS}
    builds |= {"base": build(K8S / "base"), "everything": everything(tmp_path)}
    different = {json.dumps(one, sort_keys=True): f"{name}: {title(one)}" for name in builds for one in builds[name]}
    for text, what in different.items():
        one = json.loads(text)
        if one["kind"] not in CUSTOM:
            assert version.startswith(kubernetes_validate.validate(one, version, strict=True)), what


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    [deployment] = of_kind(overlay("blue"), "Deployment")
    deployment["spec"]["minReadySecond"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="minReadySecond"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_every_component_is_part_of_some_build(tmp_path: Path) -> None:
    used = set()
    for path in K8S.glob("overlays/*/kustomization.yaml"):
        used |= {name for name in COMPONENTS if f"components/{name}\n" in path.read_text()}
    custom = {one["kind"] for one in everything(tmp_path)}
    assert custom >= CUSTOM
    assert used | {*OPTIONAL} == {*COMPONENTS} - {"active_green"}


@pytest.mark.parametrize("name", [*ENVIRONMENTS, "base", "everything"])
def test_all_references_lead_somewhere(tmp_path: Path, name: str) -> None:
    builds = {"base": lambda: build(K8S / "base"), "everything": lambda: everything(tmp_path)}
    assert dangling(builds[name]() if name in builds else overlay(name)) == []


def test_the_active_color_can_be_green(tmp_path: Path) -> None:
    """As written in the overlay of production after a flip; there is no green Deployment beside it here."""
    objects = with_components(tmp_path, "production", "active_green")
    assert dangling(objects) == [
        "Service/gateway selects nothing",
        "PodDisruptionBudget/gateway selects nothing",
        "HorizontalPodAutoscaler/gateway refers to Deployment/gateway-green",
    ]
    assert dangling([*objects, *in_namespace(overlay("green"), "gateway")]) == []
    [service] = of_kind(objects, "Service")
    assert service["metadata"]["annotations"] == {"evenkeel.fleet/active-color": "green"}


def in_namespace(objects: list[Object], namespace: str) -> list[Object]:
    return [one | {"metadata": one["metadata"] | {"namespace": namespace}} for one in objects]


@pytest.mark.parametrize(("name", "deployment"), deployments())
def test_deployments_fit_together(name: str, deployment: Object) -> None:
    assert inconsistent(deployment) == []
    assert unrestricted(deployment) == []


def _set(path: str, value: Any) -> Callable[[Object], None]:
    def change(one: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            one = one[int(key)] if isinstance(one, list) else one[key]
        one[int(last) if isinstance(one, list) else last] = value

    return change


CONTAINER = "spec.template.spec.containers.0"
BROKEN = [
    ("spec.selector.matchLabels.color", "red", "the selector is not that of the pods"),
    ("spec.replicas", 3, "replicas is the autoscaler's"),
    ("spec.strategy.rollingUpdate.maxUnavailable", 1, "an update takes a pod away before there is another"),
    ("spec.progressDeadlineSeconds", 10, "no pod can be ready before the deadline"),
    (f"{CONTAINER}.livenessProbe.httpGet.path", "/healthz", "livenessProbe: the gateway has no /healthz"),
    (f"{CONTAINER}.startupProbe.httpGet.port", "web", "startupProbe: no port web"),
    (f"{CONTAINER}.image", "registry.example.com:5000/gateway:latest", "is no version"),
    (f"{CONTAINER}.image", "registry.example.com/gateway", "is no version"),
    (f"{CONTAINER}.volumeMounts.0.name", "settings", "no volume settings"),
    ("spec.template.spec.topologySpreadConstraints.0.labelSelector.matchLabels", {}, "counts other pods"),
    ("spec.template.spec.hostNetwork", True, "hostNetwork"),
    ("spec.template.spec.securityContext", {}, "seccompProfile"),
    ("spec.template.spec.volumes.1", {"name": "runtime", "hostPath": {"path": "/"}}, "volume runtime"),
    (f"{CONTAINER}.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "capabilities"),
    (f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem"),
]


@pytest.mark.parametrize(("path", "value", "problem"), BROKEN)
def test_what_is_broken_is_found(path: str, value: Any, problem: str) -> None:
    [deployment] = copy.deepcopy(of_kind(overlay("blue"), "Deployment"))
    _set(path, value)(deployment)
    assert any(problem in line for line in [*inconsistent(deployment), *unrestricted(deployment)])


def test_colors_differ_by_their_color_alone() -> None:
    texts = {name: json.dumps(overlay(name), sort_keys=True) for name in COLORS}
    [blue] = of_kind(overlay("blue"), "Deployment")
    assert blue["metadata"]["name"] == "gateway-blue"
    for name, text in texts.items():
        assert text.replace(name, "blue") == texts["blue"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_changes_no_deployment_but_by_its_namespace(name: str) -> None:
    """So that the other colour, built on its own, is the same as the one that runs."""
    [deployment] = of_kind(overlay(name), "Deployment")
    color = deployment["spec"]["template"]["metadata"]["labels"]["color"]
    assert in_namespace(overlay(color), deployment["metadata"]["namespace"]) == [deployment]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_active_color_is_everywhere_the_same(name: str) -> None:
    objects = overlay(name)
    [service], [budget] = of_kind(objects, "Service"), of_kind(objects, "PodDisruptionBudget")
    [autoscaler] = of_kind(objects, "HorizontalPodAutoscaler")
    color = service["spec"]["selector"]["color"]
    assert service["metadata"]["annotations"] == {"evenkeel.fleet/active-color": color}
    assert budget["spec"]["selector"]["matchLabels"]["color"] == color
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == f"gateway-{color}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_gateway_accepts_its_configuration(
    files: Callable[..., None], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for deployment in of_kind(overlay(name), "Deployment"):
        configured(files, overlay(name), deployment, **SECRETS)
        assert main(["--check"]) == 0
        told = capsys.readouterr()
        assert (told.out, told.err) == ("configuration ok\n", "")
        settings = load()
        assert settings.db_host
        assert settings.wanted_secrets == ("JWT_SECRET",)
        assert settings.proxy_timeout_read_seconds == float(settings.layers.tree["proxy"]["timeout"]["read"])
        assert settings.node_env == name
        assert [path.name for path in settings.layers.files] == [".env", f".env.{name}"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_without_its_secret_it_does_not_start(
    files: Callable[..., None], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    [deployment] = of_kind(overlay(name), "Deployment")
    configured(files, overlay(name), deployment)
    assert main(["--check"]) == 2
    assert "DB_USERNAME: required with DB_HOST" in capsys.readouterr().err


def test_the_external_secret_has_all_that_is_wanted(tmp_path: Path) -> None:
    objects = everything(tmp_path)
    [external] = of_kind(objects, "ExternalSecret")
    [deployment] = of_kind(objects, "Deployment")
    [container] = pod_of(deployment)["containers"]
    secrets = [source["secretRef"] for source in container["envFrom"] if "secretRef" in source]
    assert secrets == [{"name": external["spec"]["target"]["name"]}]
    assert {entry["secretKey"] for entry in external["spec"]["data"]} == SECRETS.keys()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_grace_periods_add_up(files: Callable[..., None], name: str) -> None:
    for deployment in of_kind(overlay(name), "Deployment"):
        configured(files, overlay(name), deployment, **SECRETS)
        settings, pod = load(), pod_of(deployment)
        takes = max(settings.shutdown_delay_seconds, app.RESIGN_SECONDS) + settings.shutdown_grace_seconds + STOPPING
        assert takes <= pod["terminationGracePeriodSeconds"] <= takes + 30
        # A change of endpoints was measured to need it; a sleep before SIGTERM would tell kept connections nothing.
        assert settings.shutdown_delay_seconds >= 8
        [container] = pod["containers"]
        assert "lifecycle" not in container
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] > takes


def test_probes_and_the_database(gateway: Callable[..., GatewayProcess]) -> None:
    """A database that does not answer keeps a pod out of service, and restarts none."""
    [deployment] = of_kind(overlay("production"), "Deployment")
    [container] = pod_of(deployment)["containers"]
    process = gateway(DATABASE_URL="postgresql://me@127.0.0.1:9/gateway?sslmode=disable")
    for probe in ("startupProbe", "livenessProbe"):
        process.answers(container[probe]["httpGet"]["path"], 200)
    assert process.status(container["readinessProbe"]["httpGet"]["path"]) == 503


def test_the_leader_may_patch_pods_and_nothing_else() -> None:
    objects = overlay("production")
    [role] = of_kind(objects, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ClusterRoleBinding")
    tokens = [pod_of(one)["automountServiceAccountToken"] for _, one in deployments()]
    assert set(tokens) == {True}
    [plain] = of_kind(build(K8S / "base"), "Deployment")
    assert pod_of(plain)["automountServiceAccountToken"] is False, "without the component there is no token"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_scaling(name: str) -> None:
    [autoscaler] = of_kind(overlay(name), "HorizontalPodAutoscaler")
    [budget] = of_kind(overlay(name), "PodDisruptionBudget")
    spec = autoscaler["spec"]
    targets = {one["resource"]["name"]: one["resource"]["target"]["averageUtilization"] for one in spec["metrics"]}
    assert targets == {"cpu": 65, "memory": 70}
    assert 1 < spec["minReplicas"] <= spec["maxReplicas"]
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert budget["spec"]["maxUnavailable"] == 1
    for deployment in of_kind(overlay(name), "Deployment"):
        assert pod_of(deployment)["containers"][0]["resources"]["requests"].keys() == {"cpu", "memory"}
