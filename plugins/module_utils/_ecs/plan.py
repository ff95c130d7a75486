# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment of declared services would change. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .._aws import log_group
from .._aws.api import RefusedError
from .._aws.pairs import texts
from .._common.progress import OperationError
from . import scalable_target
from .container_logs import ContainerLogs
from .declarations import main_container
from .deploy import Deploy, DeployReport, DeployWish
from .images import PinnedImages, Reference, digest_in_ecr, images_of, pinned, with_images
from .limits import problems, shape_problems
from .revisions import Outcome, Wanted, ensure
from .service_deployment import short
from .service_deployments import ServiceDeployments
from .services import DeclaredService, ServiceReport, Services, refuse_draining
from .verify.checks import findings_of
from .verify.findings import Clients, Declared

AT_ONCE = 8
Declaration = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What all services of one look share. `parameters` gives the names that an operation of ECS takes.

    `build`: the images of services with `build` are built before the deployment. `force`: deploy what is as declared,
    too. `verify`: look for what would make the deployments fail.
    """

    cluster: str
    clients: Clients
    parameters: Callable[[str], list[str]]
    build: bool = False
    force: bool = False
    verify: bool = True


@dataclass
class ServicePlan:
    """Task definitions are ARNs, "" for none; `revision` is "" where one would be registered.

    `problems` are why the plan is not complete or is refused, `findings` what would make the deployment fail.
    """

    name: str
    exists: bool = False
    current: str = ""
    revision: str = ""
    registers: bool = False
    deploys: bool = False
    joins: bool = False
    count: int | None = None
    images: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    tags: bool = False
    scaling: bool = False
    log_groups: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the service differs from its declaration, or its deployment is not complete."""
        parts = (self.registers, self.deploys, self.joins, self.settings, self.tags, self.scaling, self.log_groups)
        return not self.exists or any(parts)

    @property
    def steps(self) -> list[str]:
        """In the order in which they are done."""
        found = [f"create or change the log group {name}" for name in self.log_groups]
        if self.registers:
            found.append("register a revision: " + ("; ".join(self.differences) or "the first one"))
        if not self.exists:
            found.append("create the service")
        elif self.settings or self.tags:
            found.append("change of the service: " + ", ".join([*self.settings, *(["tags"] if self.tags else [])]))
        if self.scaling:
            found.append("change the scaling")
        if self.joins:
            found.append(f"wait for the deployment of {short(self.current)}, which runs")
        elif self.exists and self.deploys:
            was = f", instead of {short(self.current)}" if self.current != self.revision else ", once more"
            found.append(f"deploy {short(self.revision) or 'the new revision'}{was}")
        return found

    def result(self) -> dict[str, Any]:
        return {**vars(self), "changed": self.changed, "steps": self.steps}


def plan(declared: Sequence[Declaration], asked: Asked) -> list[ServicePlan]:
    """In the order of the declarations; the services are looked at side by side."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: planned(one, asked), declared))


def planned(one: Declaration, asked: Asked) -> ServicePlan:
    found = ServicePlan(one["name"])
    try:
        _look(one, asked, found)
        if asked.verify and found.changed:
            found.findings = _findings(one, asked, found)
    except OperationError as error:
        found.problems.append(str(error))
    return found


def _look(one: Declaration, asked: Asked, found: ServicePlan) -> None:
    ecs = asked.clients("ecs")
    of_the_service = ServiceDeployments(ecs, asked.cluster, one["name"])
    service = _service(of_the_service)
    found.exists = service is not None
    if service:
        # Refuses one that ECS itself does not deploy, which may have no task definition.
        found.current = str(of_the_service.service()["taskDefinition"])
    _refuse_other_controllers(one)
    definition, images = prepared(one, asked)
    found.images, found.warnings = images.images, images.warnings
    tags = None if one["tags"] is None else texts(one["tags"])
    revision = ensure(
        ecs, Wanted(definition, tags, asked.cluster if service else "", one["name"] if service else ""), True
    )
    _note_revision(found, revision)
    found.count = wanted_count(one, exists=found.exists)
    report = ServiceReport()
    services = Services(ecs, lambda: asked.clients("application-autoscaling"), asked.parameters)
    if service is None:
        # Refuses names that CreateService does not take.
        services.refuse_unknown(one["service"])
    else:
        wanted = DeclaredService(one["name"], asked.cluster, found.revision, True, found.count, one["service"], tags)
        services.ensure(wanted, report, check_mode=True)
        found.settings = report.differences
        found.tags = found.tags or report.before.get("tags") != report.after.get("tags")
        deployed = DeployReport()
        wish = DeployWish(found.revision, asked.force, 0, False, 0)
        Deploy(of_the_service, ContainerLogs(ecs, lambda _region: ecs), wish, deployed).start(check_mode=True)
        found.deploys = deployed.changed
        found.joins = deployed.joined or (not deployed.changed and _rolls_out(service))
        found.warnings = [*found.warnings, *deployed.warnings]
        found.problems = _builds_unnoticed(one, asked, found)
    if one["scaling"]:
        found.scaling = scalable_target.ensure(
            asked.clients("application-autoscaling"), wanted_scaling(one, asked.cluster), True
        ).changed
    if one["logs"]:
        logs = asked.clients("logs")
        days = log_group.days(one["logs"]["retention"])
        for group in one["logs"]["groups"]:
            if log_group.ensure(logs, log_group.Wanted(group, days), True).changed:
                found.log_groups.append(group)


def prepared(one: Declaration, asked: Asked) -> tuple[dict[str, Any], PinnedImages]:
    """The task definition with its images, pinned where that is wanted and they exist already."""
    refused = shape_problems(one["task"])
    if not refused:
        images = images_of(one["task"], one["images"])
        refused = problems(with_images(one["task"], images))
    if refused:
        raise OperationError("; ".join(words.rstrip(".") for words in refused) + ".")
    later = {name: image for name, image in images.items() if image in built(one, asked)}
    there = {name: image for name, image in images.items() if name not in later}
    if one["pin"] == "tag":
        result = PinnedImages(there)
    else:
        result = pinned(there, lambda image: digest_in_ecr(asked.clients("ecr", image.region), image))
    # As the containers are declared.
    result.images = {name: later.get(name) or result.images[name] for name in images}
    return with_images({key: value for key, value in one["task"].items() if key != "tags"}, result.images), result


def built(one: Declaration, asked: Asked) -> set[str]:
    """The images that do not exist before the run."""
    return {one["build"]["image"]} if asked.build and one["build"] else set()


def wanted_count(one: Declaration, *, exists: bool) -> int | None:
    """Application Auto Scaling sets the count of a service that has a scalable target."""
    if not one["scaling"]:
        count: int | None = one["count"]
        return count
    return None if exists else int(one["scaling"]["min"])


def wanted_scaling(one: Declaration, cluster: str) -> scalable_target.Wanted:
    scaling = one["scaling"]
    return scalable_target.Wanted(
        cluster, one["name"], scaling["min"], scaling["max"], scaling["suspended"], scaling["policies"]
    )


def _service(deployments: ServiceDeployments) -> dict[str, Any] | None:
    """None where there is no such service or cluster. OperationError while it is being deleted."""
    try:
        said = deployments.call("DescribeServices", services=[deployments.name])["services"]
    except RefusedError as error:
        if error.code == "ClusterNotFoundException":
            return None
        raise
    for service in said:
        refuse_draining(service)
    return next((service for service in said if service["status"] == "ACTIVE"), None)


def _refuse_other_controllers(one: Declaration) -> None:
    controller = (one["service"].get("deploymentController") or {}).get("type", "ECS")
    if controller != "ECS":
        raise OperationError(
            f"The service {one['name']} declares the deployment controller {controller}. Only ECS is supported: remove "
            "deploymentController."
        )


def _rolls_out(service: Mapping[str, Any]) -> bool:
    """Whether its primary deployment goes on, which AWS lists among the service deployments some moments later."""
    return any(
        one["status"] == "PRIMARY" and one.get("rolloutState") == "IN_PROGRESS" for one in service["deployments"]
    )


def _builds_unnoticed(one: Declaration, asked: Asked, found: ServicePlan) -> list[str]:
    """Built images that would not be deployed: they keep the tag that the service runs, so that nothing differs."""
    if found.registers or found.deploys:
        return []
    return [
        f"The new image would not be deployed: the run builds the image {image} again, and the service runs this tag "
        "already. Build it under a new tag, pin it by digest (pin=digest, for Amazon ECR alone), deploy with "
        "ecs_force=true, or run without ecs_build."
        for image in built(one, asked) & set(found.images.values())
        if one["pin"] == "tag" or not Reference.of(image).in_ecr
    ]


def _note_revision(found: ServicePlan, revision: Outcome) -> None:
    found.revision, found.registers = revision.arn, revision.registered
    found.differences = [difference.words for difference in revision.differences] if revision.compared else []
    found.tags = revision.tagged


def _findings(one: Declaration, asked: Asked, found: ServicePlan) -> list[str]:
    task = with_images(one["task"], images_of(one["task"], one["images"]))
    created = {f"log group {name}" for name in found.log_groups} | {f"image {name}" for name in built(one, asked)}
    declared: Declared = {
        "cluster": asked.cluster,
        "task": task,
        "service": one["service"],
        "desired_count": found.count,
    }
    return [*missing_variables(one), *(finding.words for finding in findings_of(declared, asked.clients, created))]


def missing_variables(one: Declaration) -> list[str]:
    """The required variables that the main container has neither in its environment nor in its secrets."""
    name = main_container(one["task"])
    container = next(found for found in one["task"]["containerDefinitions"] if found.get("name") == name)
    there = {str(pair.get("name")) for key in ("environment", "secrets") for pair in container.get(key) or []}
    missing = [variable for variable in one["required_variables"] if variable not in there]
    return [
        f"container {name}: {', '.join(missing)} is required, and neither in environment nor in secrets. Declare it."
        for _any in missing[:1]
    ]
