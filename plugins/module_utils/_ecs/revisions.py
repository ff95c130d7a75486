# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The revisions of a task definition: the running one, a new one where the declaration differs, and old ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._aws.tags import ours_of, recorded
from .._common.progress import OperationError
from .defaults import Definition, tidy
from .limits import fargate_choices
from .tags import as_pairs, change_tags
from .task_definition import Difference, differences, shown_pair
from .usage import refuse_failures, used_revisions

UNKNOWN = re.compile(r"unable to describe|does not exist|not found", re.I)
NO_SUCH_SIZE = re.compile(r"no fargate configuration exists|invalid .*cpu.*memory|cpu.*memory.*combination", re.I)


@dataclass(frozen=True)
class Revision:
    """A registered revision; definition is as DescribeTaskDefinition returns it."""

    arn: str
    family: str
    number: int
    definition: Definition
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """definition is complete, with its images; tags None leaves tags alone.

    service and cluster are "" where no service runs it. keep None deregisters nothing; clusters are those in which a
    revision may be in use, none for all.
    """

    definition: Definition
    tags: Mapping[str, str] | None = None
    cluster: str = ""
    service: str = ""
    keep: int | None = None
    clusters: Sequence[str] = ()


@dataclass
class Outcome:
    """arn is "" and revision 0 where check mode would register one; compared is the ARN of what was compared with."""

    arn: str = ""
    revision: int = 0
    compared: str = ""
    registered: bool = False
    tagged: bool = False
    deregistered: list[str] = field(default_factory=list)
    in_use: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return self.registered or self.tagged or bool(self.deregistered)


def ensure(ecs: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Register a revision if the declaration differs from the running one and from the newest one.

    The newest one counts too, so that a run that was interrupted between registering and deploying registers no second.
    """
    family = str(wanted.definition["family"])
    tags = wanted.tags is not None
    running = running_revision(ecs, wanted.cluster, wanted.service, tags=tags) if wanted.service else None
    compared = running or newest_revision(ecs, family, tags=tags)
    outcome = Outcome(compared=compared.arn if compared else "")
    outcome.differences = differences(compared.definition if compared else {}, wanted.definition)
    current = compared
    if outcome.differences:
        newest = newest_revision(ecs, family, tags=tags) if running else None
        current = newest if newest and not differences(newest.definition, wanted.definition) else None
    outcome.before, outcome.after = _shown(wanted, compared, current)
    if current:
        outcome.arn, outcome.revision = current.arn, current.number
        outcome.tagged = _change_tags(ecs, current, wanted.tags, check_mode)
    else:
        outcome.registered = True
        if not check_mode:
            _register(ecs, wanted, outcome)
    if wanted.keep is not None:
        kept_anyway = {arn for arn in (outcome.arn, outcome.compared) if arn}
        _deregister_old(ecs, family, wanted, outcome, kept_anyway, check_mode)
    return outcome


def remove(ecs: Api, family: str, clusters: Sequence[str], check_mode: bool) -> Outcome:
    """Deregister all ACTIVE revisions of the family; refused while one of them is in use."""
    arns = active_revisions(ecs, family)
    outcome = Outcome(deregistered=arns)
    if not arns:
        return outcome
    used = used_revisions(ecs, family, clusters)
    users = [f"{arn.rpartition('/')[2]} by {used[arn]}" for arn in arns if arn in used]
    if users:
        raise OperationError(
            f"Nothing was deregistered: revisions of {family} are in use, {', '.join(users)}. Delete the service or "
            "stop the task first."
        )
    outcome.before = {"family": family, "revisions": [arn.rpartition(":")[2] for arn in arns]}
    if not check_mode:
        _deregister(ecs, arns)
    return outcome


def running_revision(ecs: Api, cluster: str, service: str, *, tags: bool) -> Revision | None:
    """That of the service's primary deployment; None where there is no such cluster or service."""
    about = f"the service {service} of the cluster {cluster}"
    try:
        said = ecs.call("DescribeServices", about, cluster=cluster, services=[service])
    except RefusedError as error:
        if error.code == "ClusterNotFoundException":
            return None
        raise
    refuse_failures(said, about)
    found = [found for found in said["services"] if found.get("status") != "INACTIVE"]
    arn = primary_task_definition(found[0]) if found else ""
    return _described(ecs, arn, tags=tags) if arn else None


def primary_task_definition(service: Mapping[str, Any]) -> str:
    """Of a described service: what its newest deployment or task set runs."""
    parts = [*service.get("deployments", []), *service.get("taskSets", [])]
    primary = [part["taskDefinition"] for part in parts if part.get("status") == "PRIMARY" and "taskDefinition" in part]
    return str(primary[0] if primary else service.get("taskDefinition", ""))


def newest_revision(ecs: Api, family: str, *, tags: bool) -> Revision | None:
    """The newest ACTIVE revision of the family."""
    try:
        found = _described(ecs, family, tags=tags)
    except RefusedError as error:
        if error.code == "ClientException" and UNKNOWN.search(error.said):
            return None
        raise
    return found if found.definition.get("status") == "ACTIVE" else None


def active_revisions(ecs: Api, family: str) -> list[str]:
    """The ARNs of the family's ACTIVE revisions, from the newest."""
    about = f"the task definitions of the family {family}"
    arns = ecs.pages("ListTaskDefinitions", about, "taskDefinitionArns", familyPrefix=family, status="ACTIVE")
    own = [str(arn) for arn in arns if str(arn).rpartition("/")[2].rpartition(":")[0] == family]
    return sorted(own, key=lambda arn: int(arn.rpartition(":")[2]), reverse=True)


def _described(ecs: Api, name: str, *, tags: bool) -> Revision:
    include = {"include": ["TAGS"]} if tags else {}
    said = ecs.call("DescribeTaskDefinition", f"the task definition {name}", taskDefinition=name, **include)
    found = said["taskDefinition"]
    pairs = {tag["key"]: tag.get("value", "") for tag in said.get("tags", [])}
    return Revision(found["taskDefinitionArn"], found["family"], found["revision"], found, pairs)


def _shown(
    wanted: Wanted, compared: Revision | None, current: Revision | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """For the diff. Tags are those of the revision that stays, else of the one that was compared with."""
    before, after = shown_pair(compared.definition if compared else {}, wanted.definition)
    tagged = current or compared
    if wanted.tags is not None:
        before = {**before, "tags": ours_of(tagged.tags, wanted.tags)} if tagged else before
        after = {**after, "tags": recorded(wanted.tags)}
    return before, after


def _register(ecs: Api, wanted: Wanted, outcome: Outcome) -> None:
    family = wanted.definition["family"]
    tags = as_pairs(recorded(wanted.tags or {}))
    try:
        said = ecs.call(
            "RegisterTaskDefinition",
            f"the task definition {family}",
            **tidy(wanted.definition),
            **({"tags": tags} if tags else {}),
        )["taskDefinition"]
    except RefusedError as error:
        if NO_SUCH_SIZE.search(error.said):
            raise OperationError(f"{error} Sizes of tasks on Fargate are {fargate_choices()}.") from None
        raise
    outcome.arn, outcome.revision = said["taskDefinitionArn"], said["revision"]
    added = differences(wanted.definition, said)
    if added:
        words = "; ".join(difference.words for difference in added)
        outcome.warnings.append(
            f"AWS registered {family}:{outcome.revision} otherwise than declared, so that the next run would register "
            f"it again. Declare what AWS has (before → after): {words}."
        )


def _change_tags(ecs: Api, revision: Revision, wanted: Mapping[str, str] | None, check_mode: bool) -> bool:
    """In place, because other tags need no new revision. Returns whether they differ."""
    if wanted is None:
        return False
    found = ours_of(revision.tags, wanted)
    if found == recorded(wanted):
        return False
    if not check_mode:
        about = f"the task definition {revision.family}:{revision.number}"
        change_tags(ecs, revision.arn, found, wanted, about)
    return True


def surplus(arns: Sequence[str], keep: int, kept_anyway: set[str], *, one_more: bool) -> list[str]:
    """Of ACTIVE revisions from the newest, those beyond the number to keep; one_more: a newer one is still to come."""
    beyond = arns[max(keep - 1 if one_more else keep, 0) :]
    return [arn for arn in beyond if arn not in kept_anyway]


def _deregister_old(
    ecs: Api, family: str, wanted: Wanted, outcome: Outcome, kept_anyway: set[str], check_mode: bool
) -> None:
    """An unanswered question leaves the revisions as they are, with a warning: they cost nothing."""
    try:
        arns = active_revisions(ecs, family)
        one_more = check_mode and outcome.registered
        old = surplus(arns, wanted.keep or 1, kept_anyway, one_more=one_more)
        used = used_revisions(ecs, family, wanted.clusters) if old else {}
        outcome.in_use = {arn: used[arn] for arn in old if arn in used}
        unused = [arn for arn in old if arn not in used]
        if not check_mode:
            for arn in unused:
                _deregister(ecs, [arn])
                outcome.deregistered.append(arn)
        else:
            outcome.deregistered = unused
    except OperationError as error:
        outcome.warnings.append(f"Not all old revisions of {family} were deregistered: {error}")


def _deregister(ecs: Api, arns: Sequence[str]) -> None:
    for arn in arns:
        ecs.call("DeregisterTaskDefinition", f"the task definition {arn.rpartition('/')[2]}", taskDefinition=arn)
