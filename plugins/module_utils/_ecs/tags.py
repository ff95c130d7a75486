# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of services and task definitions, which ECS has as lists of key and value."""

from __future__ import annotations

from collections.abc import Mapping

from .._aws.api import Api
from .._aws.tags import obsolete, recorded


def as_pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def change_tags(ecs: Api, arn: str, before: Mapping[str, str], wanted: Mapping[str, str], about: str) -> None:
    """`before` are the tags of the resource, all or those that `ours_of` found."""
    gone = obsolete(before, wanted)
    # Before the new record, which no longer has them.
    if gone:
        ecs.call("UntagResource", about, resourceArn=arn, tagKeys=gone)
    if wanted:
        ecs.call("TagResource", about, resourceArn=arn, tags=as_pairs(recorded(wanted)))
