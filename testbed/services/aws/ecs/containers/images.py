# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image of the engine a reference of a container definition is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docker.errors
from botocore.exceptions import ClientError

from .definition import CannotStartError

ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<repository>[^:@]+)(?P<rest>.*)")
INDEX = "application/vnd.oci.image.index.v1+json"
NOT_PULLED = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {0}: {0}: {1}"
)
Clients = Callable[[str], Any]  # a client of boto3 by the name of its service


@dataclass(frozen=True)
class Image:
    """id: of the engine. digest: the registry's, which DescribeTasks reports."""

    id: str
    digest: str


def find(engine: Any, clients: Clients, reference: str) -> Image:
    """An image of ECR as its API has it, any other as the engine has it. CannotStartError where there is none."""
    ecr = ECR.fullmatch(reference)
    if not ecr:
        return _of_engine(engine, reference, reference)
    tag, _at, digest = ecr["rest"].partition("@")
    wanted = {"imageDigest": digest} if digest else {"imageTag": tag.lstrip(":") or "latest"}
    try:
        said = clients("ecr").batch_get_image(repositoryName=ecr["repository"], imageIds=[wanted])
    except ClientError as error:
        missing = error.response["Error"]["Code"] == "RepositoryNotFoundException"
        raise CannotStartError(NOT_PULLED.format(reference, "not found" if missing else error)) from None
    if not said["images"]:
        raise CannotStartError(NOT_PULLED.format(reference, "not found"))
    found = said["images"][0]
    manifest = json.loads(found["imageManifest"])
    inner = [item["digest"] for item in manifest.get("manifests", [])] or [manifest.get("config", {}).get("digest", "")]
    return Image(_of_engine(engine, inner[0], reference).id, found["imageId"]["imageDigest"])


def push(engine: Any, ecr: Any, image: str, repository: str, tag: str) -> str:
    """Make an image of the engine known to ECR, under an index that names it: the digest in the registry."""
    attributes = engine.images.get(image).attrs
    platform = {"os": attributes["Os"], "architecture": attributes["Architecture"]}
    described = {"mediaType": INDEX, "digest": attributes["Id"], "size": attributes["Size"], "platform": platform}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
    put = ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(index))
    return str(put["image"]["imageId"]["imageDigest"])


def _of_engine(engine: Any, name: str, reference: str) -> Image:
    try:
        found = str(engine.images.get(name).id)
    except (docker.errors.ImageNotFound, docker.errors.APIError, docker.errors.NullResource):
        raise CannotStartError(NOT_PULLED.format(reference, "not found")) from None
    return Image(found, found)
