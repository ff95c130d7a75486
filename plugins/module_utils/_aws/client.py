# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boto3 client by the options that the modules for AWS share."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from .._common.progress import OperationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def make_module(
    make: Callable[..., AnsibleModule], arguments: Mapping[str, Mapping[str, Any]], **rules: Any
) -> AnsibleModule:
    """One with these arguments, among them ARGUMENTS, and the rules for those."""
    return make(
        argument_spec=arguments,
        required_together=REQUIRED_TOGETHER,
        mutually_exclusive=MUTUALLY_EXCLUSIVE,
        supports_check_mode=True,
        **rules,
    )


def run(
    make: Callable[..., AnsibleModule],
    arguments: Mapping[str, Mapping[str, Any]],
    act: Callable[[AnsibleModule], Mapping[str, Any]],
    **rules: Any,
) -> None:
    """Exit with what `act` returns, or fail with the OperationError that it raises."""
    module = make_module(make, arguments, **rules)
    try:
        result = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def client(module: AnsibleModule, service: str, region: str = "", sessions: dict[str, Any] | None = None) -> Any:
    """In the region of the module's options, or in another one.

    `sessions` keeps the sessions by region: the second client of a session takes a tenth of the time of the first.
    """
    # Imported here, because it takes longer than all other imports of a module.
    try:
        import boto3  # noqa: F401
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError
    except ImportError:
        from ansible.module_utils.basic import missing_required_lib

        module.fail_json(msg=missing_required_lib("boto3"), exception=traceback.format_exc())
    wanted = module.params
    kept = {} if sessions is None else sessions
    try:
        session = kept.get(region) or _session(wanted, region)
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


def prepare() -> None:
    """Import boto3 and read what each client needs, for all processes that are forked later; nothing without boto3."""
    with suppress(ImportError):
        import boto3  # noqa: F401

        loader = _loader(None)
        for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            loader.load_data(name)


def _session(wanted: Mapping[str, Any], region: str) -> Any:
    import boto3
    from botocore.session import get_session

    core = get_session()
    if wanted["profile"]:
        core.set_config_variable("profile", wanted["profile"])
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    return boto3.Session(
        aws_access_key_id=wanted["access_key"],
        aws_secret_access_key=wanted["secret_key"],
        aws_session_token=wanted["session_token"],
        region_name=region or wanted["region"] or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        botocore_session=core,
    )


@cache
def _loader(data_path: str | None) -> Any:
    """Reads the descriptions of services, and keeps them; a session's own one would read them again."""
    from botocore.loaders import create_loader

    return create_loader(data_path)
