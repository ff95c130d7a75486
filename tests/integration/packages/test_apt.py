# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real apt-get, on a list of installed packages for tests."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import host, packages
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.packages import ensure_packages, refusals

CONTROL = "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: test <test@test.invalid>\nDescription: test\n{}"
THEIR_ENGINE = "their-engine"
OUR_ENGINE = "our-engine"


def entry(file: Path) -> str:
    control = subprocess.run(["dpkg-deb", "--field", file], check=True, capture_output=True, text=True).stdout
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{control}Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {checksum}\n"


@pytest.fixture
def status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an engine that conflicts with the one that is there, and a harmless package."""
    repository = tmp_path / "repository"
    repository.mkdir()
    for name, more in ((OUR_ENGINE, f"Conflicts: {THEIR_ENGINE}\n"), ("harmless", "")):
        control = tmp_path / name / "DEBIAN/control"
        control.parent.mkdir(parents=True)
        control.write_text(CONTROL.format(name, 1, more))
        subprocess.run(["dpkg-deb", "--build", tmp_path / name, repository], check=True, capture_output=True)
    index = "\n".join(entry(file) for file in sorted(repository.glob("*.deb")))
    (repository / "Packages").write_text(index)
    installed = tmp_path / "dpkg/status"
    installed.parent.mkdir()
    installed.write_text(CONTROL.format(THEIR_ENGINE, 24, "Status: install ok installed\n\n"))
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] file:{repository} ./\n")
    lists = tmp_path / "state/lists"
    for folder in (lists / "partial", tmp_path / "cache/archives/partial"):
        folder.mkdir(parents=True)
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Dir::State "{tmp_path}/state"; Dir::State::status "{installed}"; Dir::Cache "{tmp_path}/cache";\n'
        f'Dir::Etc::sourcelist "{sources}"; Dir::Etc::sourceparts "/dev/null"; APT::Sandbox::User "root";\n'
        f'Dir::Log "{tmp_path}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    monkeypatch.setenv("DPKG_ADMINDIR", str(installed.parent))
    release = tmp_path / "os-release"
    release.write_text("ID=debian\n")
    monkeypatch.setattr(host, "OS_RELEASE", release)
    monkeypatch.setattr(packages, "APT_LISTS", lists)
    monkeypatch.setattr(packages, "APT_STAMP", tmp_path / "stamp")
    monkeypatch.setattr(packages, "APT_SOURCES", (sources, tmp_path / "sources.list.d"))
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "wait_for_cloud_init", lambda _: None)
    subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)
    return installed


def declared(*names: str) -> list[dict[str, object]]:
    return [{"name": "docker", "packages": {"debian": list(names)}}]


@pytest.mark.parametrize("check", [True, False])
def test_what_would_remove_a_package_is_refused(status: Path, check: bool) -> None:
    before = status.read_text()
    target = Host(check_mode=check)
    with pytest.raises(HostError, match=f"would remove {THEIR_ENGINE} from this host: nothing was changed"):
        ensure_packages(target, declared(OUR_ENGINE, "harmless"))
    assert target.changes == []
    assert status.read_text() == before


@pytest.mark.usefixtures("status")
def test_preflight_names_it() -> None:
    (problem,) = refusals(declared(OUR_ENGINE))
    assert f"would remove {THEIR_ENGINE}" in problem
    assert refusals(declared("harmless")) == []


@pytest.mark.usefixtures("status")
def test_what_removes_nothing_is_said_to_be_installed() -> None:
    target = Host(check_mode=True)
    ensure_packages(target, declared("harmless"))
    assert [change["resource"] for change in target.changes] == ["package harmless"]
    assert target.warnings == []
