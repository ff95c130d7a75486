# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two task definitions compared: their differences in words, and both of them for a diff, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._common.redact import HIDDEN, redacted, secrets, shown_environment
from .._common.secrecy import is_secret
from .defaults import TEXT_MAPS, Definition, filled

CONTAINERS = "containerDefinitions"
CHANGED = "(hidden, changed)"
# Lists whose entries have a name: the field with the name, and the one with the value where there is just one.
NAMED = {
    CONTAINERS: ("name", ""),
    "environment": ("name", "value"),
    "secrets": ("name", "valueFrom"),
    "secretOptions": ("name", "valueFrom"),
    "systemControls": ("namespace", "value"),
    "properties": ("name", "value"),
    "tags": ("key", "value"),
    "ulimits": ("name", ""),
    "volumes": ("name", ""),
    "mountPoints": ("containerPath", ""),
    "dependsOn": ("containerName", "condition"),
}
# Lists of arguments, in which a secret may be.
ARGUMENTS = ("command", "entryPoint")


@dataclass(frozen=True)
class Difference:
    """A field that two definitions have not alike. None is for a missing one; secrets are hidden."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def words(self) -> str:
        path = list(self.path)
        place = f"container {path[1]}: " if path[0] == CONTAINERS and len(path) > 1 else ""
        field = " ".join(path[2:] if place else path)
        if place and not field:
            return f"{place}{'added' if self.before is None else 'removed'}"
        return f"{place}{field}: {_words(self.before)} → {_words(self.after)}"


def differences(before: Definition, after: Definition) -> list[Difference]:
    """What distinguishes a definition from another one, after AWS's defaults; both may be declared or described."""
    raw = list(_differing((), _picture(filled(before)), _picture(filled(after))))
    shown_before, shown_after = shown_pair(before, after)
    found = [Difference(path, _at(shown_before, path), _at(shown_after, path)) for path in raw]
    names, new_names = _names(before), _names(after)
    if names != new_names and sorted(names) == sorted(new_names):
        found.append(Difference(("order of containers",), names, new_names))
    return found


def shown_pair(before: Definition, after: Definition) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both for a diff: with defaults, lists by the names of their entries, and hidden secrets.

    A hidden value that changes is marked, because it would look the same otherwise.
    """
    shown_before, shown_after = _picture(_hidden(filled(before), "")), _picture(_hidden(filled(after), ""))
    return shown_before, _marked(_picture(filled(before)), _picture(filled(after)), shown_before, shown_after)


def secret_values(definition: Definition) -> set[str]:
    """Values of environment variables, options and labels that must not be shown."""
    return set().union(*map(secrets, _text_maps(filled(definition))))


def _names(definition: Definition) -> list[str]:
    return [str(container.get("name", "")) for container in filled(definition).get(CONTAINERS, [])]


def _picture(definition: Definition) -> dict[str, Any]:
    """With each list of named entries as a mapping by these names. Its keys are names of fields and of entries."""
    result: dict[str, Any] = _by_name(definition, "")
    return result


def _by_name(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return dict(value) if name in TEXT_MAPS else {key: _by_name(entry, key) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    entries = [_by_name(entry, "") for entry in value]
    key, content = NAMED.get(name, ("", ""))
    if name == "portMappings":
        names = [_port_name(entry) for entry in entries]
    else:
        names = [str(entry[key]) for entry in entries if isinstance(entry, Mapping) and key in entry]
    # Of two entries of one name, neither may get lost.
    if not entries or len(names) != len(entries) or len(set(names)) != len(names):
        return entries
    return {named: _content(entry, key, content) for named, entry in zip(names, entries)}


def _port_name(entry: Any) -> str:
    port = entry.get("containerPort", entry.get("containerPortRange", ""))
    return f"{port}/{entry.get('protocol', '')}"


def _content(entry: Mapping[str, Any], key: str, content: str) -> Any:
    """Only the value, of an entry that has nothing else."""
    if content and set(entry) == {key, content}:
        return entry[content]
    return {field: value for field, value in entry.items() if field != key}


def _differing(path: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from _differing((*path, key), before.get(key), after.get(key))
    elif _kind(before) != _kind(after) or before != after:
        # Of an added or removed list of containers, for instance, each one is a difference.
        group = after if before is None else before if after is None else None
        if isinstance(group, Mapping) and group and len(path) < 2:
            yield from ((*path, key) for key in group)
        else:
            yield path


def _kind(value: Any) -> str:
    """Because Python takes True for 1."""
    return type(value).__name__


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text_maps(value: Any) -> Iterator[dict[str, str]]:
    """The maps in which a name says whether its value is a secret."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in TEXT_MAPS:
                yield entry
            elif key == "environment":
                yield {str(variable.get("name")): str(variable.get("value", "")) for variable in entry}
            else:
                yield from _text_maps(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _text_maps(entry)


def _hidden(value: Any, name: str) -> Any:
    """A definition, or its field of that name, with hidden secrets."""
    if isinstance(value, Mapping):
        if name in TEXT_MAPS:
            return shown_environment(dict(value))
        return {key: _hidden(entry, key) for key, entry in value.items()}
    if isinstance(value, list):
        if name == "environment":
            return [{**entry, **_shown_variable(entry)} for entry in value]
        if name in ARGUMENTS:
            return list(_shown_arguments(value))
        return [_hidden(entry, "") for entry in value]
    return value


def _shown_variable(entry: Mapping[str, Any]) -> dict[str, str]:
    name = str(entry.get("name", ""))
    return {"value": shown_environment({name: str(entry.get("value", ""))})[name]}


def _shown_arguments(arguments: Iterable[Any]) -> Iterator[str]:
    """Also hides the argument after an option such as --password."""
    option = ""
    for argument in map(str, arguments):
        yield HIDDEN if option and is_secret(option, argument) else redacted(argument)
        option = argument.lstrip("-") if argument.startswith("-") and "=" not in argument else ""


def _marked(before: Any, after: Any, shown_before: Any, shown_after: Any) -> Any:
    if isinstance(after, Mapping) and isinstance(before, Mapping):
        return {
            key: _marked(before[key], entry, shown_before[key], shown_after[key]) if key in before else shown_after[key]
            for key, entry in after.items()
        }
    if before != after and shown_before == shown_after:
        return json.loads(json.dumps(shown_after).replace(HIDDEN, CHANGED))
    return shown_after


def _words(value: Any) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, sort_keys=True)
