# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image references, and their digests."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.images import Reference, images_of, pinned

DIGEST = "sha256:" + "a" * 64
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/api"


@pytest.mark.parametrize(
    ("image", "repository", "tag", "digest", "place"),
    [
        (f"{ECR}:1.2", ECR, "1.2", "", ("123456789012", "eu-central-1", "team/api")),
        (ECR, ECR, "", "", ("123456789012", "eu-central-1", "team/api")),
        (f"{ECR}:1.2@{DIGEST}", ECR, "1.2", DIGEST, ("123456789012", "eu-central-1", "team/api")),
        (
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/api:1",
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/api",
            "1",
            "",
            ("123456789012", "us-east-1", "api"),
        ),
        (
            "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/api:1",
            "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/api",
            "1",
            "",
            ("123456789012", "cn-north-1", "api"),
        ),
        ("registry.internal:5000/api:1", "registry.internal:5000/api", "1", "", ("", "", "")),
        ("registry.internal:5000/api", "registry.internal:5000/api", "", "", ("", "", "")),
        ("public.ecr.aws/nginx/nginx:1", "public.ecr.aws/nginx/nginx", "1", "", ("", "", "")),
        ("nginx", "nginx", "", "", ("", "", "")),
    ],
)
def test_references(image: str, repository: str, tag: str, digest: str, place: tuple[str, str, str]) -> None:
    found = Reference.of(image)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)
    assert (found.account, found.region, found.path) == place


def test_only_tags_in_ecr_are_resolved_and_each_one_once() -> None:
    asked: list[Reference] = []

    def digest_of(reference: Reference) -> str:
        asked.append(reference)
        return DIGEST

    images = {"api": f"{ECR}:1", "worker": f"{ECR}:1", "old": f"{ECR}@sha256:b", "proxy": "nginx:1"}
    found = pinned(images, digest_of)
    assert [reference.tag for reference in asked] == ["1"]
    assert found.images == {**images, "api": f"{ECR}@{DIGEST}", "worker": f"{ECR}@{DIGEST}"}
    [warning] = found.warnings
    assert warning.startswith("The image of container proxy stays nginx:1, because it is not in Amazon ECR.")


def test_an_image_by_container_overrides_the_declared_one() -> None:
    definition: dict[str, Any] = {"containerDefinitions": [{"name": "api", "image": "api:1"}, {"name": "worker"}]}
    assert images_of(definition, {"worker": "api:2", "api": ""}) == {"api": "api:1", "worker": "api:2"}
    with pytest.raises(OperationError, match=r"images names wroker, and the family has the containers api, worker"):
        images_of(definition, {"wroker": "api:2"})
