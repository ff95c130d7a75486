# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of AWS. They are botocore's, which are boto3's, too; threads may share one."""

from __future__ import annotations

import functools
from typing import Any

import botocore
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from evenkeel_permissions import __version__

ERRORS = (BotoCoreError, ClientError)
MAX_BATCH = 10
MAX_BATCH_BYTES = 256 * 1024
_DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError")


@functools.cache
def _session() -> Any:
    return botocore.session.get_session()


def client(service: str, region: str | None, *, read_timeout: float = 5.0, connections: int = 10) -> Any:
    """Return a client whose calls fail after some seconds. AWS_ENDPOINT_URL and the default credentials apply."""
    config = Config(
        connect_timeout=3,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=connections,
        parameter_validation=False,
        tcp_keepalive=True,
        # Else botocore composes it again for each call.
        user_agent=f"evenkeel-permissions/{__version__} botocore/{botocore.__version__}",
    )
    return _session().create_client(service, region_name=region, config=config)


def code(error: BaseException) -> str:
    """Return the code of an error, without the prefix of its protocol."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown")).rpartition("#")[2]
    return type(error).__name__


def describe(error: BaseException, permission: str, resource: str) -> str:
    """Return one line for an operator: the cause, and the permission that is missing."""
    if code(error) in _DENIED:
        return f"{code(error)}: allow {permission} on {resource} in the policy of the task role"
    return " ".join(str(error).split()) or type(error).__name__
