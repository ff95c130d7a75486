# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services, deployments, revisions and tasks in the shapes of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .deployments import Engine
from .state import Deployment, Revision, Service, Task

# A stage that hooks can name, and that DescribeServiceDeployments has no word for.
TOLD = {"PRE_PRODUCTION_TRAFFIC_SHIFT": "PRODUCTION_TRAFFIC_SHIFT"}
ROLLOUT = ("launchType", "platformVersion", "platformFamily", "capacityProviderStrategy", "networkConfiguration")


def filled(content: Mapping[str, Any]) -> dict[str, Any]:
    """Without what there is not."""
    return {name: value for name, value in content.items() if value not in (None, "")}


def service(engine: Engine, item: Service, *, tags: bool = False) -> dict[str, Any]:
    listed = [_rollout(engine, item, revision) for revision in item.listed]
    current = item.current or (item.deployments[0] if item.deployments else None)
    return filled(
        {
            **item.settings,
            "serviceArn": item.arn,
            "serviceName": item.name,
            "clusterArn": item.cluster,
            "status": item.status,
            "desiredCount": item.desired,
            "runningCount": sum(entry["runningCount"] for entry in listed),
            "pendingCount": sum(entry["pendingCount"] for entry in listed),
            "deployments": listed,
            "events": list(item.events),
            "createdAt": item.created,
            "createdBy": item.created_by,
            "currentServiceDeployment": current.arn if current else None,
            "currentServiceRevisions": [
                _summary(revision, engine.live_counts(item, revision), staged=False) for revision in item.listed
            ],
            "tags": item.tags if tags else None,
        }
    )


def _rollout(engine: Engine, item: Service, revision: Revision) -> dict[str, Any]:
    wanted, running, pending = engine.live_counts(item, revision)
    kept = {name: revision.settings[name] for name in ROLLOUT if name in revision.settings}
    return filled(
        {
            **kept,
            "id": revision.deployment_id,
            "status": revision.status,
            "taskDefinition": revision.definition_arn,
            "desiredCount": wanted,
            "pendingCount": pending,
            "runningCount": running,
            "failedTasks": revision.failed_tasks,
            "createdAt": revision.created,
            "updatedAt": revision.updated,
            "rolloutState": revision.rollout_state,
            "rolloutStateReason": revision.rollout_reason,
        }
    )


def _summary(revision: Revision, counts: tuple[int, int, int], *, staged: bool) -> dict[str, Any]:
    requested, running, pending = counts
    content: dict[str, Any] = {
        "arn": revision.arn,
        "requestedTaskCount": requested,
        "runningTaskCount": running,
        "pendingTaskCount": pending,
    }
    if staged:
        content["requestedTestTrafficWeight"] = revision.test_weight
        content["requestedProductionTrafficWeight"] = revision.weight
    return content


def brief(item: Service, deployment: Deployment) -> dict[str, Any]:
    return filled(
        {
            "serviceDeploymentArn": deployment.arn,
            "serviceArn": item.arn,
            "clusterArn": item.cluster,
            "createdAt": deployment.created,
            "startedAt": deployment.started,
            "finishedAt": deployment.finished,
            "targetServiceRevisionArn": deployment.target.arn,
            "status": deployment.status,
            "statusReason": deployment.reason,
        }
    )


def deployment(engine: Engine, item: Service, made: Deployment) -> dict[str, Any]:
    staged = made.configuration["strategy"] != "ROLLING"

    def counted(revision: Revision) -> dict[str, Any]:
        ended = not made.unfinished or made.status == "PENDING"
        counts = made.final.get(revision.id) if ended else None
        return _summary(revision, counts or engine.live_counts(item, revision), staged=staged)

    content = brief(item, made)
    del content["targetServiceRevisionArn"]
    return filled(
        {
            **content,
            "updatedAt": made.updated,
            "stoppedAt": made.stopped,
            "sourceServiceRevisions": [counted(revision) for revision in made.sources],
            "targetServiceRevision": counted(made.target),
            "lifecycleStage": TOLD.get(made.stage, made.stage),
            "lifecycleHookDetails": [_hook(hook) for hook in made.hooks] or None,
            "deploymentConfiguration": made.configuration,
            "rollback": made.rollback or None,
            "deploymentCircuitBreaker": {
                "status": made.breaker_status,
                "failureCount": made.failures,
                "threshold": made.threshold,
            },
            "alarms": {
                "status": made.alarm_status,
                "alarmNames": made.configuration.get("alarms", {}).get("alarmNames", []),
                "triggeredAlarmNames": made.triggered,
            },
        }
    )


def _hook(hook: Any) -> dict[str, Any]:
    timeout = hook.hook.get("timeoutConfiguration", {})
    return filled(
        {
            "hookId": hook.id,
            "targetType": hook.hook.get("targetType", "AWS_LAMBDA"),
            "targetArn": hook.hook.get("hookTargetArn"),
            "status": hook.status,
            "expiresAt": hook.expires,
            "timeoutAction": timeout.get("action", "ROLLBACK"),
        }
    )


def revision(item: Service, made: Revision, definition: Mapping[str, Any]) -> dict[str, Any]:
    images = [
        filled({"containerName": part["name"], "image": part["image"], "imageDigest": made.digests.get(part["name"])})
        for part in definition["containerDefinitions"]
    ]
    return {
        **made.settings,
        "serviceRevisionArn": made.arn,
        "serviceArn": item.arn,
        "clusterArn": item.cluster,
        "taskDefinition": made.definition_arn,
        "containerImages": images,
        "guardDutyEnabled": False,
        "createdAt": made.created,
    }


def task(item: Task, *, tags: bool = False) -> dict[str, Any]:
    providers = item.options.get("capacityProviderStrategy", [])
    provided = any(provider["capacityProvider"].startswith("FARGATE") for provider in providers)
    fargate = provided or item.options.get("launchType") == "FARGATE"
    return filled(
        {
            "taskArn": item.arn,
            "clusterArn": item.cluster,
            "taskDefinitionArn": item.definition_arn,
            "group": item.group,
            "startedBy": item.started_by,
            "lastStatus": item.last_status,
            "desiredStatus": item.desired_status,
            "healthStatus": item.health,
            "connectivity": "CONNECTED" if item.started_by_agent else None,
            "containers": [_container(item, number) for number in range(len(item.containers))],
            "attachments": _attachments(item),
            "attributes": [],
            "cpu": item.definition.get("cpu"),
            "memory": item.definition.get("memory"),
            "launchType": "FARGATE" if fargate else item.options.get("launchType", "EC2"),
            "capacityProviderName": providers[0]["capacityProvider"] if providers else None,
            "platformVersion": "1.4.0" if fargate else None,
            "platformFamily": "Linux" if fargate else None,
            "enableExecuteCommand": item.options.get("enableExecuteCommand", False),
            "overrides": {"containerOverrides": [], **item.options.get("overrides", {})},
            "createdAt": item.created,
            "startedAt": item.started,
            "stoppingAt": item.stopping,
            "stoppedAt": item.stopped,
            "executionStoppedAt": item.stopped,
            "stopCode": item.stop_code,
            "stoppedReason": item.stopped_reason,
            "tags": item.options.get("tags", []) if tags else None,
            "version": item.version,
        }
    )


def _container(item: Task, number: int) -> dict[str, Any]:
    container = item.containers[number]
    definition = item.definition["containerDefinitions"][number]
    report = container.report
    content = filled(
        {
            "containerArn": container.arn,
            "taskArn": item.arn,
            "name": container.name,
            "image": container.image,
            "imageDigest": report.image_digest,
            "runtimeId": report.runtime_id,
            "lastStatus": report.status,
            "exitCode": report.exit_code,
            "reason": report.reason,
            "healthStatus": report.health,
            "cpu": str(definition.get("cpu", 0)),
            "memory": str(definition["memory"]) if "memory" in definition else None,
            "networkInterfaces": [{"attachmentId": _attachment_id(item), "privateIpv4Address": item.address}]
            if item.address
            else [],
        }
    )
    if item.options.get("enableExecuteCommand"):
        status = report.status if report.status != "RUNNING" or item.started is not None else "PENDING"
        agent = {"name": "ExecuteCommandAgent", "lastStatus": status, "lastStartedAt": item.started}
        content["managedAgents"] = [filled(agent)]
    return content


def _attachment_id(item: Task) -> str:
    text = item.id
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _attachments(item: Task) -> list[dict[str, Any]]:
    network = item.options.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if not network:
        return []
    status = {"PROVISIONING": "PRECREATED", "STOPPED": "DELETED"}.get(item.last_status, "ATTACHED")
    details = {"subnetId": network["subnets"][0], "networkInterfaceId": f"eni-{item.id[:17]}"}
    if item.address:
        details["privateIPv4Address"] = item.address
    listed = [{"name": name, "value": value} for name, value in details.items()]
    return [{"id": _attachment_id(item), "type": "ElasticNetworkInterface", "status": status, "details": listed}]
