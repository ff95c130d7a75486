# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import fetch, host, packages, providers
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.packages import ensure_packages
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner

DOCKER = {"name": "docker", "packages": {"debian": ["docker.io", "iptables"], "redhat": ["docker"]}}
AWS = {"name": "aws_cli", "packages": {"debian": ["awscli"], "unless_command": "aws"}}


@pytest.fixture(autouse=True)
def fresh_lists(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = root / "lists"
    lists.mkdir()
    (lists / "mirror_Packages").write_text("")
    monkeypatch.setattr(packages, "APT_LISTS", lists)
    monkeypatch.setattr(packages, "APT_STAMP", root / "stamp")
    monkeypatch.setattr(packages, "APT_SOURCES", (root / "sources.list", root / "sources.list.d"))
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def target(target: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """One that has no command but the AWS command line."""
    only(monkeypatch, "aws")
    return target


def only(monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    monkeypatch.setattr(Host, "has_command", lambda _host, name: name in commands)


def test_nothing_is_missing(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "docker.io ii \niptables ii \n")
    ensure_packages(target, [DOCKER, AWS])
    assert len(runner.lines) == 1
    assert target.changes == []


def test_one_transaction_for_all_declarations(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "iptables ii \nnftables rc \n", code=1)
    ensure_packages(target, [DOCKER, {"name": "imds", "packages": {"debian": ["nftables", "iptables"]}}])
    installs = [line for line in runner.ran("apt-get") if " install " in line]
    assert len(installs) == 1
    assert installs[0].endswith(" docker.io nftables")
    assert [(change["declaration"], change["resource"]) for change in target.changes] == [
        ("docker", "package docker.io"),
        ("imds", "package nftables"),
    ]
    assert not any(" update" in line for line in runner.lines)


def test_check_mode_installs_nothing_and_expects_them(checked: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    ensure_packages(checked, [DOCKER])
    assert all(" --simulate " in line for line in runner.ran("apt-get"))
    assert len(checked.changes) == 2
    assert checked.expects_packages


SPLIT = {"name": "docker", "packages": {"debian": ["docker.io", "docker-cli"]}}


@pytest.mark.parametrize(
    ("offered", "installed"), [("Package: docker-cli\nVersion: 26\n", "docker.io docker-cli"), ("", "docker.io")]
)
def test_a_part_that_older_releases_have_in_another_package(
    target: Host, runner: Runner, offered: str, installed: str
) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-cache", offered, code=0 if offered else 100)
    ensure_packages(target, [SPLIT])
    (install,) = [line for line in runner.ran("apt-get") if " install " in line]
    assert install.endswith(f"-o APT::Get::AutomaticRemove=false {installed}")
    assert [change["resource"] for change in target.changes] == [f"package {name}" for name in installed.split()]


def test_a_part_is_looked_up_in_new_lists(target: Host, runner: Runner) -> None:
    next(packages.APT_LISTS.iterdir()).unlink()
    runner.answer("dpkg-query", "", code=1)
    ensure_packages(target, [SPLIT])
    ran = [line for line in runner.lines if line.startswith(("apt-get", "apt-cache"))]
    assert [" update " in line for line in ran][:2] == [True, False]
    assert ran[1].startswith("apt-cache")


def test_a_part_that_is_missing_beside_its_package_is_installed(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "docker.io ii \n", code=1)
    ensure_packages(target, [SPLIT])
    assert runner.ran("apt-cache") == []
    assert runner.ran("apt-get")[-1].endswith(" docker-cli")


def test_redhat(target: Host, runner: Runner) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    ensure_packages(target, [DOCKER])
    assert runner.ran("dnf")[-1].endswith(" docker")


def test_lists_are_updated_when_a_package_is_unknown(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get -y -q", code=100, stderr="E: Unable to locate package docker.io")
    runner.answer("apt-get -y -q", "")
    ensure_packages(target, [DOCKER])
    steps = ["update" if " update" in line else "install" for line in runner.ran("apt-get")]
    assert steps == ["install", "update", "install"]


def test_lists_are_updated_when_a_source_is_newer(target: Host, runner: Runner, root: Path) -> None:
    runner.answer("dpkg-query", "", code=1)
    os.utime(packages.APT_LISTS, (1, 1))
    (root / "sources.list").write_text("")
    ensure_packages(target, [DOCKER])
    assert " update" in runner.ran("apt-get")[0]


def test_an_interrupted_installation_is_ended_first(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer(
        "apt-get -y -q", code=100, stderr="E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"
    )
    runner.answer("dpkg --force", "")
    runner.answer("apt-get -y -q", "")
    ensure_packages(target, [DOCKER])
    ran = [line.split()[0] for line in runner.lines]
    assert [word for word in ran if "dpkg" in word or word == "apt-get"] == ["dpkg-query", "apt-get", "dpkg", "apt-get"]
    assert runner.ran("dpkg --force")[0].endswith("--configure -a")


def test_a_flaky_mirror_is_tried_again(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", code=100, stderr="E: Failed to fetch http://mirror/x  503  Service Unavailable")
    runner.answer("apt-get", "")
    ensure_packages(target, [DOCKER])
    assert len(runner.ran("apt-get")) == 2


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("E: Unable to locate package docker.io", "No configured repository offers docker.io"),
        ("E: Failed to fetch http://m/x  Temporary failure resolving 'm'", "mirror can't be reached"),
        ("dpkg: error: No space left on device", r"The disk is full: .* MiB free"),
        ("E: dpkg was interrupted, you must manually run", r"run dpkg --configure -a"),
    ],
)
def test_what_apt_says_is_explained(target: Host, runner: Runner, stderr: str, words: str) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", code=100, stderr=stderr)
    with pytest.raises(HostError, match=words) as caught:
        ensure_packages(target, [DOCKER])
    assert stderr in caught.value.message
    assert target.changes == []


def test_a_lock_is_waited_for(target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", code=100, stderr="E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7")
    moments = iter(range(0, 10_000, 50))
    fake = SimpleNamespace(monotonic=lambda: float(next(moments)), sleep=lambda _: None, time=time.time)
    monkeypatch.setattr(packages, "time", fake)
    with pytest.raises(HostError, match="Another package manager held the lock for more than 180 s"):
        ensure_packages(target, [DOCKER])
    assert len(runner.ran("apt-get")) > 2


@pytest.mark.usefixtures("target")
def test_fresh_services_wait_for_their_configuration() -> None:
    with packages.services_held_back():
        policy = str(packages.POLICY)
        assert subprocess.run([policy, "docker.service", "start"], check=False).returncode == 101
        assert subprocess.run([policy, "docker.service", "restart"], check=False).returncode == 0
        left_behind = packages.POLICY.read_text().replace(f"kill -0 {os.getpid()} ", "kill -0 4194999 ")
    assert not packages.POLICY.exists()
    packages.POLICY.write_text(left_behind)
    packages.POLICY.chmod(0o755)
    assert subprocess.run([policy, "docker.service", "start"], check=False).returncode == 0


@pytest.mark.usefixtures("target")
def test_a_foreign_policy_is_left_alone() -> None:
    packages.POLICY.write_text("#!/bin/sh\nexit 101\n")
    with packages.services_held_back():
        assert packages.POLICY.read_text() == "#!/bin/sh\nexit 101\n"
    assert packages.POLICY.exists()


def agent(url: str, **more: object) -> dict[str, object]:
    return {"name": "cloudwatch_agent", "package_files": [{"name": "agent", "url": {"debian": url}, **more}]}


def test_a_package_file_is_verified_and_installed(target: Host, runner: Runner, root: Path) -> None:
    (root / "agent.deb").write_bytes(b"deb")
    checksum = "sha256:07a893ee2387b22b19fca672d5d3e0c09d9fe8edfdf1c8f5c9edaffa4dc72f24"
    runner.answer("dpkg-query", "", code=1)
    wrong = agent(f"file://{root}/agent.deb", checksum={"debian": checksum})
    with pytest.raises(HostError, match=r"has the checksum sha256:[0-9a-f]{64}, not .* Nothing of it was installed"):
        ensure_packages(target, [wrong])
    right = hashlib.sha256(b"deb").hexdigest()
    ensure_packages(target, [agent(f"file://{root}/agent.deb", checksum={"debian": f"sha256:{right}"})])
    assert runner.ran("apt-get")[-1].endswith("/agent.deb")
    assert target.changes == [
        {"declaration": "cloudwatch_agent", "resource": "package agent", "action": "install"},
    ]


def test_an_unverified_package_file_is_refused(target: Host, runner: Runner, root: Path) -> None:
    (root / "agent.deb").write_bytes(b"deb")
    runner.answer("dpkg-query", "", code=1)
    with pytest.raises(HostError, match="neither a checksum nor"):
        ensure_packages(target, [agent(f"file://{root}/agent.deb")])
    assert runner.ran("apt-get") == []


def test_the_architecture_is_filled_in(target: Host) -> None:
    assert fetch.expand("https://x/{arch}/a.deb", "a", target).split("/")[3] in ("amd64", "arm64")
    with pytest.raises(HostError, match="No address of the package file a is declared for debian"):
        fetch.expand(None, "a", target)


AGENT = {
    "name": "cloudwatch_agent",
    "packages": {"amazon": ["amazon-cloudwatch-agent"]},
    "commands": [{"argv": ["/opt/absent/agent-ctl", "-c", "x"], "when_changed": ["/etc/agent.json"]}],
}


@pytest.mark.parametrize("mode", ["target", "checked"])
def test_a_program_without_a_package_for_the_distribution(mode: str, request: pytest.FixtureRequest) -> None:
    """Such as CloudWatch's agent on Debian, which has no package of it."""
    with pytest.raises(HostError) as refused:
        ensure_packages(request.getfixturevalue(mode), [DOCKER, AGENT])
    assert str(refused.value).startswith(
        "/opt/absent/agent-ctl is missing, and no package with it is declared for debian."
    )
    assert "cloudwatch_agent_packages.debian" in str(refused.value)
    assert request.getfixturevalue(mode).changes == []


def test_a_program_that_is_there_needs_no_package(target: Host, root: Path) -> None:
    program = root / "agent-ctl"
    program.write_text("")
    ensure_packages(target, [{**AGENT, "commands": [{"argv": [str(program)]}]}])
    own = {"path": "/opt/absent/agent-ctl"}
    ensure_packages(target, [{**AGENT, "files": [own]}])
    assert target.changes == []


@pytest.mark.parametrize("mode", ["target", "checked"])
def test_a_package_file_without_an_address_for_the_distribution(
    mode: str, request: pytest.FixtureRequest, runner: Runner
) -> None:
    runner.answer("dpkg-query", "", code=1)
    agent = {**AGENT, "package_files": [{"name": "agent", "url": {"amazon": "https://example.com/agent.rpm"}}]}
    with pytest.raises(HostError, match=r"agent has no address for debian.*cloudwatch_agent_package_url"):
        ensure_packages(request.getfixturevalue(mode), [agent])
    assert not [line for line in runner.ran("apt-get") if " install " in line]


def test_an_armored_key_is_decoded() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\nAAEC\nAwQF\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    assert fetch.dearmored(key) == bytes(range(6))
    with pytest.raises(HostError, match="isn't an ASCII-armored"):
        fetch.dearmored("nonsense")


REMOVES = """Reading package lists...
Building dependency tree...
The following packages will be REMOVED:
  containerd.io docker-ce
The following NEW packages will be installed:
  containerd docker.io
0 upgraded, 2 newly installed, 2 to remove and 0 not upgraded.
"""
DISABLED = "E: Packages need to be removed but remove is disabled."


@pytest.mark.parametrize("release", ["ID=debian\n", "ID=amzn\n", "ID=fedora\n"])
def test_an_engine_of_another_package_is_accepted(
    target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    host.OS_RELEASE.write_text(release)
    only(monkeypatch, "dockerd", "iptables")
    runner.answer("dpkg-query", "", code=1)
    runner.answer("rpm", "no package provides docker\n", code=1)
    ensure_packages(target, [DOCKER])
    assert runner.ran("apt-get") == runner.ran("dnf") == []
    assert target.changes == []


def test_a_package_on_hold_is_there(target: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "docker.io hi \niptables ii \n")
    ensure_packages(target, [DOCKER])
    assert runner.ran("apt-get") == []


@pytest.mark.parametrize("check", [False, True])
def test_apt_may_not_remove_anything(target: Host, runner: Runner, check: bool) -> None:
    target.check_mode = check
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", REMOVES, code=100, stderr=DISABLED)
    with pytest.raises(HostError, match=r"would remove containerd\.io, docker-ce from this host: nothing was changed"):
        ensure_packages(target, [DOCKER])
    (line,) = runner.ran("apt-get")
    assert " --no-remove " in line
    assert (" --simulate " in line) is check
    assert target.changes == []


def test_old_lists_make_no_refusal_but_a_warning(checked: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", code=100, stderr="E: Unable to locate package docker.io")
    ensure_packages(checked, [DOCKER])
    (warning,) = checked.warnings
    assert warning.startswith("docker: what else docker.io, iptables would change can't be told before apt-get update")
    assert len(checked.changes) == 2


def test_what_fits_nothing_that_is_there_is_refused(checked: Host, runner: Runner) -> None:
    runner.answer("dpkg-query", "", code=1)
    runner.answer("apt-get", code=100, stderr="E: Unable to correct problems, you have held broken packages.")
    with pytest.raises(HostError, match="It conflicts with installed packages: nothing was changed"):
        ensure_packages(checked, [DOCKER])


# In the form of dnf 4.14, and with dnf 5's row for what an upgrade replaces.
TABLE = """Dependencies resolved.
================================================================================
 Package           Architecture      Version         Repository            Size
================================================================================
Installing:
 docker            x86_64            25.0-1          amazon                 6 M
     replacing  docker-ce.x86_64 3:24.0-1
Upgrading:
 runc              x86_64            1.2-1           amazon                 2 M
     replacing  runc.x86_64 1.1-1
Removing dependent packages:
 compose           noarch            1-1             @ce                    1 k

Transaction Summary
================================================================================
"""
CLASH = """Error:
 Problem: problem with installed package docker-ce-24-1.x86_64
  - package docker-25-1.x86_64 from amazon conflicts with docker-ce provided by docker-ce-24-1.x86_64 from @System
"""


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("stdout", "stderr", "words"),
    [
        (TABLE, "Operation aborted.", r"would remove compose, docker-ce from this host: nothing was changed"),
        ("", CLASH, "conflicts with installed packages: nothing was changed"),
    ],
)
def test_dnf_may_not_remove_anything(
    target: Host, runner: Runner, check: bool, stdout: str, stderr: str, words: str
) -> None:
    target.check_mode = check
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    runner.answer("dnf --assumeno", stdout, code=1, stderr=stderr)
    with pytest.raises(HostError, match=words):
        ensure_packages(target, [DOCKER])
    assert len(runner.ran("dnf")) == 1


# As dnf 4.14 says it on a host of the testbed.
UNREACHABLE = """Errors during downloading metadata for repository 'u':
  - Curl error (7): Couldn't connect to server for http://127.0.0.1:9/x/repodata/repomd.xml
Error: Failed to download metadata for repo 'u': Cannot download repomd.xml: All mirrors were tried
"""
FULL = """Error: Transaction test error:
  installing package docker-0:20.10.24-1.x86_64 needs 110MB more space on the /usr filesystem

Error Summary
-------------
Disk Requirements:
   At least 110MB more space needed on the /usr filesystem.
"""
UNSIGNED = """Package docker-20.10.24-1.x86_64.rpm is not signed
Error: GPG check FAILED
"""


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("Error: Unable to find a match: docker", "No configured repository offers docker"),
        (UNREACHABLE, "mirror can't be reached"),
        (FULL, r"The disk is full: .* MiB free"),
        (UNSIGNED, r"signature of a package .* nothing was installed"),
    ],
)
def test_what_dnf_says_is_explained(target: Host, runner: Runner, stderr: str, words: str) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    runner.answer(
        "dnf --assumeno", "Installing:\n docker  x86_64  20-1  amazon  1 k\n", code=1, stderr="Operation aborted."
    )
    runner.answer("dnf -y", code=1, stderr=stderr)
    with pytest.raises(HostError, match=words) as caught:
        ensure_packages(target, [DOCKER])
    assert stderr.strip() in caught.value.message
    assert target.changes == []


def test_dnf_waits_for_a_lock_without_a_word(target: Host, runner: Runner) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    runner.answer("dnf --assumeno", "", code=1, stderr="Operation aborted.")
    runner.answer("dnf -y", "", code=124, stderr="\ntimed out after 900 s")
    with pytest.raises(HostError, match="Another package manager may hold the lock: see ps -C dnf,rpm,yum"):
        ensure_packages(target, [DOCKER])


def test_what_dnf_does_not_find_is_named_once(target: Host, runner: Runner) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    stdout = "No match for argument: docker\nNo match for argument: runc\n"
    runner.answer("dnf --assumeno", stdout, code=1, stderr="Error: Unable to find a match: docker runc\n")
    with pytest.raises(HostError, match="No configured repository offers docker, runc: check the name"):
        ensure_packages(target, [DOCKER])


def test_the_rehearsal_of_dnf_ends_with_an_error_where_all_is_well(target: Host, runner: Runner) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    runner.answer("rpm", "no package provides docker\n", code=1)
    well = TABLE.replace("     replacing  docker-ce.x86_64 3:24.0-1\n", "").partition("Removing")[0]
    runner.answer("dnf --assumeno", well, code=1, stderr="Operation aborted.")
    ensure_packages(target, [DOCKER])
    assert [line.split()[1] for line in runner.ran("dnf")] == ["--assumeno", "-y"]


def test_podman_behind_docker_s_name_is_no_engine(
    target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    only(monkeypatch)
    client = root / "docker"
    client.write_text('#!/bin/sh\nexec /usr/bin/podman "$@"\n')
    client.chmod(0o755)
    monkeypatch.setattr(providers, "SEARCH_PATH", str(root))
    runner.answer("dpkg-query", "", code=1)
    with pytest.raises(HostError, match=r"docker runs Podman .*Nothing was changed"):
        ensure_packages(target, [DOCKER])
    client.write_bytes(b"\x7fELF")
    ensure_packages(target, [DOCKER])


def test_a_snap_of_the_engine_is_named(
    target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    only(monkeypatch)
    monkeypatch.setattr(providers, "SNAP_ENGINE", root)
    runner.answer("dpkg-query", "", code=1)
    with pytest.raises(HostError, match="is a snap"):
        ensure_packages(target, [DOCKER])
    assert runner.ran("apt-get") == []
