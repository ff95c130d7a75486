# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tags that this collection sets. One more tag on the resource distinguishes them from tags of others.

The tag RECORD has a digest of each tag that was set. A tag is removed only if its key and its value are recorded, so
a tag that another tool set or changed stays. Digests of 50 tags, the most that AWS takes, fit into the 256 characters
of a value; their names would not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from .._common.progress import OperationError
from .api import Api
from .pairs import as_pairs, declared

RECORD = "evenkeel:tags"
DIGEST = 5
MOST = 49


def recorded(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with their record; nothing where there are none."""
    if len(tags) > MOST:
        raise OperationError(
            f"Nothing was changed: {len(tags)} tags are declared, and AWS takes {MOST} beside {RECORD}. Declare fewer "
            "tags."
        )
    return {**tags, RECORD: "".join(sorted(map(_digest, tags.items())))} if tags else {}


def obsolete(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The keys of the tags that the record of the resource has and that are no longer wanted."""
    record = found.get(RECORD, "")
    ours = {record[start : start + DIGEST] for start in range(0, len(record), DIGEST)}
    keys = {key for key, value in found.items() if _digest((key, value)) in ours}
    if RECORD in found:
        keys.add(RECORD)
    return sorted(keys - set(recorded(wanted)), key=lambda key: (key.lower(), key))


def ours_of(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Of the tags of a resource, those that are wanted, recorded or obsolete: what a run may change."""
    return declared(found, {**recorded(wanted), **dict.fromkeys(obsolete(found, wanted), "")})


def _digest(tag: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(json.dumps(tag).encode()).digest()).decode()[:DIGEST]


def change_tags(elb: Api, arn: str, before: Mapping[str, str], wanted: Mapping[str, str], about: str) -> None:
    """Of a target group or a load balancer. `before` is what `ours_of` found."""
    gone = obsolete(before, wanted)
    # Before the new record, which no longer has them.
    if gone:
        elb.call("RemoveTags", about, ResourceArns=[arn], TagKeys=gone)
    if wanted and before != recorded(wanted):
        elb.call("AddTags", about, ResourceArns=[arn], Tags=as_pairs(recorded(wanted)))
