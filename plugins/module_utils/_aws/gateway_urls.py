# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of gateways with the URLs of services, kept as JSON in a parameter of AWS's Parameter Store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError


@dataclass(frozen=True)
class GatewayUrls:
    """The values of the variables, and when they were written last, in ISO 8601; "" where the parameter is missing."""

    urls: dict[str, str] = field(default_factory=dict)
    changed_at: str = ""

    @property
    def exists(self) -> bool:
        return bool(self.changed_at)


def read(ssm: Api, name: str) -> GatewayUrls:
    try:
        found = ssm.call("GetParameter", f"the parameter {name}", Name=name)["Parameter"]
    except RefusedError as error:
        if error.code == "ParameterNotFound":
            return GatewayUrls()
        raise
    return GatewayUrls(parsed(name, found["Value"]), found["LastModifiedDate"].isoformat())


def parsed(name: str, text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise OperationError(
            f"The parameter {name} is no JSON object of URLs, so it was not written by ecs_cutover.yml. Nothing was "
            "changed: set gateway_urls_parameter to another name."
        )
    return found


def write(ssm: Api, name: str, urls: Mapping[str, str], *, exists: bool) -> GatewayUrls:
    """Returns what the parameter has then."""
    value = json.dumps(dict(urls), sort_keys=True)
    ssm.call(
        "PutParameter",
        f"the parameter {name}",
        Name=name,
        Value=value,
        Type="String",
        Overwrite=exists,
        **({} if exists else {"Description": "URLs of services for gateways, written by ecs_cutover.yml"}),
    )
    return read(ssm, name)


def missing(name: str, region: str) -> str:
    """The sentence about a parameter that is declared and does not exist."""
    return (
        f"The parameter {name} does not exist in {region}, and gateway_urls_parameter names it: it is not known which "
        "URLs the gateways use. Create it with ecs.yml --tags load_balancer, or set the URLs with ecs_cutover.yml."
    )


def merged(before: Mapping[str, str], wanted: Mapping[str, Any]) -> dict[str, str]:
    return {**before, **{str(name): str(url) for name, url in wanted.items()}}
