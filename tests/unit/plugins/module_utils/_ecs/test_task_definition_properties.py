# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any task definition that the API's model allows: AWS's answer equals it, and a changed leaf is always seen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import defaults
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.task_definition import NAMED, differences

MODEL = ServiceModel(Loader().load_service_model("ecs", "service-2"))
REGISTERED = MODEL.operation_model("RegisterTaskDefinition").input_shape
ANSWERED = MODEL.operation_model("DescribeTaskDefinition").output_shape.members["taskDefinition"]
# The model's shapes are large, and a busy machine is slow.
often = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Some are names of fields, which free keys may have, too.
names_of_fields = st.sampled_from(["options", "environment", "cpu", "privileged"])
words = names_of_fields | st.text("abcXYZ019-/=", min_size=1, max_size=8)
# What an entry is told from its neighbours by.
KEYS = {**{name: (key,) for name, (key, _value) in NAMED.items()}, "portMappings": ("containerPort", "protocol")}
# Without these, an entry says nothing or is refused.
ALWAYS = {"name", "value", "key", "containerPort", "containerPath", "containerName", "namespace", "image"}
# A range and a port exclude each other, and AWS chooses the host's ports of a range.
NEVER = {"containerPortRange", "tags"}


def values(shape: Shape, name: str = "") -> st.SearchStrategy[Any]:
    if shape.type_name == "structure":
        fields = {field: values(member, field) for field, member in shape.members.items() if field not in NEVER}
        needed = {field for field in fields if field in shape.required_members or field in ALWAYS}
        return st.fixed_dictionaries(
            {field: fields[field] for field in needed},
            optional={field: fields[field] for field in fields if field not in needed},
        )
    if shape.type_name == "list":
        entries = values(shape.member, name)
        if name in KEYS:
            return st.lists(
                entries, min_size=1, max_size=3, unique_by=lambda entry: tuple(map(str, map(entry.get, KEYS[name])))
            )
        return st.lists(entries, min_size=name == "command", max_size=3)
    if shape.type_name == "map":
        return st.dictionaries(words, words, max_size=3)
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name in ("integer", "long"):
        return st.integers(1, 65535)
    return st.sampled_from(shape.enum) if getattr(shape, "enum", None) else words


definitions = values(REGISTERED)


def answer(declared: dict[str, Any], random: Any) -> dict[str, Any]:
    """What DescribeTaskDefinition answers for it: AWS's own words, as far as they were seen or are documented."""
    said = copy.deepcopy(declared)
    said.update(
        taskDefinitionArn="arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:7",
        revision=7,
        status="ACTIVE",
        registeredBy="arn:aws:iam::123456789012:root",
        compatibilities=["EC2", "FARGATE"],
        requiresAttributes=[{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
    )
    said.setdefault("placementConstraints", [])
    said.setdefault("volumes", [])
    mode = said.get("networkMode")
    for volume in said["volumes"]:
        volume.setdefault("host", {})
        if "efsVolumeConfiguration" in volume:
            volume["efsVolumeConfiguration"].setdefault("rootDirectory", "/")
        if volume.get("configuredAtLaunch") is None:
            volume["configuredAtLaunch"] = False
    for container in said["containerDefinitions"]:
        for field in ("environment", "mountPoints", "volumesFrom", "portMappings", "systemControls"):
            container.setdefault(field, [])
        container.setdefault("cpu", 0)
        container.setdefault("essential", True)
        if "firelensConfiguration" in container:
            container.setdefault("user", "0")
        if "healthCheck" in container:
            for field, value in {"interval": 30, "timeout": 5, "retries": 3}.items():
                container["healthCheck"].setdefault(field, value)
        for mapping in container["portMappings"]:
            mapping.setdefault("protocol", "tcp")
            same = mode in ("awsvpc", "host") or "FARGATE" in said.get("requiresCompatibilities", [])
            mapping.setdefault("hostPort", mapping["containerPort"] if same else 0)
        random.shuffle(container["environment"])
        random.shuffle(container.get("secrets", []))
        random.shuffle(container.get("ulimits", []))
    return said


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        yield path
        return
    for key, entry in entries:
        yield from leaves(entry, (*path, key))


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value + "x"


@often
@given(declared=definitions)
def test_filling_twice_is_filling_once(declared: dict[str, Any]) -> None:
    once = defaults.filled(declared)
    assert defaults.filled(once) == once


@often
@given(declared=definitions, random=st.randoms(use_true_random=False))
def test_a_definition_equals_what_aws_answers_for_it(declared: dict[str, Any], random: Any) -> None:
    assert differences(answer(declared, random), declared) == []


@settings(often, max_examples=200)
@given(declared=definitions, data=st.data())
def test_a_changed_leaf_is_seen(declared: dict[str, Any], data: st.DataObject) -> None:
    before = answer(declared, data.draw(st.randoms(use_true_random=False)))
    path = data.draw(st.sampled_from(list(leaves(declared))))
    after = copy.deepcopy(declared)
    parent = after
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = changed(parent[path[-1]])
    found = differences(before, after)
    assert found and all(difference.words for difference in found), path


@often
@given(declared=definitions, data=st.data())
def test_an_argument_that_moves_or_goes_is_seen(declared: dict[str, Any], data: st.DataObject) -> None:
    container = data.draw(st.sampled_from(declared["containerDefinitions"]))
    field = data.draw(st.sampled_from(["command", "entryPoint", "dnsServers", "links"]))
    container[field] = data.draw(st.lists(words, min_size=2, max_size=4, unique=True))
    after = copy.deepcopy(declared)
    [same] = [entry for entry in after["containerDefinitions"] if entry["name"] == container["name"]]
    same[field] = list(reversed(same[field])) if data.draw(st.booleans()) else same[field][1:]
    assert [difference.path[-1] for difference in differences(declared, after)] == [field]


def fields(shape: Shape, top: bool = True) -> Iterator[tuple[str, str, bool]]:
    """Name and type of each field below a shape, and whether it is one of the task definition itself."""
    if shape.type_name == "list":
        yield from fields(shape.member, False)
    for name, member in shape.members.items() if shape.type_name == "structure" else ():
        yield name, member.type_name, top
        yield from fields(member, False)


def test_the_names_of_types_are_those_of_the_api() -> None:
    """A field that botocore got since then would pass as it is; one that changed its type would not."""
    kinds: dict[str, set[str]] = {}
    for name, kind, top in fields(REGISTERED):
        if not top:
            kinds.setdefault(name, set()).add(kind)
    tops = {name for name, kind, top in fields(REGISTERED) if top and kind == "boolean"}
    assert {name for name, kind in kinds.items() if kind == {"integer"}} == set(defaults.INTEGERS)
    assert {name for name, kind in kinds.items() if kind == {"boolean"}} | tops == set(defaults.FLAGS)
    assert {name for name, kind in kinds.items() if kind == {"map"}} == set(defaults.TEXT_MAPS)
    assert {"integer", "boolean", "map"}.isdisjoint(kind for kind in kinds.values() if len(kind) > 1)
    lists = {name for name, kind, _top in fields(REGISTERED) if kind == "list"}
    assert set(defaults.UNORDERED) <= lists


def test_the_fields_of_answers_alone_are_ignored() -> None:
    assert set(ANSWERED.members) - set(REGISTERED.members) == set(defaults.ANSWER_ONLY)
