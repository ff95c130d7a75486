# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared log group of CloudWatch Logs. Its logs go only where the group itself is declared absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError
from .tags import obsolete, ours_of, recorded

STANDARD = "STANDARD"
NEVER = "never"
# To explain a refusal; AWS decides (CloudWatch Logs API Reference, PutRetentionPolicy).
DAYS = "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 and 3653"


@dataclass(frozen=True)
class Wanted:
    """retention is in days or NEVER; kms_key is an ARN, or "" for none. None leaves a setting as it is."""

    name: str
    retention: int | str | None = None
    kms_key: str | None = None
    log_class: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass
class Outcome:
    """arn is "" where there is no group; before and after are its declared settings."""

    arn: str = ""
    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def days(retention: str | None) -> int | str | None:
    """The days of the option; OperationError for what is neither a number nor NEVER."""
    if retention is None:
        return None
    value = retention.strip().lower()
    if value == NEVER:
        return NEVER
    if not value.isdigit() or int(value) == 0:
        raise OperationError(
            f"Nothing was changed: the retention {retention} is no number of days. Set days, such as 30, or {NEVER}, "
            "which keeps the logs for ever."
        )
    return int(value)


def ensure(logs: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Create the group or change what differs. The next call completes an interrupted one."""
    about = f"the log group {wanted.name}"
    found = find(logs, wanted.name)
    outcome = Outcome(_arn(found), after=_declared(wanted))
    if found:
        outcome.before = _look(logs, wanted, found, about)
        _refuse_another_class(wanted, found)
    outcome.changed = not found or outcome.before != outcome.after
    if check_mode or not outcome.changed:
        return outcome
    if not found:
        _create(logs, wanted, about)
        outcome.arn = _arn(find(logs, wanted.name))
        new = {key: value for key, value in outcome.after.items() if key == "retention"}
        _change(logs, wanted, outcome.arn, {}, new, about)
    else:
        _change(logs, wanted, outcome.arn, outcome.before, outcome.after, about)
    return outcome


def remove(logs: Api, name: str, check_mode: bool) -> Outcome:
    """Delete the group with its logs."""
    found = find(logs, name)
    if not found:
        return Outcome()
    if not check_mode:
        logs.call("DeleteLogGroup", f"the log group {name}", logGroupName=name)
    return Outcome(_arn(found), True, before={"name": name, "stored_bytes": found.get("storedBytes", 0)})


def find(logs: Api, name: str) -> dict[str, Any]:
    """The group of exactly this name; empty where there is none."""
    listed = logs.pages("DescribeLogGroups", f"the log group {name}", "logGroups", logGroupNamePrefix=name)
    return next((dict(group) for group in listed if group["logGroupName"] == name), {})


def _arn(found: Mapping[str, Any]) -> str:
    """Without the :* of its streams, as tags are asked for."""
    return str(found.get("logGroupArn") or found.get("arn", "")).removesuffix(":*")


def _refuse_another_class(wanted: Wanted, found: Mapping[str, Any]) -> None:
    existing = found.get("logGroupClass", STANDARD)
    if wanted.log_class and wanted.log_class != existing:
        raise OperationError(
            f"Nothing was changed: the log group {wanted.name} is of the class {existing}, and AWS can't make it "
            f"{wanted.log_class}. Declare {existing}, or create a group with another name."
        )


def _create(logs: Api, wanted: Wanted, about: str) -> None:
    arguments: dict[str, Any] = {"logGroupName": wanted.name}
    if wanted.kms_key:
        arguments["kmsKeyId"] = wanted.kms_key
    if wanted.log_class:
        arguments["logGroupClass"] = wanted.log_class
    if wanted.tags:
        arguments["tags"] = recorded(wanted.tags)
    logs.call("CreateLogGroup", about, **arguments)


def _change(
    logs: Api, wanted: Wanted, arn: str, before: Mapping[str, Any], after: Mapping[str, Any], about: str
) -> None:
    differing = {key for key in after if before.get(key) != after[key]}
    named = {"logGroupName": wanted.name}
    if "kms_key" in differing:
        if wanted.kms_key:
            logs.call("AssociateKmsKey", about, **named, kmsKeyId=wanted.kms_key)
        else:
            logs.call("DisassociateKmsKey", about, **named)
    if "tags" in differing and wanted.tags is not None:
        gone = obsolete(before["tags"], wanted.tags)
        # Before the new record, which no longer has them.
        if gone:
            logs.call("UntagResource", about, resourceArn=arn, tagKeys=gone)
        if wanted.tags:
            logs.call("TagResource", about, resourceArn=arn, tags=recorded(wanted.tags))
    if "retention" in differing:
        _set_retention(logs, wanted, before.get("retention", NEVER), about)


def _set_retention(logs: Api, wanted: Wanted, before: int | str, about: str) -> None:
    named = {"logGroupName": wanted.name}
    if wanted.retention == NEVER:
        if before != NEVER:
            logs.call("DeleteRetentionPolicy", about, **named)
        return
    try:
        logs.call("PutRetentionPolicy", about, **named, retentionInDays=wanted.retention)
    except RefusedError as error:
        if error.code != "InvalidParameterException":
            raise
        kept = "for ever" if before == NEVER else f"for {before} days"
        raise OperationError(
            f"AWS does not take a retention of {wanted.retention} days for the log group {wanted.name}: {error.said} "
            f"Its logs are kept {kept}, as before. Known to be taken are {DAYS}, and {NEVER}."
        ) from None


def _declared(wanted: Wanted) -> dict[str, Any]:
    settings = {
        "retention": wanted.retention,
        "kms_key": wanted.kms_key,
        "class": wanted.log_class,
        "tags": None if wanted.tags is None else recorded(wanted.tags),
    }
    return {key: value for key, value in settings.items() if value is not None}


def _look(logs: Api, wanted: Wanted, found: Mapping[str, Any], about: str) -> dict[str, Any]:
    """The group in the shape of its declaration, without what is not declared."""
    settings: dict[str, Any] = {
        "retention": found.get("retentionInDays", NEVER),
        "kms_key": found.get("kmsKeyId", ""),
        "class": found.get("logGroupClass", STANDARD),
    }
    if wanted.tags is not None:
        tags = logs.call("ListTagsForResource", about, resourceArn=_arn(found)).get("tags", {})
        settings["tags"] = ours_of(tags, wanted.tags)
    return {key: settings[key] for key in _declared(wanted)}
