# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems that exist before a bootstrap: each is reported at once, and no host is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

REQUIRED = ("ecr_registry", "gateway_image", "gateway_aws_region", "gateway_secret_arn", "gateway_db_secret_arn")
STOPPED = "nothing was changed on any host"


@contextmanager
def prepared(fleet: Fleet, host: str, script: str, undo: str) -> Iterator[None]:
    fleet.on(host, script)
    try:
        yield
    finally:
        fleet.on(host, undo)


def test_missing_variables_are_all_said_at_once(fleet: Fleet, tmp_path: Path) -> None:
    inventory = yaml.safe_load(fleet.inventory.read_text())
    for name in REQUIRED:
        del inventory["gateways"]["vars"][name]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    with fleet.untouched(*fleet.hosts):
        run = fleet.site(inventory=tmp_path / "hosts.yml")
    assert run.code == 2, run.output
    assert run.says("5 thing(s) to put right", STOPPED, "Set it in the inventory's group_vars")
    assert run.says(*(f"- all hosts: {name} is not set" for name in REQUIRED))


def test_misspelt_and_wrong_variables_are_found(fleet: Fleet) -> None:
    with fleet.untouched("host-1"):
        run = fleet.site("--limit", "host-1", gateway_memroy="1g", gateway_host_port="eighty")
    assert run.code == 2, run.output
    misspelt = "- host-1: gateway_memroy is not a variable of the role gateway; did you mean gateway_memory?"
    assert run.says(misspelt, "- host-1: gateway_host_port is eighty, which is not a whole number.", STOPPED)
    assert "exception" not in run.output.lower()


def test_a_taken_port_is_named_with_who_has_it(fleet: Fleet) -> None:
    web = "systemd-run --quiet --unit web python3 -m http.server 80; until ss -Hltn | grep -q :80; do sleep 0.1; done"
    with prepared(fleet, "host-2", web, "systemctl stop web"), fleet.untouched(*fleet.hosts):
        run = fleet.site()
    assert run.code == 2, run.output
    assert run.says("host-2: Port 80 is taken by python3 (pid ", "gateway_host_port", STOPPED)


def test_a_malformed_daemon_json_is_left_alone(fleet: Fleet) -> None:
    broken = '{"log-driver": "json-file",\n "debug": tru}'
    write = f"mkdir -p /etc/docker && printf '%s' '{broken}' > /etc/docker/daemon.json"
    with prepared(fleet, "host-3", write, "rm -r /etc/docker"), fleet.untouched(*fleet.hosts):
        run = fleet.site()
        assert fleet.on("host-3", "cat /etc/docker/daemon.json") == broken
    assert run.code == 2, run.output
    assert run.says("host-3: /etc/docker/daemon.json is not valid JSON", "line 2 column 11", "correct it", STOPPED)


def test_a_full_disk_on_one_host_stops_all(fleet: Fleet) -> None:
    full = "mount -t tmpfs -o size=50m tmpfs /var/lib/docker"
    with prepared(fleet, "host-1", full, "umount /var/lib/docker"), fleet.untouched(*fleet.hosts):
        run = fleet.site()
    assert run.code == 2, run.output
    assert run.says("host-1: Only 52 MB free on the file system /var/lib/docker", "docker image prune", STOPPED)


def test_all_findings_of_all_hosts_come_in_one_report(fleet: Fleet) -> None:
    full = "mount -t tmpfs -o size=50m tmpfs /var/lib/docker"
    with prepared(fleet, "host-1", full, "umount /var/lib/docker"):
        run = fleet.site(preflight_extra_endpoints=["nowhere.testbed.internal:1"])
    assert run.code == 2, run.output
    assert run.says("host-1: Only 52 MB free", "all hosts: The name nowhere.testbed.internal", STOPPED)
