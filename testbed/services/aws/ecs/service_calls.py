# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls about services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from moto.elbv2.models import elbv2_backends

from ..query import RefusedError
from . import described
from .outcomes import DEPLOYED
from .state import Service
from .world import World, check_launch, check_network, invalid, page

STRATEGIES = ("ROLLING", "BLUE_GREEN", "LINEAR", "CANARY")
BREAKER = {"enable": False, "rollback": False}
BREAKER_THRESHOLD = {"resetOnHealthyTask": True, "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50}}
CONFIGURATION = {
    "deploymentCircuitBreaker": BREAKER,
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}
DEFAULTS: dict[str, Any] = {
    "loadBalancers": [],
    "serviceRegistries": [],
    "placementConstraints": [],
    "placementStrategy": [],
    "healthCheckGracePeriodSeconds": 0,
    "schedulingStrategy": "REPLICA",
    "deploymentController": {"type": "ECS"},
    "enableECSManagedTags": False,
    "propagateTags": "NONE",
    "enableExecuteCommand": False,
    "availabilityZoneRebalancing": "ENABLED",
}
# Settings that a caller may declare, and those of them that an update may change.
UPDATED = (
    "taskDefinition",
    "capacityProviderStrategy",
    "availabilityZoneRebalancing",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "healthCheckGracePeriodSeconds",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "loadBalancers",
    "propagateTags",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
)
DECLARED = (*UPDATED, "launchType", "schedulingStrategy", "deploymentController")


def configuration(given: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """A deploymentConfiguration over the present one, or over the defaults. RefusedError for what AWS refuses."""
    merged = {**present, **given}
    switch = {**BREAKER, **merged["deploymentCircuitBreaker"]}
    merged["deploymentCircuitBreaker"] = {**BREAKER_THRESHOLD, **switch} if switch["enable"] else switch
    if merged["strategy"] not in STRATEGIES:
        raise invalid(f"Invalid deployment strategy: {merged['strategy']}")
    if not 0 <= merged["minimumHealthyPercent"] <= 100:
        raise invalid("minimumHealthyPercent must be between 0 and 100.")
    if merged["maximumPercent"] < 100 or merged["maximumPercent"] <= merged["minimumHealthyPercent"] - 1:
        raise invalid("maximumPercent must be at least 100 and must not be less than minimumHealthyPercent.")
    return merged


def network(given: Mapping[str, Any]) -> dict[str, Any]:
    part = given["awsvpcConfiguration"]
    return {"awsvpcConfiguration": {"securityGroups": [], "assignPublicIp": "DISABLED", **part}}


def same(name: str, left: Any, right: Any) -> bool:
    """Whether two values of a setting are equal to AWS. The order of subnets and security groups has no meaning."""
    if name == "networkConfiguration" and left and right:
        return all(
            sorted(left["awsvpcConfiguration"][key]) == sorted(right["awsvpcConfiguration"][key])
            for key in ("subnets", "securityGroups", "assignPublicIp")
        )
    return bool((left or None) == (right or None))


class ServiceCalls:
    def __init__(self, world: World, account: str, region: str) -> None:
        self._world = world
        self._load_balancers = elbv2_backends[account][region]

    def create_service(self, given: Mapping[str, Any]) -> dict[str, Any]:
        world = self._world
        cluster = world.cluster(given)
        name = given["serviceName"]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name):
            raise invalid("Invalid service name.")
        present = world.service(given, name)
        if present and present.status == "ACTIVE":
            raise invalid("Creation of service was not idempotent.")
        if present and present.status == "DRAINING":
            raise invalid("Unable to Start a service that is still Draining.")
        if given.get("schedulingStrategy", "REPLICA") == "REPLICA" and "desiredCount" not in given:
            raise invalid("desiredCount is required for the REPLICA scheduling strategy.")
        definition = world.runnable(given["taskDefinition"])
        settings = {**DEFAULTS, **{key: given[key] for key in DECLARED if key in given}}
        settings["taskDefinition"] = definition["taskDefinitionArn"]
        settings["deploymentConfiguration"] = configuration(given.get("deploymentConfiguration", {}), CONFIGURATION)
        self._complete(settings)
        self._check(settings, definition)
        service = world.engine.create(cluster, name, given.get("desiredCount", 0), settings, world.now)
        service.created_by = world.caller
        service.tags = list(given.get("tags", []))
        return {"service": described.service(world.engine, service, tags=True)}

    def update_service(self, given: Mapping[str, Any]) -> dict[str, Any]:
        world = self._world
        service = world.active_service(given)
        changed = {key: given[key] for key in UPDATED if key in given}
        settings = {**service.settings, **changed}
        if "taskDefinition" in given:
            settings["taskDefinition"] = world.runnable(given["taskDefinition"])["taskDefinitionArn"]
        if "capacityProviderStrategy" in given:
            settings.pop("launchType", None)
            name = "capacityProviderStrategy"
            if not same(name, given[name], service.settings.get(name)) and not given.get("forceNewDeployment"):
                raise invalid(
                    "When switching from launch type to capacity provider strategy on an existing service, or making "
                    "a change to a capacity provider strategy on a service that is already using one, you must force "
                    "a new deployment."
                )
        settings["deploymentConfiguration"] = configuration(
            given.get("deploymentConfiguration", {}), service.settings["deploymentConfiguration"]
        )
        definition = world.definition(settings["taskDefinition"])
        self._complete(settings)
        self._check(settings, definition or {})
        different = [key for key in DEPLOYED if not same(key, settings.get(key), service.settings.get(key))]
        service.settings = settings
        if "desiredCount" in given and given["desiredCount"] != service.desired:
            service.desired, service.steady = given["desiredCount"], False
        if different or given.get("forceNewDeployment"):
            world.engine.deploy(service, world.now)
        return {"service": described.service(world.engine, service, tags=True)}

    def delete_service(self, given: Mapping[str, Any]) -> dict[str, Any]:
        service = self._world.service(given)
        if not service:
            raise RefusedError("ServiceNotFound", "Service not found.")
        if service.status != "ACTIVE":
            raise RefusedError("ServiceNotActive", "Service was not ACTIVE.")
        if service.desired and not given.get("force"):
            raise invalid("The service cannot be stopped while it is scaled above 0.")
        self._world.engine.delete(service, self._world.now)
        return {"service": described.service(self._world.engine, service)}

    def describe_services(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not given["services"]:
            raise invalid("Services cannot be empty.")
        if len(given["services"]) > 10:
            raise invalid("services can have at most 10 items.")
        cluster = self._world.cluster(given)
        tags = "TAGS" in given.get("include", [])
        found, failures = [], []
        for name in given["services"]:
            service = self._world.service(given, name)
            if service:
                found.append(described.service(self._world.engine, service, tags=tags))
            else:
                path = f"{cluster.rpartition('/')[2]}/{name.rpartition('/')[2]}"
                failures.append({"arn": f"{self._world.engine.prefix}:service/{path}", "reason": "MISSING"})
        return {"services": found, "failures": failures}

    def list_services(self, given: Mapping[str, Any]) -> dict[str, Any]:
        cluster = self._world.cluster(given)
        found = [
            service.arn
            for service in self._world.engine.services.values()
            if service.cluster == cluster
            and service.status != "INACTIVE"
            and _matches(service, given, ("launchType", "schedulingStrategy"))
        ]
        return page("serviceArns", found, given, 10)

    def _complete(self, settings: dict[str, Any]) -> None:
        if "networkConfiguration" in settings:
            settings["networkConfiguration"] = network(settings["networkConfiguration"])
        providers = settings.get("capacityProviderStrategy")
        if not providers:
            settings.setdefault("launchType", "EC2")
        if providers or settings["launchType"] == "FARGATE":
            settings.setdefault("platformVersion", "LATEST")
            settings.setdefault("platformFamily", "Linux")

    def _check(self, settings: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
        check_launch(definition, settings)
        check_network(definition, settings)
        containers = {item["name"]: item for item in definition["containerDefinitions"]}
        for balancer in settings["loadBalancers"]:
            container, port = balancer.get("containerName"), balancer.get("containerPort")
            if container not in containers:
                raise invalid(f"The container {container} does not exist in the task definition.")
            if port not in [mapping["containerPort"] for mapping in containers[container]["portMappings"]]:
                raise invalid(f"The container {container} did not have a container port {port} defined.")
            group = balancer.get("targetGroupArn")
            if group and group not in self._load_balancers.target_groups:
                raise invalid("The specified target group does not exist.")


def _matches(service: Service, given: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(given.get(name) in (None, service.settings.get(name)) for name in names)
