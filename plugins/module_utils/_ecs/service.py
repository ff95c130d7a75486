# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service on ECS as it is declared, compared with the one that is there. Definitions have AWS's own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# The order of these says which comes first; of all other lists of a service it says nothing.
ORDERED = ("placementStrategy",)
# DescribeServices has these in the primary deployment alone.
OF_THE_DEPLOYMENT = ("serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations")
# Options of the module; the rest of the call is `definition`.
OPTIONS = (
    "cluster",
    "service",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "tags",
    "clientToken",
    "forceNewDeployment",
)


def described(service: Mapping[str, Any]) -> dict[str, Any]:
    """What DescribeServices says of a service, with what it says of the primary deployment alone."""
    deployments: list[Mapping[str, Any]] = service.get("deployments", [])
    primary: Mapping[str, Any] = next((one for one in deployments if one.get("status") == "PRIMARY"), {})
    return {**{key: primary[key] for key in OF_THE_DEPLOYMENT if key in primary}, **service}


def differences(wanted: Mapping[str, Any], there: Mapping[str, Any], ordered: Sequence[str] = ORDERED) -> list[str]:
    """The paths of what is declared and different, such as `deploymentConfiguration.maximumPercent`."""
    return list(_differences(wanted, there, "", ordered))


def _differences(wanted: Any, there: Any, path: str, ordered: Sequence[str]) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        for key, value in wanted.items():
            yield from _differences(value, there.get(key), f"{path}.{key}" if path else key, ordered)
    elif not same(wanted, there, in_order=path in ordered):
        yield path


def same(wanted: Any, there: Any, *, in_order: bool = False) -> bool:
    """Whether all that is declared is there. What AWS leaves out is the same as empty, 0 or false."""
    if there is None:
        return not wanted or (isinstance(wanted, Mapping) and all(same(value, None) for value in wanted.values()))
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(same(value, there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        if not isinstance(there, (list, tuple)) or len(wanted) != len(there):
            return False
        return all(map(same, wanted, there)) if in_order else _same_set(wanted, there)
    return bool(wanted == there)


def _same_set(wanted: Sequence[Any], there: Sequence[Any]) -> bool:
    left = list(there)
    for one in wanted:
        match = next((other for other in left if same(one, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def merged(wanted: Any, there: Any) -> Any:
    """For an update, which replaces a top-level setting whole: what is not declared below it stays."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {**there, **{key: merged(value, there.get(key)) for key, value in wanted.items()}}
    return wanted


def only_declared(wanted: Any, there: Any) -> Any:
    """What is there of all that is declared, for a diff."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {key: only_declared(value, there.get(key)) for key, value in wanted.items()}
    return there


def unknown_settings(definition: Mapping[str, Any], accepted: Sequence[str]) -> list[str]:
    """What is wrong with the names in a definition, in words. `accepted` are the members of CreateService."""
    wrong = [f"definition.{name} is an option of the module" for name in definition if name in OPTIONS]
    wrong += [
        f"definition.{name} is not a parameter of CreateService"
        for name in definition
        if name not in accepted and name not in OPTIONS
    ]
    return wrong


def fixed_settings(changed: Sequence[str], accepted: Sequence[str]) -> list[str]:
    """Of the changed paths, the settings that UpdateService does not take. `accepted` are its members."""
    return sorted({path.partition(".")[0] for path in changed} - set(accepted))
