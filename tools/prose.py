"""Check the prose of documentation, task names, messages and docstrings for words that this project does not use.

tools/prose.yml has the words, each with what to write in its place.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
RULES = Path(__file__).with_name("prose.yml")
TASK, TEXT = "task", "text"
# Keys of a task or play beside its name: a mapping with one of them has a task's name.
TASK_KEYS = {
    "block",
    "hosts",
    "when",
    "register",
    "vars",
    "tags",
    "loop",
    "become",
    "delegate_to",
    "run_once",
    "notify",
}
# What is code in a task.
CODE_KEYS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.raw", "cmd", "that", "until", "when"}
_FENCE = re.compile(r"^ *(```+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`[^`\n]+`|\]\([^)\s]*\)|<!--.*?-->")
# Names of modules, options and variables within texts of Ansible, and Jinja.
_MARKUP = re.compile(r"\b[A-Z]\([^)]*\)|\{\{.*?\}\}|\{%.*?%\}|`[^`\n]*`", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    pattern: re.Pattern[str]
    instead: str
    kind: str


@dataclass(frozen=True)
class Passage:
    """A piece of prose, its first line in its file, and whether it is a task's name."""

    text: str
    line: int
    kind: str = TEXT


def rules(data: dict[str, Any]) -> list[Rule]:
    words = [
        # A space in a pattern may be the end of a line.
        Rule(re.compile(rf"\b(?:{word})\b".replace(" ", r"\s+"), re.IGNORECASE), instead, TEXT)
        for word, instead in data["words"].items()
    ]
    openings = [Rule(re.compile(rf"(?:{word})\b"), instead, TASK) for word, instead in data["task_openings"].items()]
    return words + openings


def problems(path: str, text: str, known: Iterable[Rule]) -> Iterator[str]:
    for passage in passages(path, text):
        for rule in known:
            if rule.kind == TASK and passage.kind != TASK:
                continue
            find = rule.pattern.match if rule.kind == TASK else rule.pattern.search
            if found := find(passage.text):
                line = passage.line + passage.text.count("\n", 0, found.start())
                yield f"{path}:{line}: “{' '.join(found[0].split())}”: write {rule.instead}"


def passages(path: str, text: str) -> Iterator[Passage]:
    if path.endswith(".md"):
        yield Passage(_blanked(_INLINE, _blanked(_FENCE, text)), 1)
    elif path.endswith((".yml", ".yaml")):
        yield from _yaml(text)
    else:
        yield from _python(text)


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    """Without what matches, on the same lines."""
    return pattern.sub(lambda found: "\n" * found[0].count("\n"), text)


def _yaml(text: str) -> Iterator[Passage]:
    for document in yaml.compose_all(text, Loader=yaml.CSafeLoader):
        yield from _node(document)
    for number, line in enumerate(text.splitlines(), 1):
        if (found := re.match(r"\s*# (.*)", line)) and "SPDX" not in line:
            yield Passage(_blanked(_MARKUP, found[1]), number)


def _node(node: yaml.Node) -> Iterator[Passage]:
    if isinstance(node, yaml.ScalarNode):
        if " " in node.value:
            # A block begins below its indicator.
            yield Passage(_blanked(_MARKUP, node.value), node.start_mark.line + (2 if node.style in ("|", ">") else 1))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _node(item)
    else:
        keys = {key.value for key, _value in node.value}
        is_task = "name" in keys and any(key in TASK_KEYS or "." in str(key) for key in keys)
        for key, value in node.value:
            if key.value in CODE_KEYS:
                continue
            if key.value == "name" and is_task and isinstance(value, yaml.ScalarNode):
                yield Passage(_blanked(_MARKUP, value.value), value.start_mark.line + 1, TASK)
            else:
                yield from _node(value)


def _python(text: str) -> Iterator[Passage]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield Passage(_blanked(_MARKUP, node.value), node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and "SPDX" not in token.string:
            yield Passage(token.string.lstrip("# "), token.start[0])


def checked(data: dict[str, Any]) -> list[str]:
    """The files that the rules are for."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *data["files"]]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    names = sorted(name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file())
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in data["except"])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="check only these, also where tools/prose.yml excepts them")
    arguments = parser.parse_args()
    data = yaml.safe_load(RULES.read_text())
    known = rules(data)
    found = [
        problem
        for name in arguments.files or checked(data)
        for problem in problems(name, (CHECKOUT / name).read_text(), known)
    ]
    if found:
        print(*found, sep="\n")
        print(f"{len(found)} to reword. tools/prose.yml has the rules.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
