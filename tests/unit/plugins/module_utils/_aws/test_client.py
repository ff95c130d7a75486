# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients read each description of a service once in a process, and follow the profile that is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader, create_loader

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws

PARAMETERS = dict.fromkeys(
    ("profile", "endpoint_url", "access_key", "secret_key", "session_token", "aws_ca_bundle"), None
) | {"region": "eu-central-1", "access_key": "AKIATEST", "secret_key": "secret"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that botocore reads, by their last two folders and their name."""
    files: list[str] = []
    load = JSONFileLoader.load_file

    def noted(self: JSONFileLoader, path: str) -> Any:
        found = load(self, path)
        if found is not None:
            files.append("/".join(Path(path).parts[-3:]))
        return found

    monkeypatch.setattr(JSONFileLoader, "load_file", noted)
    aws._loader.cache_clear()
    yield files
    aws._loader.cache_clear()


def made(service: str, **parameters: Any) -> Any:
    module: Any = SimpleNamespace(params={**PARAMETERS, **parameters})
    return aws.client(module, service)


def test_a_second_session_reads_nothing_again(read: list[str]) -> None:
    assert made("sts").meta.region_name == "eu-central-1"
    assert any(name.startswith("sts/") for name in read)
    read.clear()
    assert made("sts", region="eu-west-1").meta.region_name == "eu-west-1"
    assert read == []


def test_what_is_prepared_is_not_read_again(read: list[str]) -> None:
    aws.prepare()
    assert {Path(name).name for name in read} >= {"endpoints", "partitions", "sdk-default-configuration"}
    read.clear()
    made("sts")
    assert all(name.startswith("sts/") for name in read), read


@pytest.mark.usefixtures("read")
def test_descriptions_are_read_where_the_profile_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_loader().load_service_model("sts", "service-2")
    model["metadata"]["serviceFullName"] = "Our own STS"
    file = tmp_path / "models" / "sts" / model["metadata"]["apiVersion"] / "service-2.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(model))
    config = tmp_path / "config"
    config.write_text(f"[profile own]\nregion = eu-west-3\ndata_path = {tmp_path}/models\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def name(client: Any) -> str:
        return str(client.meta.service_model.metadata["serviceFullName"])

    own = made("sts", profile="own", access_key=None, secret_key=None, region=None)
    assert (own.meta.region_name, name(own)) == ("eu-west-3", "Our own STS")
    assert name(made("sts")) == "AWS Security Token Service"
