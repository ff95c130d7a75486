# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_urls
short_description: The URLs of services that all gateways of a fleet use, from AWS's Parameter Store
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns what M(evenkeel.fleet.gateway_urls) wrote. A parameter that does not exist is an error, because it is not
    known then which URLs are the right ones.
  - One run of C(ansible-playbook) reads a parameter once, so that all hosts get the same.
options:
  _terms:
    description: The name of the parameter.
    type: list
    elements: str
    required: true
  region:
    description: The region of the parameter.
    type: str
    default: ""
  profile:
    description: The profile of the AWS configuration.
    type: str
    default: ""
  endpoint_url:
    description: Another endpoint than AWS's.
    type: str
    default: ""
notes:
  - The IAM action needed is C(ssm:GetParameter).
seealso:
  - module: evenkeel.fleet.gateway_urls
"""

EXAMPLES = r"""
- name: Show the URLs that the gateways use
  ansible.builtin.debug:
    msg: "{{ lookup('evenkeel.fleet.gateway_urls', '/shop/gateway-urls', region='eu-central-1') }}"
"""

RETURN = r"""
_raw:
  description: The URLs by variable, one dictionary for each parameter.
  type: list
  elements: dict
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import gateway_urls
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    def run(self, terms: Sequence[str], variables: Any = None, **options: Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=options)
        place = {name: str(self.get_option(name) or "") for name in ("region", "profile", "endpoint_url")}
        try:
            return [once(str(name), place) for name in terms]
        except OperationError as error:
            raise AnsibleError(str(error)) from error


class Connection:
    """What the AWS client uses of a module."""

    def __init__(self, place: dict[str, str]) -> None:
        self.params: dict[str, Any] = {**dict.fromkeys(aws.ARGUMENTS), **{key: place[key] or None for key in place}}

    def fail_json(self, msg: str, **_more: Any) -> NoReturn:
        raise OperationError(msg)


def once(name: str, place: dict[str, str]) -> dict[str, str]:
    """Of the first call in this run: a variable is evaluated often, and in many processes."""
    key = hashlib.sha256(json.dumps([name, place], sort_keys=True).encode()).hexdigest()[:16]
    kept = Path(constants.DEFAULT_LOCAL_TMP) / f"evenkeel-urls-{key}"
    if not kept.exists():
        mine = kept.with_name(f"{kept.name}-{uuid.uuid4()}")
        mine.write_text(json.dumps(read(name, place)))
        mine.rename(kept)
    found: dict[str, str] = json.loads(kept.read_text())
    return found


def read(name: str, place: dict[str, str]) -> dict[str, str]:
    ssm = Api(aws.client(Connection(place), "ssm"))
    found = gateway_urls.read(ssm, name)
    if not found.exists:
        raise OperationError(gateway_urls.missing(name, ssm.region))
    return found.urls
