# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account and the region that calls to AWS reach, compared with the declared ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._common.progress import OperationError
from .api import Api
from .partitions import partition_of

# The environment variables of the same meaning, by the option of a module.
ENVIRONMENT = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION", "EC2_REGION"),
    "profile": ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    "endpoint_url": ("AWS_ENDPOINT_URL",),
}
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")


@dataclass(frozen=True)
class Identity:
    """account and arn are empty if STS was not queried."""

    region: str
    partition: str
    account: str = ""
    arn: str = ""


def disagreements(declared: Mapping[str, str], regions: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Settings that name another region, profile or endpoint than the declared one.

    `declared` has options of the modules. `regions` has, by the name of a variable, values that must be the declared
    region. Empty values are ignored.
    """
    found = []
    for option, names in ENVIRONMENT.items():
        wanted = declared.get(option)
        for name in names:
            if wanted and environment.get(name) and environment[name] != wanted:
                found.append(
                    f"{name} of the environment is {environment[name]}, and the {option} declared is {wanted}."
                )
    if declared.get("profile"):
        found += [
            f"{name} is set in the environment beside the profile {declared['profile']}."
            for name in KEYS
            if environment.get(name)
        ]
    region = declared.get("region")
    return found + [
        f"{name} is {value}, and the region is {region}."
        for name, value in regions.items()
        if value and value != region
    ]


def inventories_elsewhere(inventories: Mapping[str, Sequence[str]], region: str) -> list[str]:
    """By the paths of inventories, the regions whose instances they list. One of them has to be the region of calls."""
    if region in {each for regions in inventories.values() for each in regions}:
        return []
    return [
        f"The inventory {path} lists instances of {', '.join(regions)}, and the region is {region}."
        for path, regions in inventories.items()
        if regions
    ]


def identify(sts: Api, account: str | None) -> Identity:
    """The region of the client and, where an account is declared, the caller's; another account is refused."""
    region = sts.region
    if not account:
        return Identity(region, partition_of(region))
    if not re.fullmatch(r"[0-9]{12}", account):
        raise OperationError(
            f"The account {account} is not twelve digits: write fleet_account in quotes, with its leading zeros."
        )
    caller = sts.call("GetCallerIdentity", "the caller")
    if caller["Account"] != account:
        raise OperationError(
            f"Nothing was changed: these credentials are of the account {caller['Account']} ({caller['Arn']}), and the "
            f"account declared is {account}. Use other credentials (AWS_PROFILE, fleet_profile) or correct "
            "fleet_account."
        )
    return Identity(region, partition_of(region), account, caller["Arn"])
