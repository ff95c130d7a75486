# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/how-to/ci.md: its pipelines are valid by their schemas, and everything that it names exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout.support import CHECKOUT, read, tracked

BIN = Path(sys.executable).parent
PAGE = (CHECKOUT / "docs" / "how-to" / "ci.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REPORT = json.loads((CHECKOUT / "docs" / "rollout-report.schema.json").read_text())


def block(language: str, words: str) -> str:
    (found,) = [text for kind, text in BLOCKS if kind == language and words in text]
    return found


def workflow() -> str:
    return block("yaml", "runs-on:")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("runs-on:", ("vendor.github-workflows",)),
        ("resource_group:", ("vendor.gitlab-ci", "--data-transform", "gitlab-ci")),
    ],
)
def test_a_pipeline_fits_the_schema_of_its_service(words: str, options: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(block("yaml", words))
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", *options, str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_an_attacker_can_use_nothing_in_the_workflow(tmp_path: Path) -> None:
    path = tmp_path / ".github" / "workflows" / "gateway.yml"
    path.parent.mkdir(parents=True)
    path.write_text(workflow())
    checked = subprocess.run(
        (BIN / "zizmor", "--offline", "--no-progress", "--min-severity", "medium", path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_actions_are_pinned_as_in_our_own_workflows() -> None:
    pinned = dict(re.findall(r"uses: ([\w/-]+)@(\S+ # \S+)", workflow()))
    assert len(pinned) == len(set(re.findall(r"uses: ([\w/-]+)", workflow())))
    for path in tracked():
        if path.startswith(".github/workflows/"):
            for name, version in re.findall(r"uses: ([\w/-]+)@(\S+ # \S+)", (CHECKOUT / path).read_text()):
                assert pinned.get(name, version) == version, name


def test_the_playbooks_and_links_are_there() -> None:
    playbooks = {Path(name).stem for name in tracked() if re.fullmatch(r"playbooks/\w+\.yml", name)}
    by_full_name = set(re.findall(r"evenkeel\.fleet\.(\w+) +-", PAGE)) | set(
        re.findall(r"ansible-playbook .* evenkeel\.fleet\.(\w+)", PAGE)
    )
    by_file = set(re.findall(r"`(\w+)\.yml[ `]", PAGE)) - {"requirements"}
    assert "rolling_update" in by_full_name and "status" in by_file
    assert by_full_name | by_file <= playbooks
    for target in re.findall(r"\]\(([^)#:]+)", PAGE):
        assert (CHECKOUT / "docs" / "how-to" / target).exists(), target


def test_the_variables_are_there() -> None:
    specified: set[str] = set()
    for name in tracked():
        if name.endswith("/meta/argument_specs.yml"):
            for entry in read(name)["argument_specs"].values():
                specified |= set(entry.get("options", {}))
    variables = set(re.findall(r"-e (\w+)=", PAGE)) | set(re.findall(r"\b(rollout_\w+|gateway_\w+)\b", PAGE))
    assert variables - {"rollout_id"} <= specified
    callback = (CHECKOUT / "plugins" / "callback" / "rollout.py").read_text()
    for name in set(re.findall(r"EVENKEEL_\w+", PAGE)):
        assert f"- name: {name}\n" in callback


def test_the_fields_of_the_summary_are_those_of_its_schema() -> None:
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    fields = {
        field
        for row in table.splitlines()
        for field in re.findall(r"`([\w\[\].]+)`", row.partition("| ")[2].split(" |")[0])
    }
    assert {"result", "changed", "words"} <= fields
    top = {name.partition("[]")[0] for name in fields if not name.startswith(".")}
    assert top <= set(REPORT["properties"])
    assert {name.split(".")[1] for name in fields if name.startswith("hosts[].")} <= set(
        REPORT["$defs"]["host"]["properties"]
    )
    failure = REPORT["properties"]["failures"]["items"]["properties"]
    assert {name.rpartition(".")[2] for name in fields if name.startswith((".", "failures"))} <= set(failure)
    states = set(re.findall(r"`([a-z ]+)`", next(row for row in table.splitlines() if "hosts[].state" in row)))
    sources = "".join(path.read_text() for path in (CHECKOUT / "plugins" / "plugin_utils" / "_report").glob("*.py"))
    assert all(f'"{state}"' in sources for state in states)


def definition() -> Any:
    return yaml.safe_load(block("yaml", "base_image:"))


def test_ansible_builder_makes_the_execution_environment(tmp_path: Path) -> None:
    path = tmp_path / "execution-environment.yml"
    path.write_text(block("yaml", "base_image:"))
    context = tmp_path / "context"
    command = (BIN / "ansible-builder", "create", "-f", path, "-c", context, "--output-filename", "Containerfile")
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "quay.io/centos/centos:stream10" in (context / "Containerfile").read_text()
    collections = yaml.safe_load((context / "_build" / "requirements.yml").read_text())["collections"]
    assert {collection["name"] for collection in collections} == {"evenkeel.fleet", "amazon.aws", "community.aws"}


def test_collections_are_of_the_versions_that_are_tested() -> None:
    tested = {entry["name"]: entry["version"] for entry in read("requirements.yml")["collections"]}
    named = [*definition()["dependencies"]["galaxy"]["collections"]]
    named += yaml.safe_load(block("yaml", "for the inventory"))["collections"]
    for collection in named:
        if collection["name"] != "evenkeel.fleet":
            assert collection["version"] == tested[collection["name"]], collection["name"]
    core = next(line for line in (CHECKOUT / "requirements.txt").read_text().splitlines() if "ansible-core" in line)
    assert definition()["dependencies"]["ansible_core"]["package_pip"] == core
