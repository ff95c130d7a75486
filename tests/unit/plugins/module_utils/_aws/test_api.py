# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for invalid responses of AWS, with botocore's own parsers."""

from __future__ import annotations

import io
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import NoAnswerError


class Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()


def test_a_page_of_a_proxy_is_no_answer() -> None:
    client = boto3.client(
        "elbv2", region_name="eu-central-1", aws_access_key_id="AKIATEST", aws_secret_access_key="planted-secret"
    )

    def page(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, {"Content-Type": "text/html"}, Raw(b"<html><p>Log in, please"))

    client.meta.events.register("before-send", page)
    with pytest.raises(NoAnswerError) as caught:
        Api(client).call("DescribeTargetGroups", "the target group")
    said = str(caught.value)
    assert said.startswith("DescribeTargetGroups got a response that is not from AWS. Check that https://elasticload")
    assert "planted-secret" not in said
