# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles that install packages: what is installed already counts, and no package is removed, by host_converge alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import host, packages
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError, Result
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.packages import ensure_packages
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.providers import COMMANDS

ROOT = Path(__file__).parents[3]
ROLES = ROOT / "roles"
TASK_FILES = sorted(
    [*ROLES.glob("*/tasks/**/*.yml"), *ROLES.glob("*/handlers/*.yml"), *(ROOT / "playbooks").glob("*.yml")]
)
MANAGERS = {"apt", "apt_rpm", "dnf", "dnf5", "package", "pip", "pipx", "snap", "yum", "zypper"}
COMMAND_MODULES = {f"ansible.builtin.{name}" for name in ("command", "shell", "raw", "script")}
INSTALLS = r"\b(apt|apt-get|dpkg|dnf|yum|rpm|snap|pip3?)\b.*(\binstall\b|\s-[iU])"
RELEASES = {"debian": "ID=debian\n", "redhat": "ID=fedora\n", "amazon": "ID=amzn\n"}


def lists_in(value: Any) -> Iterator[tuple[str, list[str]]]:
    """All that looks like packages by family, at whatever depth: an own variable may hold what a declaration names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in RELEASES and isinstance(inner, list):
                yield key, inner
            yield from lists_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from lists_in(inner)


def named() -> Iterator[Any]:
    for role in sorted(ROLES.iterdir()):
        files = [role / "defaults/main.yml", role / "vars/main.yml"]
        texts = [file.read_text() for file in files if file.exists()]
        if not any("_declaration:" in text for text in texts):
            continue
        for text in texts:
            for family, names in lists_in(yaml.safe_load(text)):
                yield pytest.param(family, names, id=f"{role.name}-{family}")
            for name in re.findall(r"\[\{'name': '([^']+)', 'url'", text):
                yield from (pytest.param(family, [name], id=f"{role.name}-file-{family}") for family in RELEASES)


NAMED = list(named())


class FakeHost:
    """A host that lacks all packages, and whose managers would remove something."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self, argv: Sequence[str], *_: Any) -> Result:
        self.ran.append(" ".join(argv))
        if argv[0] == "rpm":
            return Result(tuple(argv), 1, "".join(f"no package provides {name}\n" for name in argv[3:]), "")
        if argv[0] == "apt-get":
            said = "The following packages will be REMOVED:\n  precious\n"
            return Result(tuple(argv), 100, said, "E: Packages need to be removed but remove is disabled.")
        if argv[0] == "dnf":
            return Result(tuple(argv), 1, "Removing:\n precious  noarch  1-1  @r  1 k\n", "Operation aborted.")
        return Result(tuple(argv), 1, "", "")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    monkeypatch.setattr(host, "OS_RELEASE", tmp_path / "os-release")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "mirror_Packages").write_text("")
    monkeypatch.setattr(packages, "APT_LISTS", lists)
    monkeypatch.setattr(packages, "APT_SOURCES", (tmp_path / "sources.list", tmp_path / "sources.list.d"))
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    return FakeHost()


def test_the_roles_are_found() -> None:
    found = {str(parameter.id).partition("-")[0] for parameter in NAMED}
    assert found >= {"aws_cli", "cloudwatch_agent", "docker", "ecr", "imds", "lifecycle", "postgres_client"}


@pytest.mark.parametrize(("family", "names"), NAMED)
def test_what_is_there_under_another_name_is_not_installed(
    family: str, names: list[str], fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.OS_RELEASE.write_text(RELEASES[family])
    commands = {COMMANDS["debian" if family == "debian" else "redhat"].get(name) for name in names}
    assert None not in commands, f"providers.COMMANDS has to say which command {names} are wanted for"
    monkeypatch.setattr(Host, "has_command", lambda _host, name: name in commands)
    target = Host(runner=fake)
    ensure_packages(target, [{"name": "role", "packages": {family: names}}])
    assert target.changes == []
    assert not [line for line in fake.ran if line.startswith(("apt-get", "dnf"))]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize(("family", "names"), NAMED)
def test_nothing_is_removed_for_what_is_missing(
    family: str, names: list[str], check: bool, fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.OS_RELEASE.write_text(RELEASES[family])
    monkeypatch.setattr(Host, "has_command", lambda *_: False)
    target = Host(check_mode=check, runner=fake)
    with pytest.raises(HostError, match="would remove precious from this host: nothing was changed"):
        ensure_packages(target, [{"name": "role", "packages": {family: names}}])
    assert target.changes == []


def declared(role: Path) -> dict[str, Any]:
    file = role / "vars/main.yml"
    read = yaml.safe_load(file.read_text()) if file.exists() else {}
    found = read.get(f"{role.name}_declaration")
    return found if isinstance(found, dict) else {}


def test_the_variables_that_a_missing_program_is_reported_with_exist() -> None:
    """packages.refuse_without_package derives their names."""
    with_commands = [role for role in sorted(ROLES.iterdir()) if declared(role).get("commands")]
    assert [role.name for role in with_commands] == ["cloudwatch_agent"]
    bootstrap = yaml.safe_load((ROLES / "bootstrap/defaults/main.yml").read_text())["bootstrap_roles"]
    for role in with_commands:
        defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
        wanted = {f"{role.name}_{name}" for name in ("packages", "package_url", "package_checksum")}
        assert wanted <= set(defaults)
        assert role.name in bootstrap


def tasks_in(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a file of tasks."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from tasks_in(inner)


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_host_converge_installs(path: Path) -> None:
    """What it refuses to remove, another module or a command would remove."""
    for task in tasks_in(yaml.safe_load(path.read_text())):
        modules = {str(name).rpartition(".")[2] for name in task if isinstance(name, str)}
        assert not modules & MANAGERS, task
        for name in COMMAND_MODULES & set(task):
            assert not re.search(INSTALLS, str(task[name])), task


MANAGER = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$*" in *assumeno*) cat {table}; exit 1 ;; esac
"""
# As dnf 5 shows it, an upgrade replaces itself.
DNF_TABLE = """Upgrading:
 libs        x86_64  2-1     amazon  1 M
   replacing libs.x86_64 1-1
Installing:
 python3.11  x86_64  3.11-1  amazon  1 M
"""


def booted(tmp_path: Path, manager: str, table: str) -> tuple[int, str, str]:
    """The user data's step that installs packages: its exit code, what it said, and the commands."""
    script = (ROOT / "roles/launch_template/files/bootstrap.sh").read_text()
    functions = re.findall(
        r"^(?:step|removed_by_dnf|install_packages)\(\) \{\n.*?^\}\n", script, re.DOTALL | re.MULTILINE
    )
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "table").write_text(table)
    (folder / manager).write_text(MANAGER.format(log=log, table=tmp_path / "table"))
    (folder / manager).chmod(0o755)
    for name in ("timeout", "date", "cat", "basename", "awk", "sh"):
        (folder / name).symlink_to(str(shutil.which(name)))
    settings = f"set -euo pipefail\nlog={tmp_path}/bootstrap.log bootstrap_timeout=30 packages=(python3.11)\n"
    finished = subprocess.run(
        [str(shutil.which("bash")), "-c", settings + "".join(functions) + "install_packages"],
        env={"PATH": str(folder)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    return finished.returncode, finished.stdout + finished.stderr, log.read_text()


def test_the_user_data_let_apt_remove_nothing(tmp_path: Path) -> None:
    code, said, ran = booted(tmp_path, "apt-get", "")
    assert code == 0, said
    (line,) = [line for line in ran.splitlines() if " install " in line]
    assert " --no-remove " in line


@pytest.mark.parametrize(
    ("more", "removed"),
    [
        ("     replacing  python3-foreign.noarch 1-1\n", "python3-foreign"),
        ("Removing dependent packages:\n foreign  noarch  1-1  @ce  1 k\n", "foreign"),
    ],
)
def test_the_user_data_let_dnf_remove_nothing(tmp_path: Path, more: str, removed: str) -> None:
    code, said, ran = booted(tmp_path, "dnf", DNF_TABLE + more)
    assert code != 0
    assert f"FAILED: Install python3.11: it would remove {removed}" in said
    assert len(ran.splitlines()) == 1


def test_the_user_data_install_what_removes_nothing(tmp_path: Path) -> None:
    code, said, ran = booted(tmp_path, "dnf", DNF_TABLE)
    assert code == 0, said
    assert ran.splitlines()[-1] == "dnf -q -y install python3.11"
