# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with declared services and with what is around them, before AWS is asked to change anything."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._aws.log_group import days
from .._common.progress import OperationError
from .deployer_policy import SecretsPlace
from .images import images_of
from .policy_statements import ROLE_SETTINGS, ClusterPlace, log_options_of
from .role_policies import managed_roles, path_and_name
from .scaling_policies import ALB_REQUESTS

Service = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}")
ACCOUNT = re.compile(r"[0-9]{12}")
IDENTIFIERS = {"subnets": "subnet-", "securityGroups": "sg-"}
METRICS = ("ECSServiceAverageCPUUtilization", "ECSServiceAverageMemoryUtilization", ALB_REQUESTS)
SCALING = ("min", "max", "policies", "suspended")
ACCESS = ("consumes", "publishes", "statements")
# Of all inline policies of a role, without white space.
LONGEST_POLICY = 10240


def problems(
    services: Sequence[Any],
    place: ClusterPlace,
    deployer: str = "",
    kms_keys: Sequence[str] = (),
    secrets: SecretsPlace | None = None,
    canary: str = "",
    urls_parameter: str = "",
) -> list[str]:
    """Sentences; empty where nothing is wrong."""
    found = []
    if not NAME.fullmatch(place.cluster):
        found.append(f"the cluster's name {place.cluster or '(empty)'} {_rule(place.cluster)}: correct ecs_cluster")
    if not ACCOUNT.fullmatch(place.account):
        found.append(
            f"the account is {place.account or 'not known'}: set fleet_account to its twelve digits, in quotes"
        )
    if deployer and not ROLE_NAME.fullmatch(deployer):
        found.append(f"the deployer's role {deployer} {_role_rule(deployer)}: correct ecs_deployer")
    if not place.region:
        found.append("the region is not known: set fleet_region")
    for number, service in enumerate(services, 1):
        if not isinstance(service, Mapping):
            return [*found, f"entry {number} of ecs_services is no mapping with a name: declare it as the README shows"]
        found += [f"service {service.get('name') or number}: {words}" for words in _of_service(service, place)]
    names = Counter(str(service.get("name", "")) for service in services)
    found += [
        f"{count} services are called {name}: give each its own name" for name, count in names.items() if count > 1
    ]
    found += _retentions(services)
    return found or list(_policies_too_long(services, place, deployer, kms_keys, secrets, canary, urls_parameter))


def _policies_too_long(
    services: Sequence[Service],
    place: ClusterPlace,
    deployer: str,
    kms_keys: Sequence[str],
    secrets: SecretsPlace | None,
    canary: str,
    urls_parameter: str,
) -> Iterator[str]:
    for role in managed_roles(
        services, place, deployer, kms_keys=kms_keys, secrets=secrets, canary=canary, urls_parameter=urls_parameter
    ):
        length = len(_compact(role["policy"]))
        if length > LONGEST_POLICY:
            yield (
                f"the policy of the role {role['name']} has {length} characters, and IAM takes {LONGEST_POLICY}: "
                "declare fewer services for it, or another role"
            )


def _of_service(service: Service, place: ClusterPlace) -> Iterator[str]:
    name = str(service.get("name", ""))
    if not NAME.fullmatch(name):
        yield f"its name {_rule(name)}"
    task = service.get("task") or {}
    settings = service.get("service") or {}
    for key, value in (("task", task), ("service", settings)):
        if not isinstance(value, Mapping):
            yield f"{key} is no mapping: declare it with AWS's names"
            return
    family = str(task.get("family") or "")
    if family and not NAME.fullmatch(family):
        yield f"the family {_rule(family)}"
    try:
        images_of(task, service.get("images") or {})
    except OperationError as error:
        yield str(error).removeprefix("Nothing was registered: ").rstrip(".")
    yield from _of_network(settings)
    yield from _of_count(service)
    yield from _of_roles(service, task, place)
    access = service.get("access") or {}
    for key in access if isinstance(access, Mapping) else ["(no mapping)"]:
        if key not in ACCESS:
            yield f"access has {key}, and can have {', '.join(ACCESS)}"


def _of_network(settings: Mapping[str, Any]) -> Iterator[str]:
    network = (settings.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    for key, prefix in IDENTIFIERS.items():
        if key not in network:
            continue
        listed = network[key]
        if not isinstance(listed, (list, tuple)):
            yield f"{key} is {type(listed).__name__} and not a list: declare a list of {prefix}… identifiers"
            continue
        for one in listed:
            if not str(one).startswith(prefix):
                yield f"{key} has {one}, which is no identifier {prefix}…: correct it"
    if network and not network.get("subnets"):
        yield "it has no subnets: declare networkConfiguration.awsvpcConfiguration.subnets"


def _of_count(service: Service) -> Iterator[str]:
    if service.get("count") is not None and _number(service["count"]) is None:
        yield f"count is {service['count']}, which is no number of tasks"
    scaling = service.get("scaling")
    if not scaling:
        return
    if not isinstance(scaling, Mapping):
        yield "scaling is no mapping with min and max"
        return
    yield from (f"scaling has {key}, and can have {', '.join(SCALING)}" for key in scaling if key not in SCALING)
    least, most = (_number(scaling.get(key)) for key in ("min", "max"))
    for key, number in (("min", least), ("max", most)):
        if number is None:
            yield f"scaling.{key} is {scaling.get(key, 'missing')}: set a number of tasks"
    if least is not None and most is not None and least > most:
        yield f"scaling.min {least} is above scaling.max {most}: lower one or raise the other"
    for policy in _policies(scaling.get("policies")):
        metric = policy.get("metric", "(none)")
        if metric not in METRICS:
            yield f"the scaling policy {policy.get('name')} has the metric {metric}, and can have {', '.join(METRICS)}"
        if "target_value" not in policy:
            yield f"the scaling policy {policy.get('name')} has no target_value: set the value to keep {metric} near"


def _policies(declared: Any) -> list[dict[str, Any]]:
    """Policies by name or with their names, as a list."""
    if isinstance(declared, Mapping):
        return [{"name": name, **(policy if isinstance(policy, Mapping) else {})} for name, policy in declared.items()]
    return [dict(policy) for policy in declared or [] if isinstance(policy, Mapping)]


def _of_roles(service: Service, task: Mapping[str, Any], place: ClusterPlace) -> Iterator[str]:
    for kind in service.get("roles") or []:
        if kind not in ROLE_SETTINGS:
            yield f"roles has {kind}, and can have {', '.join(ROLE_SETTINGS)}"
            continue
        setting = ROLE_SETTINGS[kind]
        arn = str(task.get(setting) or "")
        if not arn:
            yield f"roles has {kind}, and the task has no {setting}: set it to the ARN of the role to create"
            continue
        if arn.startswith("arn:") and arn.split(":")[4] != place.account:
            yield f"{setting} is of the account {arn.split(':')[4]}, and this is {place.account}: take it out of roles"
        name = path_and_name(arn)[1]
        if not ROLE_NAME.fullmatch(name):
            yield f"the role {name} of {setting} {_role_rule(name)}"


def _retentions(services: Sequence[Service]) -> Iterator[str]:
    """Log groups of several services with different retentions, and what is no retention."""
    wanted: dict[str, str] = {}
    for service in services:
        retention = (service.get("logs") or {}).get("retention")
        if retention is None:
            continue
        try:
            days(str(retention))
        except OperationError:
            yield f"service {service.get('name')}: logs.retention is {retention}: set days, such as 30, or never"
        for options in log_options_of(service):
            group = options["awslogs-group"]
            if wanted.setdefault(group, str(retention)) != str(retention):
                yield f"the log group {group} has the retentions {wanted[group]} and {retention}: declare one"


def log_groups(services: Sequence[Service], region: str) -> list[dict[str, str]]:
    """The log groups in the region, each once, with `name` and, where it is declared, `retention`."""
    found: dict[str, dict[str, str]] = {}
    for service in services:
        retention = (service.get("logs") or {}).get("retention")
        for options in log_options_of(service):
            if options.get("awslogs-region", region) != region:
                continue
            group = found.setdefault(options["awslogs-group"], {"name": options["awslogs-group"]})
            if retention is not None:
                group["retention"] = str(retention)
    return list(found.values())


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdigit() else None


def _rule(name: str) -> str:
    return f"has {len(name)} characters, and AWS takes 1 to 255 of A-Z a-z 0-9 _ -"


def _role_rule(name: str) -> str:
    return f"has {len(name)} characters, and IAM takes 1 to 64 of A-Z a-z 0-9 +=,.@_-"


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
