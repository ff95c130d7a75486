# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command in the documentation names targets, playbooks, inventories, options, variables and files that exist."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout.markdown import commands, pages
from tests.checkout.support import CHECKOUT, paths

cli = pytest.importorskip("ansible.cli.playbook", reason="needs all of Ansible")

# What a page tells the reader to create first.
CREATED = {"inventories/mine", "rollout-report"}
PLACEHOLDER = re.compile(r"…|<[^>]*>")


@cache
def makefile() -> str:
    return (CHECKOUT / "Makefile").read_text()


@cache
def variables() -> set[str]:
    """All that an operator may set: the roles' arguments, the testbed's variables and the playbooks' own."""
    found: set[str] = set()
    for path in paths("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(entry.get("options", {}))
    found |= set(yaml.safe_load((CHECKOUT / "testbed" / "vars" / "main.yml").read_text()))
    for path in paths("testbed/*.yml", "playbooks/*.yml"):
        found |= set(re.findall(r"\b(testbed_\w+|fleet_\w+)\b", path.read_text()))
    for path in paths("inventories/*/group_vars/*.yml"):
        found |= set(yaml.safe_load(path.read_text()) or {})
    return found


@cache
def tags() -> set[str]:
    return {path.parent.name for path in paths("roles/*/defaults")} | {
        path.parts[-3] for path in paths("roles/*/meta/*")
    }


def playbook(name: str) -> Path:
    """Where a playbook is: by path, by its name alone, or by that of the collection."""
    if name.startswith("evenkeel.fleet."):
        return CHECKOUT / "playbooks" / f"{name.removeprefix('evenkeel.fleet.')}.yml"
    return CHECKOUT / name if "/" in name else CHECKOUT / "playbooks" / name


def extra(values: list[Any]) -> Iterator[str]:
    """The names that -e sets."""
    for value in values:
        text = str(value)
        if text.startswith("{"):
            yield from json.loads(PLACEHOLDER.sub("x", text))
        elif not text.startswith("@"):
            # Ansible splits a value at its spaces, unless quotes are part of it.
            yield from (word.partition("=")[0] for word in shlex.split(text) if word)


def play_problems(words: list[str]) -> Iterator[str]:
    parser = cli.PlaybookCLI(["ansible-playbook", *words])
    parser.init_parser()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            arguments = parser.parser.parse_args(words)
    except SystemExit:
        yield said.getvalue().strip().splitlines()[-1]
        return
    for name in arguments.args:
        if not playbook(name).is_file():
            yield f"no playbook {name}"
    for name in arguments.inventory or []:
        if (
            name not in CREATED
            and not name.endswith(",")
            and not PLACEHOLDER.search(name)
            and not (CHECKOUT / name).exists()
        ):
            yield f"no inventory {name}"
    yield from (f"no variable {name}" for name in extra(arguments.extra_vars) if name not in variables())
    chosen = [tag for group in arguments.tags for tag in group.split(",")]
    yield from (f"no tag {tag}" for tag in chosen if tag not in {*tags(), "all"})


def make_problems(words: list[str]) -> Iterator[str]:
    for word in words:
        name, assigned, _value = word.partition("=")
        if assigned and not re.search(rf"\b{re.escape(name)}\b", makefile()):
            yield f"no variable {name} in the Makefile"
        if not assigned and not re.search(rf"^{re.escape(name)}:", makefile(), re.MULTILINE):
            yield f"no target {name} in the Makefile"


def path_problems(words: list[str]) -> Iterator[str]:
    """Words that begin with a folder of the checkout are paths in it."""
    for word in words:
        path = word.removeprefix("./").rstrip("/,")
        top = path.partition("/")[0]
        created = any(path == name or path.startswith(f"{name}/") for name in CREATED)
        if (
            "/" not in path
            or not top
            or not (CHECKOUT / top).is_dir()
            or top.startswith(".")
            or created
            or PLACEHOLDER.search(path)
        ):
            continue
        if not list(CHECKOUT.glob(path.partition("::")[0])):
            yield f"no file {path}"


def problems(command: str) -> Iterator[str]:
    """What is wrong with a command line, of which each part between `&&`, `;` and `|` is looked at."""
    line = re.sub(r"\s#\s.*$", "", command)
    if re.search(r"\[[^\]]*--?\w", line):
        line = line.replace("[", " ").replace("]", " ")
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        yield str(error)
        return
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";", "|", "||"):
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
            part = part[1:]
        if not part:
            continue
        program = part[0].removeprefix(".venv/bin/")
        if program == "ansible-playbook":
            yield from play_problems(part[1:])
        elif re.fullmatch(r"\w+\.yml", program):
            yield from play_problems(part)
        elif program == "-e":
            yield from play_problems(["site.yml", *part])
        elif program == "make":
            yield from make_problems(part[1:])
        else:
            yield from path_problems(part)


def test_every_command_can_be_typed() -> None:
    wrong = [
        f"{page.relative_to(CHECKOUT)}: {command}: {what}"
        for page in pages()
        for command in commands(page.read_text())
        for what in problems(command)
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_the_pages_have_commands() -> None:
    found = {page.relative_to(CHECKOUT).as_posix(): len(list(commands(page.read_text()))) for page in pages()}
    assert found["README.md"] >= 5
    assert found["docs/tutorials/aws.md"] >= 12
    assert found["docs/how-to/operate.md"] >= 12


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("make demos", "no target demos in the Makefile"),
        ("make demo HOST=3", "no variable HOST in the Makefile"),
        ("ansible-playbook playbooks/sites.yml", "no playbook playbooks/sites.yml"),
        ("ansible-playbook playbooks/site.yml --tag docker --dif", ""),
        ("ansible-playbook playbooks/site.yml --checks", "ansible-playbook: error: unrecognized arguments: --checks"),
        ("ansible-playbook -i inventories/none playbooks/site.yml", "no inventory inventories/none"),
        ("ansible-playbook playbooks/site.yml -e gateway_images=x", "no variable gateway_images"),
        ("""ansible-playbook playbooks/aws.yml -e '{"iam_aply": true}'""", "no variable iam_aply"),
        ("ansible-playbook playbooks/site.yml --tags dockers", "no tag dockers"),
        ("cp -r inventories/awz inventories/mine", "no file inventories/awz"),
        ("site.yml -e gateway_image=…:2.4.1 --check", ""),
        ("-e rollout_reason='new disk'", "no variable disk"),
        ("""-e "rollout_reason='new disk'\"""", ""),
    ],
)
def test_a_wrong_command_is_noticed(command: str, what: str) -> None:
    assert "; ".join(problems(command)) == what
