# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable given as text, as by `-e name=value`, means the same as a typed one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.validation import check_type_bool, check_type_float, check_type_int
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import fragment_loader, module_loader
from ansible.template import Templar
from ansible.utils.plugin_docs import get_docstring
from jinja2 import nodes

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import argument_specs
from ansible_collections.evenkeel.fleet.tests.unit.trusted import read, trusted

COLLECTION = Path(__file__).parents[3]
ROLES = sorted(path.parent.parent for path in (COLLECTION / "roles").glob("*/meta/argument_specs.yml"))
# What makes the typed value of a text.
CONVERSIONS = {
    "bool": {"bool"},
    "int": {"int", "float"},
    "float": {"float"},
    "list": {"evenkeel.fleet.as_list"},
}
# Keywords of a task that are expressions without braces.
CONDITIONS = {"when", "failed_when", "changed_when", "until"}
# Keywords whose numbers Ansible converts.
NUMBERS = {"retries", "delay", "timeout"}
# A module of each group that sets defaults for all of its modules.
GROUPS = {
    "group/evenkeel.fleet.fleet": "evenkeel.fleet.rollout_lock",
    "group/evenkeel.fleet.balancer": "evenkeel.fleet.target_drain",
    "group/evenkeel.fleet.aws": "evenkeel.fleet.asg_refresh",
    "group/evenkeel.fleet.kubernetes": "evenkeel.fleet.deployment_rollout_info",
    "group/kubernetes.core.k8s": "kubernetes.core.k8s_info",
    "group/amazon.aws.aws": "amazon.aws.autoscaling_instance",
    "group/community.aws.aws": "community.aws.sns_topic",
}
LOADER = DataLoader()
# Where a play has tasks.
TASKS = ("pre_tasks", "tasks", "post_tasks", "handlers")
BLOCKS = {"block", "rescue", "always"}


def options(role: Path) -> dict[str, Any]:
    entries = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry["options"].items()}


TYPES = {
    name: option.get("type", "str")
    for role in ROLES
    for name, option in options(role).items()
    if option.get("type") in CONVERSIONS
}


@dataclass(frozen=True)
class Template:
    """A template and what its value is for: the type that its reader converts it to, if it does."""

    place: str
    text: str
    reader: str | None = None


def templates(value: Any, place: str, option: dict[str, Any] | None = None) -> Iterator[Template]:
    """The templates in a value. `option` is what is documented of it."""
    described = option or {}
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        yield Template(place, value, described.get("type"))
    elif isinstance(value, dict):
        suboptions = described.get("suboptions") or described.get("options") or {}
        for name, entry in value.items():
            yield from templates(entry, f"{place}.{name}", suboptions.get(name))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            element = {**described, "type": described.get("elements")}
            yield from templates(entry, f"{place}.{number}", element)


@cache
def documented(module: str) -> dict[str, Any]:
    path = module_loader.find_plugin(module)
    document = get_docstring(path, fragment_loader, collection_name=module.rpartition(".")[0])[0]
    found: dict[str, Any] = document.get("options") or {}
    return found


def of_tasks(tasks: list[dict[str, Any]], place: str) -> Iterator[Template]:
    for number, task in enumerate(tasks):
        here = f"{place}[{task.get('name', number)}]"
        for key, value in task.items():
            if key in BLOCKS:
                yield from of_tasks(value, here)
            elif key in CONDITIONS:
                for condition in value if isinstance(value, list) else [value]:
                    yield Template(f"{here}.{key}", "{{ " + str(condition) + " }}", "condition")
            elif key in NUMBERS:
                yield from templates(value, f"{here}.{key}", {"type": "float"})
            elif key == "vars":
                types = {name: {"type": TYPES[name]} for name in value if name in TYPES}
                yield from templates(value, f"{here}.vars", {"options": types})
            elif key == "module_defaults":
                for module, arguments in value.items():
                    known = documented(GROUPS.get(module, module))
                    yield from templates(arguments, f"{here}.{key}.{module}", {"options": known})
            elif "." in key:
                known = {} if key.startswith("ansible.builtin.assert") else documented(key)
                if key == "ansible.builtin.assert":
                    for condition in value["that"] if isinstance(value["that"], list) else [value["that"]]:
                        yield Template(f"{here}.that", "{{ " + condition + " }}", "condition")
                yield from templates(value, f"{here}.{key}", {"options": known})
            else:
                yield from templates(value, f"{here}.{key}")


def of_role(role: Path) -> Iterator[Template]:
    for path in sorted(role.glob("tasks/**/*.yml")):
        yield from of_tasks(read(path) or [], str(path.relative_to(role.parent)))
    specified = {"options": options(role)}
    for path in sorted(role.glob("defaults/*.yml")):
        yield from templates(read(path), f"{role.name}/defaults/{path.name}", specified)
    for path in sorted(role.glob("vars/*.yml")):
        yield from templates(read(path), f"{role.name}/vars/{path.name}")
    for path in sorted(role.glob("templates/**/*.j2")):
        yield Template(f"{role.name}/templates/{path.name}", path.read_text())


def unconverted(template: Template) -> list[str]:
    """The variables that are used as they are given."""
    parents: dict[nodes.Node, nodes.Node] = {}
    tree = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]).parse(template.text)

    def note(node: nodes.Node) -> None:
        for child in node.iter_child_nodes():
            parents[child] = node
            note(child)

    note(tree)
    return [
        f"{template.place}: {name.name} ({TYPES[name.name]})"
        for name in tree.find_all(nodes.Name)
        if name.name in TYPES
        and name.ctx == "load"
        and not _converted(name, TYPES[name.name], parents, template.reader)
    ]


def _converted(name: nodes.Node, kind: str, parents: dict[nodes.Node, nodes.Node], reader: str | None) -> bool:
    node: nodes.Node = name
    number = kind in ("int", "float")
    while node in parents:
        parent = parents[node]
        if isinstance(parent, nodes.Filter):
            if parent.name in CONVERSIONS[kind] or (parent.name == "string" and number):
                return True
            if parent.name == "map":
                return bool(parent.args) and getattr(parent.args[0], "value", None) in CONVERSIONS[kind]
            if parent.name not in ("default", "d"):
                return False
        elif isinstance(parent, nodes.Test):
            return parent.name in ("defined", "undefined")
        elif isinstance(parent, nodes.CondExpr):
            if parent.test is node:
                return False
        elif isinstance(parent, nodes.Concat):
            return number
        elif isinstance(parent, nodes.Output):
            if len(parent.nodes) > 1:
                return number
            return reader == kind != "list" or (number and reader in ("int", "float"))
        elif not (isinstance(parent, nodes.List) and number):
            return False
        node = parent
    return False


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_what_is_given_as_text_is_converted_where_it_is_used(role: Path) -> None:
    assert [problem for template in of_role(role) for problem in unconverted(template)] == []


@pytest.mark.parametrize("path", sorted((COLLECTION / "playbooks").glob("*.yml")), ids=lambda path: path.name)
def test_playbooks_convert_what_they_use_themselves(path: Path) -> None:
    plays = read(path)
    found = [template for play in plays for key in TASKS for template in of_tasks(play.get(key, []), path.name)]
    for play in plays:
        found += templates({key: value for key, value in play.items() if key not in TASKS}, path.name)
    assert [problem for template in found for problem in unconverted(template)] == []


SAMPLES: dict[str, list[tuple[Any, list[str]]]] = {
    "bool": [(True, ["true", "yes", "on"]), (False, ["false", "no", "off"])],
    "int": [(30, ["30"]), (0, ["0"])],
    "float": [(1.5, ["1.5"])],
}
LISTS: dict[str, list[tuple[Any, list[str]]]] = {
    "str": [(["one", "two"], ["one,two", "one, two", '["one", "two"]']), (["one"], ["one"]), ([], ["", "[]"])],
    "int": [([10, 20], ["10,20", "[10, 20]"])],
    "dict": [([{"a": "b"}], ['[{"a": "b"}]']), ([], ["[]"])],
}
HOSTS = ["one", "two"]
# What the inventory, Ansible and required variables say.
SURROUNDINGS: dict[str, Any] = {
    "ecs_cluster": "production",
    "ecs_services": [{"name": "api", "task": {"containerDefinitions": [{"name": "api"}]}}],
    "ecr_registry": "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "fleet_replacement_group": "gateways",
    "gateway_image": "registry/gateway:1",
    "gateway_aws_region": "eu-central-1",
    "gateway_secret_arn": "arn:app",
    "gateway_db_secret_arn": "arn:db",
    "launch_template_name": "gateways",
    "launch_template_image_id": "ami-1",
    "launch_template_instance_profile": "gateways",
    "launch_template_security_groups": ["sg-1"],
    "launch_template_subnets": ["subnet-1"],
    "launch_template_collection_url": "s3://bucket/key",
    "launch_template_collection_sha256": "0" * 64,
    "launch_template_vars": {},
    "load_balancer_name": "gateways",
    "load_balancer_vpc_id": "vpc-1",
    "load_balancer_subnets": ["subnet-1"],
    "load_balancer_security_groups": ["sg-1"],
    "load_balancer_target_group_arn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/gateways/1",
    "load_balancer_arn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/gateways/1",
    "cloudwatch_agent_fleet": "gateways",
    "lifecycle_hook": "gateways-terminating",
    "queue_name": "audit",
    "rollout_unlock_reason": "a reason",
    "alarms_autoscaling_group": "gateways",
    "_fleet_replacement_checkpoints": [10],
    "instance_id": "i-1",
    "inventory_hostname": "one",
    "groups": {"gateways": HOSTS},
    "hostvars": {name: {"instance_id": f"i-{name}", "rollout_event": {"kind": "done"}} for name in HOSTS},
    "ansible_play_hosts_all": HOSTS,
    "ansible_play_hosts": HOSTS,
    "ansible_check_mode": False,
    "ansible_run_tags": ["all"],
    "ansible_skip_tags": [],
    "ansible_failed_result": {"msg": "it failed"},
    "rollout_step": {"kind": "update", "hosts": HOSTS, "candidates": [], "updated": 1, "min_in_service": 1},
    "rollout_events": [],
    "__rollout_lock": {"rollout_id": 1},
    "__rollout_next": {"kind": "end", "updated": 1, "words": [], "result": "succeeded"},
    "__rollout_alarms": {"metric_alarms": []},
    "__rollout_canary": {"metrics": {}},
    "__iam_policy": {},
}
# They are used beside answers of hosts or of AWS alone; that they are converted is seen above.
UNSEEN = {"ecs_cutover_probe_slower", "rollout_canary_errors", "rollout_canary_slower", "rollout_pause_after"}
# How host_converge reads a declaration.
DECLARATION = ArgumentSpecValidator({"declarations": argument_specs.DECLARATIONS})


@dataclass(frozen=True)
class Scope:
    """All roles' variables, and what is made of them."""

    variables: dict[str, Any]
    # With the names of the variables that it is made of.
    templates: list[tuple[Path, Template, set[str]]]


@pytest.fixture(scope="module")
def scope() -> Scope:
    variables: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        for role in ROLES:
            path = role / kind / "main.yml"
            variables |= (read(path) or {}) if path.is_file() else {}
    found = [
        (role, template, names(template.text))
        for role in ROLES
        for template in of_role(role)
        if "/templates/" not in template.place
    ]
    for role in ROLES:
        if f"{role.name}_declaration" in variables:
            declaration = Template(f"{role.name}_declaration", f"{{{{ {role.name}_declaration }}}}", "declaration")
            found.append((role, declaration, set(options(role))))
    return Scope(variables | SURROUNDINGS, found)


def names(text: str) -> set[str]:
    return {name.name for name in jinja2.Environment().parse(text).find_all(nodes.Name)}


def evaluated(template: Template, role: Path, variables: dict[str, Any]) -> Any:
    templar = Templar(loader=LOADER, variables={**variables, "role_path": str(role), "item": "host"})
    value = templar.template(trusted(template.text.replace("now(utc=true).timestamp()", "0.0")))
    if template.reader == "condition":
        return bool(value)
    if template.reader == "declaration":
        checked = DECLARATION.validate({"declarations": [value]})
        if checked.error_messages:
            raise AnsibleError(" ".join(checked.error_messages))
        return checked.validated_parameters
    if template.reader in READERS:
        return READERS[template.reader](value)
    return value


READERS: dict[str, Any] = {
    "bool": check_type_bool,
    "int": check_type_int,
    "float": check_type_float,
}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_text_comes_out_as_the_typed_value_does(name: str, scope: Scope) -> None:
    users = [(role, template) for role, template, used in scope.templates if name in used]
    compared = 0
    for typed, given in samples(name):
        for role, template in users:
            try:
                wanted = evaluated(template, role, {**scope.variables, name: typed})
            except (AnsibleError, LookupError):  # before ansible-core 2.19, a filter's own error comes as it is
                continue  # it is made of what a host or AWS answered
            for text in given:
                got = evaluated(template, role, {**scope.variables, name: text})
                assert plain(got) == plain(wanted), f"{template.place} with {name}={text}"
                compared += 1
    assert compared or name in UNSEEN or not users


def plain(value: Any) -> str:
    """With the kinds of all values in it, so that 1 is not true, nor "1"."""
    return json.dumps(value, default=str, sort_keys=True)


def samples(name: str) -> list[tuple[Any, list[str]]]:
    option = next(options(role)[name] for role in ROLES if name in options(role))
    if option["type"] != "list":
        return SAMPLES[option["type"]]
    if "choices" in option:
        chosen = option["choices"][:2]
        return [(chosen, [",".join(chosen), json.dumps(chosen)])]
    return LISTS[option["elements"]]
