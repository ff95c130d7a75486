# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable that a template of the checkout reads is defined in it: a rename leaves nothing behind."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jinja2
import jinja2.meta
import yaml

from tests.checkout.support import CHECKOUT, tracked

TREES = ("inventories/", "molecule/", "playbooks/", "roles/", "testbed/")
VARIABLE_FILES = ("/vars/", "/defaults/", "/group_vars/", "/host_vars/")
EXPRESSIONS = ("when", "that", "failed_when", "changed_when", "until", "var")
MAPPINGS = ("vars", "ansible.builtin.add_host", "ansible.builtin.set_fact", "options")
NAMES = ("register", "loop_var", "index_var")
# What Ansible and the dynamic inventory of EC2 define.
GIVEN = {
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_hostname",
    "item",
    "lookup",
    "now",
    "omit",
    "query",
    "role_path",
}
GIVEN |= {"ec2_tags", "playbook_dir", "tags"}
# Jinja takes what is set inside a loop for a name from outside.
GIVEN |= {"_"}
# Optional, and named in the documentation alone.
GIVEN |= {"fleet_endpoint_url", "fleet_profile"}


class AnyName(dict[str, Any]):
    """Ansible's filters and tests, of which only the names are of interest."""

    def get(self, *_: Any) -> Any:
        return str


ENVIRONMENT = jinja2.Environment()
ENVIRONMENT.filters = AnyName()
ENVIRONMENT.tests = AnyName()


class Loader(yaml.SafeLoader):
    """Reads vaulted and unsafe texts as texts."""


Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))


def nodes(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    yield key, node
    if isinstance(node, dict):
        for name, value in node.items():
            yield from nodes(value, str(name))
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value, key)


def read_by(template: str) -> set[str]:
    return jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(template))


def defined_and_read() -> tuple[set[str], dict[str, set[str]]]:
    """The names that are defined, and each name that is read with the files that read it."""
    defined: set[str] = set()
    read: dict[str, set[str]] = defaultdict(set)
    defined |= set(re.findall(r"^ +(\w+):", (CHECKOUT / "testbed/templates/hosts.yml.j2").read_text(), re.MULTILINE))
    for name in sorted(file for file in tracked() if file.startswith(TREES) and file.endswith(".yml")):
        for document in yaml.load_all((CHECKOUT / name).read_text(), Loader):
            if isinstance(document, dict) and any(folder in f"/{name}" for folder in VARIABLE_FILES):
                defined |= set(document)
            for key, node in nodes(document):
                if key in MAPPINGS and isinstance(node, dict):
                    defined |= set(node)
                elif key in NAMES and isinstance(node, str):
                    defined.add(node)
                elif isinstance(node, str):
                    bare = key in EXPRESSIONS and "{{" not in node
                    for variable in read_by(f"{{{{ {node} }}}}" if bare else node):
                        read[variable].add(name)
    return defined, read


def test_every_variable_that_is_read_is_defined() -> None:
    defined, read = defined_and_read()
    assert len(read) > 100
    unknown = set(read) - defined - GIVEN
    assert {name: sorted(read[name]) for name in unknown if not name.startswith("ansible_")} == {}
