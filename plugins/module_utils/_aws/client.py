# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boto3 client by the options that the modules for AWS share."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any

from .._common.progress import OperationError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, dict[str, Any]] = {
    "region": {"type": "str", "aliases": ["aws_region"]},
    "profile": {"type": "str", "aliases": ["aws_profile"]},
    "endpoint_url": {"type": "str"},
    "access_key": {"type": "str", "aliases": ["aws_access_key_id", "aws_access_key"], "no_log": True},
    "secret_key": {"type": "str", "aliases": ["aws_secret_access_key", "aws_secret_key"], "no_log": True},
    "session_token": {"type": "str", "aliases": ["aws_session_token"], "no_log": True},
    "aws_ca_bundle": {"type": "path"},
}
REQUIRED_TOGETHER = [("access_key", "secret_key")]
MUTUALLY_EXCLUSIVE = [("profile", "access_key")]


def client(module: AnsibleModule, service: str, region: str = "", sessions: dict[str, Any] | None = None) -> Any:
    """In the region of the module's options, or in another one.

    `sessions` keeps the sessions by region: the second client of a session takes a tenth of the time of the first.
    """
    # Imported here, because it takes longer than all other imports of a module.
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError
    except ImportError:
        from ansible.module_utils.basic import missing_required_lib

        module.fail_json(msg=missing_required_lib("boto3"), exception=traceback.format_exc())
    wanted = module.params
    kept = {} if sessions is None else sessions
    try:
        session = kept.get(region) or boto3.Session(
            aws_access_key_id=wanted["access_key"],
            aws_secret_access_key=wanted["secret_key"],
            aws_session_token=wanted["session_token"],
            region_name=region
            or wanted["region"]
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION"),
            profile_name=wanted["profile"],
        )
        kept[region] = session
        return session.client(
            service,
            endpoint_url=wanted["endpoint_url"],
            verify=wanted["aws_ca_bundle"],
            # Many hosts share the API's rate limit: a throttled call is retried by the SDK's rules.
            config=Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=20),
        )
    except NoRegionError as error:
        raise OperationError(
            "No AWS region is known: set fleet_region in the inventory, region of the module, or AWS_REGION."
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise OperationError(
            f"The AWS client could not be created: {error} Check region, profile and endpoint_url."
        ) from error
