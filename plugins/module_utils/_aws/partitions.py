# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's partitions by region: the prefix of ARNs, and the domain of the endpoints."""

from __future__ import annotations

STANDARD = ("aws", "amazonaws.com")
# By the beginning of a region's name.
PARTITIONS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}


def partition_of(region: str) -> str:
    """Such as aws-cn for cn-north-1."""
    return _of(region)[0]


def domain_of(region: str) -> str:
    """The domain of the region's endpoints, such as amazonaws.com.cn for cn-north-1."""
    return _of(region)[1]


def _of(region: str) -> tuple[str, str]:
    return next((found for prefix, found in PARTITIONS.items() if region.startswith(prefix)), STANDARD)
