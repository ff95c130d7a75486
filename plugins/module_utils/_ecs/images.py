# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a task definition's containers, pinned to the digests that their tags have in Amazon ECR."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._common.progress import OperationError
from .defaults import Definition

ECR = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z0-9.-]+")
LATEST = "latest"
NEAREST = 3


@dataclass(frozen=True)
class Reference:
    """An image reference, such as registry.example.com/team/api:1.2@sha256:…; account and region for ECR alone."""

    repository: str
    tag: str
    digest: str
    account: str = ""
    region: str = ""
    path: str = ""

    @classmethod
    def of(cls, image: str) -> Reference:
        """path is the repository's name in its registry."""
        named, _at, digest = image.partition("@")
        before, slash, last = named.rpartition("/")
        last, _colon, tag = last.partition(":")
        repository = f"{before}{slash}{last}"
        host, _slash, path = repository.partition("/")
        registry = ECR.fullmatch(host)
        account, region = registry.groups() if registry and path else ("", "")
        return cls(repository, tag, digest, account, region, path if account else "")

    @property
    def pinned(self) -> bool:
        return bool(self.digest)

    @property
    def in_ecr(self) -> bool:
        return bool(self.account)


@dataclass
class PinnedImages:
    """By container; warnings are about images that stay with their tags."""

    images: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def images_of(definition: Definition, overrides: Mapping[str, str]) -> dict[str, str]:
    """The image of each container, after the overrides by container; "" where there is none."""
    containers = definition.get("containerDefinitions") or []
    names = [str(container.get("name", "")) for container in containers]
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise OperationError(
            f"Nothing was registered: images names {', '.join(unknown)}, and {definition.get('family', 'the family')} "
            f"has the containers {', '.join(names) or '(none)'}. Correct the container's name in images."
        )
    declared = {str(container.get("name", "")): str(container.get("image") or "") for container in containers}
    return {**declared, **{name: str(image) for name, image in overrides.items() if image}}


def with_images(definition: Definition, images: Mapping[str, str]) -> dict[str, Any]:
    """The definition with these images of its containers."""
    containers = [
        {**container, "image": images[str(container.get("name", ""))]}
        for container in definition.get("containerDefinitions") or []
    ]
    return {**definition, "containerDefinitions": containers}


def pinned(images: Mapping[str, str], digest_of: Callable[[Reference], str]) -> PinnedImages:
    """Each image of ECR by its digest; digest_of is asked once for each image, and not for those that have one."""
    result = PinnedImages()
    known: dict[Reference, str] = {}
    for container, image in images.items():
        reference = Reference.of(image)
        if not image or reference.pinned:
            result.images[container] = image
        elif reference.in_ecr:
            if reference not in known:
                known[reference] = digest_of(reference)
            result.images[container] = f"{reference.repository}@{known[reference]}"
        else:
            result.images[container] = image
            result.warnings.append(
                f"The image of container {container} stays {image}, because it is not in Amazon ECR. A new image under "
                "this tag is not noticed. Declare it as repository@sha256:…, or set pin=tag."
            )
    return result


def digest_in_ecr(ecr: Api, reference: Reference) -> str:
    """The digest that the tag has now; OperationError where there is no such repository or image."""
    tag = reference.tag or LATEST
    about = f"the repository {reference.path} of account {reference.account} in {reference.region}"
    try:
        found = ecr.call(
            "DescribeImages",
            about,
            registryId=reference.account,
            repositoryName=reference.path,
            imageIds=[{"imageTag": tag}],
        )["imageDetails"]
    except RefusedError as error:
        if error.code == "ImageNotFoundException":
            found = []
        elif error.code == "RepositoryNotFoundException":
            raise OperationError(
                f"Nothing was registered: there is no repository {reference.path} in Amazon ECR of account "
                f"{reference.account} in {reference.region}. Create it and push the image, or correct the image's name."
            ) from None
        else:
            raise
    if not found:
        raise OperationError(
            f"Nothing was registered: the image {reference.repository}:{tag} does not exist. Push it, or correct the "
            f"tag.{tags_there(ecr, reference)}"
        )
    return str(found[0]["imageDigest"])


def tags_there(ecr: Api, reference: Reference) -> str:
    """A sentence on the tags of the repository that are nearest to one that is missing, and on the newest."""
    if reference.digest:
        return ""
    try:
        listed = list(
            ecr.pages(
                "DescribeImages",
                f"the repository {reference.path}",
                "imageDetails",
                registryId=reference.account,
                repositoryName=reference.path,
                filter={"tagStatus": "TAGGED"},
            )
        )
    except OperationError:
        # That the image is missing is known without them.
        return ""
    tags = [tag for one in sorted(listed, key=_pushed, reverse=True) for tag in one.get("imageTags", [])]
    if not tags:
        return " The repository has no tags."
    nearest = difflib.get_close_matches(reference.tag or LATEST, tags, NEAREST, 0)
    return f" The nearest tags are {', '.join(nearest)}, and the newest is {tags[0]}."


def _pushed(image: Mapping[str, Any]) -> float:
    moment = image.get("imagePushedAt")
    return float(moment.timestamp()) if moment else 0.0
