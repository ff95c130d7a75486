# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run: killed in the middle, repeated, checked for secrets; then runs with little or nothing to do."""

from __future__ import annotations

import base64
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Run


class ProcessWatch(threading.Thread):
    """Reads every command line on this machine, which are those of the hosts, too, again and again."""

    def __init__(self, needles: list[str]) -> None:
        super().__init__(daemon=True)
        self.needles = [needle.encode() for needle in needles]
        self.seen: set[str] = set()
        self.found: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                self.seen.add(line.split(b"\0")[0].decode(errors="replace"))
                self.found.update(str(line[:40]) for needle in self.needles if needle in line)

    def __enter__(self) -> ProcessWatch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.join(10)


@dataclass(frozen=True)
class FirstRun:
    """What the tests below look at."""

    began: float
    interrupted: dict[str, str]
    run: Run
    log: str = field(repr=False)
    watch: ProcessWatch = field(repr=False)
    needles: list[str] = field(repr=False)


@pytest.fixture(scope="module")
def first_run(fleet: Fleet) -> FirstRun:
    """Bootstrap bare hosts; in the middle kill the controller and cut the power of a host; do it again."""
    needles = [*fleet.secrets.values()]
    needles.append(base64.b64encode(f"AWS:{fleet.secrets['ecr_token']}".encode()).decode())
    installed = "command -v dockerd || true"
    fleet.make_bare(*(host for host in fleet.hosts if fleet.on(host, installed)))
    began = time.time()
    with ProcessWatch(needles) as watch:
        killed = fleet.start_site("-vvv")
        deadline = time.monotonic() + 300
        while not fleet.on("host-2", installed):
            assert time.monotonic() < deadline, "no engine came within 300 s"
            time.sleep(0.1)
        log = killed.kill()
        fleet.service("kill", "host-2")
        fleet.service("start", "host-2")
        interrupted = {host: fleet.on(host, "docker ps 2>&1 || true") for host in fleet.hosts}
        run = fleet.site("-vvv", "--diff")
    return FirstRun(began, interrupted, run, log + run.output, watch, needles)


def test_a_run_after_a_killed_one_ends_serving(fleet: Fleet, first_run: FirstRun) -> None:
    for host, containers in first_run.interrupted.items():
        assert "bk-gateway-api" not in containers, f"{host} was done before the run was killed, which proves nothing"
    assert first_run.run.code == 0, first_run.run.output
    assert "host-2" in first_run.run.changed()
    fleet.assert_serving()


def test_the_run_ends_in_a_table(fleet: Fleet, first_run: FirstRun) -> None:
    table = first_run.run.output.partition("Show host, instance, image, health and leader")[2]
    digest = fleet.variables["gateway_image"].partition("@")[2][:19]
    rows = {host: next(line.split() for line in table.splitlines() if host in line.split()) for host in fleet.hosts}
    for host, row in rows.items():
        assert {fleet.facts["hosts"][host]["instance_id"], digest, "healthy"} <= set(row)
    assert [host for host, row in rows.items() if "leader" in row[-1]] == fleet.leaders()


def test_no_secret_in_the_log(fleet: Fleet, first_run: FirstRun) -> None:
    assert "<10." in first_run.log and "AWS_SECRET_ARN" in first_run.log, "the runs were to be talkative"
    assert [needle[:4] for needle in first_run.needles if needle in first_run.log] == []
    search = "journalctl --no-pager --output cat > /run/journal; grep --count --fixed-strings --file=- /run/journal"
    for host in fleet.hosts:
        assert fleet.on(host, search, stdin="\n".join(first_run.needles), check=False) == "0\n"


def test_no_secret_in_a_process_list(first_run: FirstRun) -> None:
    assert any(name.endswith("dockerd") for name in first_run.watch.seen), "the watch saw no process of the hosts"
    assert any("docker-proxy" in name or "haproxy" in name for name in first_run.watch.seen)
    assert first_run.watch.found == set()


def test_no_secret_in_docker_inspect(fleet: Fleet, first_run: FirstRun) -> None:
    objects = "docker ps --all -q; docker images -q; docker network ls -q; docker volume ls -q"
    for host in fleet.hosts:
        inspected = fleet.on(host, f"docker inspect $({objects})")
        assert [needle[:4] for needle in first_run.needles if needle in inspected] == []
        environment = fleet.gateway(host)["Config"]["Env"]
        assert f"AWS_SECRET_ARN={fleet.variables['gateway_secret_arn']}" in environment


def test_no_secret_in_a_file_that_others_can_read_on_a_host(fleet: Fleet, first_run: FirstRun) -> None:
    search = (
        "setpriv --reuid nobody --regid nogroup --clear-groups "
        "grep --recursive --files-with-matches --fixed-strings --devices=skip --no-messages --file=- "
        "/dev/shm /etc /home /opt /root /run /srv/fleet /tmp /usr/local /var"
    )
    for host in fleet.hosts:
        fleet.on(host, "cat > /tmp/control && chmod 0644 /tmp/control", stdin=first_run.needles[0])
        found = fleet.on(host, search, stdin="\n".join(first_run.needles), check=False)
        fleet.on(host, "rm /tmp/control")
        assert found == "/tmp/control\n", "the control is to be found, and nothing else"


def test_no_secret_in_a_file_that_others_can_read_on_the_controller(first_run: FirstRun) -> None:
    needles = [needle.encode() for needle in first_run.needles]
    roots = [Path(__file__).parents[2], Path.home(), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    found = [
        path
        for root in roots
        for path in readable_by_others(root)
        if path.stat().st_mtime >= first_run.began and any(needle in path.read_bytes() for needle in needles)
    ]
    assert found == []


def readable_by_others(root: Path) -> Iterator[Path]:
    """Regular files below `root` that a user who is neither owner nor in the group gets at."""
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in [root, *root.parents]):
        return
    for directory, names, files in os.walk(root):
        here = Path(directory)
        names[:] = [name for name in names if name not in {".git", ".venv"} and mode(here / name) & stat.S_IXOTH]
        for name in files:
            if stat.S_ISREG(mode(here / name)) and mode(here / name) & stat.S_IROTH:
                yield here / name


def mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def test_a_second_run_changes_nothing(fleet: Fleet, first_run: FirstRun) -> None:
    assert first_run.run.code == 0
    with fleet.untouched(*fleet.hosts):
        run = fleet.site()
    assert run.code == 0, run.output
    assert run.changed() == set(), run.output
    assert set(fleet.hosts) <= set(run.recap)
    # The look before has found nothing to do, and one round trip was enough.
    said = run.output.partition("Bootstrap the hosts that differ]")[2].partition("TASK")[0]
    assert all(f"skipping: [{host}]" in said for host in fleet.hosts), run.output


def test_a_stopped_gateway_is_something_to_do(fleet: Fleet, first_run: FirstRun) -> None:
    assert first_run.run.code == 0
    fleet.on("host-2", "docker stop bk-gateway-api")
    run = fleet.site()
    assert run.code == 0, run.output
    assert run.changed() == {"host-2"}
    assert fleet.on("host-2", "docker inspect -f {{.State.Status}} bk-gateway-api") == "running\n"


def test_check_mode_foresees_a_change_and_makes_none(fleet: Fleet, first_run: FirstRun) -> None:
    assert first_run.run.code == 0
    with fleet.untouched(*fleet.hosts):
        run = fleet.site("--check", "--diff", docker_log_max_file=5)
    assert run.code == 0, run.output
    assert run.changed() == set(fleet.hosts)
    assert run.says('+ "max-file": "5"')


def test_a_tag_runs_one_role_only(fleet: Fleet, first_run: FirstRun) -> None:
    assert first_run.run.code == 0
    before = {host: fleet.containers(host) for host in fleet.hosts}
    fleet.on("host-1", "sed -i s/10m/11m/ /etc/docker/daemon.json && rm /root/.docker/config.json")
    run = fleet.site("--tags", "docker")
    assert run.code == 0, run.output
    assert run.changed() == {"host-1"}
    assert fleet.on("host-1", "grep -c 10m /etc/docker/daemon.json; ls -A /root/.docker") == "1\n"

    run = fleet.site("--skip-tags", "docker")
    assert run.code == 0, run.output
    assert run.changed() == {"host-1"}
    assert fleet.on("host-1", "ls -A /root/.docker") == "config.json\n"
    assert {host: fleet.containers(host) for host in fleet.hosts} == before, "a gateway was restarted"
    fleet.assert_serving()
