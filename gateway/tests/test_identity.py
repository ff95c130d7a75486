"""The instance metadata service, and the behaviour without it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from evenkeel_gateway.identity import Identity, IdentityError, discover
from evenkeel_gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Metadata

PRODUCTION = {"NODE_ENV": "production", "DATABASE_URL": "postgresql://db/x"}


def test_from_the_metadata_service(environment: Callable[..., None], metadata: Metadata) -> None:
    environment(**PRODUCTION, AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url, http_proxy="http://127.0.0.1:9")
    launched_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert discover(Settings()) == Identity("i-0abc", "10.0.0.7", "203.0.113.7", launched_at)


def test_an_instance_without_a_public_address(environment: Callable[..., None], metadata: Metadata) -> None:
    del metadata.answers["/latest/meta-data/public-ipv4"]
    environment(**PRODUCTION, AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url)
    assert discover(Settings()).public_ip is None


@pytest.mark.parametrize("document", ["not json", "[]", '{"instanceId": "i-1"}'])
def test_a_document_that_is_none(environment: Callable[..., None], metadata: Metadata, document: str) -> None:
    metadata.answers["/latest/dynamic/instance-identity/document"] = document
    environment(**PRODUCTION, AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url)
    with pytest.raises(IdentityError, match="not as expected"):
        discover(Settings())


def test_out_of_reach_says_what_to_look_at(environment: Callable[..., None]) -> None:
    environment(**PRODUCTION, AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(IdentityError, match=r"PUT http://127.0.0.1:9/latest/api/token: .*hop limit"):
        discover(Settings())


def test_a_laptop_makes_one_up(environment: Callable[..., None]) -> None:
    environment(AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")
    found = discover(Settings())
    assert found.instance_id.startswith("local-")
    assert found.launched_at.tzinfo


def test_the_environment_wins(environment: Callable[..., None], metadata: Metadata) -> None:
    environment(
        INSTANCE_ID="i-mine",
        PRIVATE_IP="10.1.1.1",
        PUBLIC_IP="198.51.100.1",
        LAUNCHED_AT="2026-01-01T00:00:00",
        AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url,
    )
    assert discover(Settings()) == Identity("i-mine", "10.1.1.1", "198.51.100.1", datetime(2026, 1, 1, tzinfo=UTC))
