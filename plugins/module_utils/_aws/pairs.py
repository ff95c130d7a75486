# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes and tags, which AWS has as lists of Key and Value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The values in the form that the AWS API returns."""
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}


def as_dict(pairs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs}


def as_pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def declared(values: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Only the values whose keys are declared."""
    return {key: values[key] for key in wanted if key in values}
