# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other collections: the documentation says which are needed, and the tarball works with just these."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.checkout.support import CHECKOUT, read, tracked
from tests.integration.support import environment

BIN = Path(sys.executable).parent
# A hook that a user names; the rollout itself does without.
HOOK = "roles/rollout/tasks/hooks/check_alarms.yml"
# What is read only when a run includes it.
LATER = (HOOK, "roles/ecs/tasks/around/", "roles/ecs/tasks/steps/build_image.yml")
OTHERS = re.compile(r"^\s*(?:- )?(?:group/)?((?!ansible\.|evenkeel\.)[a-z_]+\.[a-z_]+)\.[a-z_0-9]+:", re.MULTILINE)
ROLE = re.compile(r"(?:import|include)_role:\n\s+name: (?:evenkeel\.fleet\.)?(\w+)")
PAGE = CHECKOUT / "docs" / "how-to" / "install.md"


def task_files(role: str) -> Iterator[str]:
    return (name for name in tracked() if name.startswith(f"roles/{role}/tasks/") and not name.startswith(LATER))


def needs(role: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """The collections of a role's tasks, and of the roles that it includes."""
    found: set[str] = set()
    for name in task_files(role):
        text = (CHECKOUT / name).read_text()
        found |= set(OTHERS.findall(text))
        for other in set(ROLE.findall(text)) - seen - {role}:
            found |= needs(other, seen | {role})
    return frozenset(found)


PLAYBOOKS = {
    Path(name).stem: frozenset().union(*map(needs, ROLE.findall((CHECKOUT / name).read_text())))
    for name in sorted(tracked())
    if re.fullmatch(r"playbooks/\w+\.yml", name)
}
ROLES = {name.split("/")[1]: needs(name.split("/")[1]) for name in sorted(tracked()) if name.startswith("roles/")}


def documented() -> dict[str, frozenset[str]]:
    """What the table says, by playbook and role."""
    section = PAGE.read_text().partition("\n## Other collections\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \| (.*) \|$", section, re.MULTILINE)
    return {
        name: frozenset(re.findall(r"`([a-z]+\.[a-z]+)`", collections))
        for names, collections in rows
        for name in re.findall(r"`([\w.]+)`", names)
    }


def test_the_walk_finds_what_is_there() -> None:
    assert PLAYBOOKS["aws"] == {"amazon.aws", "community.aws"}
    assert PLAYBOOKS["site"] == PLAYBOOKS["rolling_update"] == frozenset()
    assert "amazon.aws" in (CHECKOUT / HOOK).read_text()


def test_the_documentation_names_each_playbook_and_role_that_needs_one() -> None:
    walked = {f"{name}.yml": found for name, found in PLAYBOOKS.items() if found}
    walked |= {name: found for name, found in ROLES.items() if found}
    assert documented() == walked


def test_the_first_page_leads_there() -> None:
    page = (CHECKOUT / "README.md").read_text()
    assert "docs/how-to/install.md#other-collections" in page
    assert "amazon.aws" not in page, "the table says it, and a test compares it"


def test_a_role_that_needs_one_says_so() -> None:
    for role, found in ROLES.items():
        page = (CHECKOUT / "roles" / role / "README.md").read_text()
        assert all(collection in page for collection in found), role


def test_no_dependency_is_declared_for_what_few_playbooks_need() -> None:
    """`requirements.yml` has them: a host-only user shall not install the whole of amazon.aws."""
    assert read("galaxy.yml")["dependencies"] == {}
    assert frozenset().union(*PLAYBOOKS.values()) <= {
        entry["name"] for entry in read("requirements.yml")["collections"]
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tarball alone."""
    folder = tmp_path_factory.mktemp("installed")
    for arguments in (
        ("build", "--output-path", folder),
        ("install", "--offline", "-p", folder, f"{folder}/evenkeel-fleet-{read('galaxy.yml')['version']}.tar.gz"),
    ):
        command = [str(BIN / "ansible-galaxy"), "collection", *map(str, arguments)]
        subprocess.run(command, cwd=CHECKOUT, env=alone(folder), check=True, capture_output=True)
    return folder


def alone(folder: Path, collections: Path | None = None) -> dict[str, str]:
    """Variables with which Ansible finds the collections of a folder and no others."""
    (folder / "empty.cfg").touch()
    variables = environment(
        ANSIBLE_COLLECTIONS_PATH=str(collections or folder),
        ANSIBLE_COLLECTIONS_SCAN_SYS_PATH="false",
        ANSIBLE_CONFIG=str(folder / "empty.cfg"),
        ANSIBLE_NOCOLOR="1",
    )
    del variables["PYTHONPATH"]
    return variables


def checked(folder: Path, playbook: str, collections: Path) -> tuple[int, str]:
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"gateways": {"hosts": {"gateway-a": None}}}))
    command = [str(BIN / "ansible-playbook"), "-i", str(inventory), f"evenkeel.fleet.{playbook}", "--syntax-check"]
    done = subprocess.run(
        command, cwd=folder, env=alone(folder, collections), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tarball_alone_runs_the_playbooks_that_need_no_other(installed: Path) -> None:
    names = [name for name, found in PLAYBOOKS.items() if not found]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda name: checked(installed, name, installed), names)
    assert {name: text for name, (code, text) in zip(names, results, strict=True) if code} == {}


def test_the_others_name_what_is_missing_and_run_with_just_that(installed: Path, tmp_path: Path) -> None:
    theirs = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "ansible_collections"
    for name, found in PLAYBOOKS.items():
        if not found:
            continue
        code, text = checked(installed, name, installed)
        assert code == 4 and any(collection in text for collection in found), text
        collections = tmp_path / name
        (collections / "ansible_collections").mkdir(parents=True)
        (collections / "ansible_collections" / "evenkeel").symlink_to(installed / "ansible_collections" / "evenkeel")
        for collection in found:
            namespace, _, short = collection.partition(".")
            link = collections / "ansible_collections" / namespace / short
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(theirs / namespace / short)
        code, text = checked(installed, name, collections)
        assert code == 0, text
