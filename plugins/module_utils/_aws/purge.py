# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Obsolete tags of resources that other collections' modules create: roles, instance profiles, topics and queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .api import Api, RefusedError
from .pairs import as_dict
from .tags import obsolete

NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
MISSING = ("NoSuchEntity", "NotFound", "NotFoundException", "ResourceNotFound", "ResourceNotFoundException")


@dataclass(frozen=True)
class Resource:
    """The operations that list and remove its tags, and their name for the resource."""

    api: Api
    about: str
    looks: str
    removes: str
    named: Mapping[str, str]

    def purge(self, wanted: Mapping[str, str], check_mode: bool) -> dict[str, str]:
        """Remove its tags that were declared before and no longer are; returns them. A missing resource has none."""
        try:
            said = self.api.call(self.looks, self.about, **self.named)
        except RefusedError as error:
            if error.code in MISSING:
                return {}
            raise
        tags = said.get("InstanceProfile", said).get("Tags", [])
        # Those of a queue are no pairs.
        found = dict(tags) if isinstance(tags, Mapping) else as_dict(tags)
        gone = {key: found[key] for key in obsolete(found, wanted)}
        if gone and not check_mode:
            self.api.call(self.removes, self.about, **self.named, TagKeys=list(gone))
        return gone


def role(iam: Api, name: str) -> Resource:
    return Resource(iam, f"the role {name}", "ListRoleTags", "UntagRole", {"RoleName": name})


def instance_profile(iam: Api, name: str) -> Resource:
    about = f"the instance profile {name}"
    return Resource(iam, about, "GetInstanceProfile", "UntagInstanceProfile", {"InstanceProfileName": name})


def topic(sns: Api, name: str) -> Resource | None:
    """None where there is no topic of this name."""
    listed: list[dict[str, Any]] = list(sns.pages("ListTopics", "the topics", "Topics"))
    arn = next((found["TopicArn"] for found in listed if found["TopicArn"].endswith(f":{name}")), "")
    if not arn:
        return None
    return Resource(sns, f"the topic {name}", "ListTagsForResource", "UntagResource", {"ResourceArn": arn})


def queue(sqs: Api, name: str) -> Resource | None:
    """None where there is no queue of this name."""
    about = f"the queue {name}"
    url = queue_url(sqs, name)
    return Resource(sqs, about, "ListQueueTags", "UntagQueue", {"QueueUrl": url}) if url else None


def queue_url(sqs: Api, name: str) -> str:
    """Empty where there is no queue of this name."""
    try:
        return str(sqs.call("GetQueueUrl", f"the queue {name}", QueueName=name)["QueueUrl"])
    except RefusedError as error:
        if error.code in NO_QUEUE:
            return ""
        raise
