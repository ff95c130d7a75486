# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from testbed import plan
from testbed.planning import containers, files, identity, images, pki


def settings(directory: Path, hosts: int) -> dict[str, Any]:
    return {
        "name": "ek-test",
        "directory": str(directory),
        "image_prefix": "ek-test",
        "labels": {},
        "hosts": hosts,
        "other_hosts": [],
        "subnet": "",
        "ipv6": True,
        "account": "123456789012",
        "region": "eu-central-1",
        "packages": ["docker.io"],
        "images": {
            "base": {"folder": "testbed/images/base"},
            "host": {"folder": "testbed/images/host", "arguments": {"BASE_IMAGE": "base"}},
            "trixie-base": {"folder": "testbed/images/base", "arguments": {"SUITE": "trixie"}},
            "trixie-host": {"folder": "testbed/images/host", "arguments": {"BASE_IMAGE": "trixie-base"}},
            "rpm-host": {"folder": "testbed/images/rpm_host", "arguments": {"HOST_IMAGE": "host"}},
        },
        "host": {"image": "host", "data": {"docker": "/var/lib/docker"}},
        "services": {
            "db": {"address": 4, "image": "base", "aliases": ["db.testbed.internal"], "ports": {"database": 5432}}
        },
    }


def make(directory: Path, hosts: int) -> dict[str, Any]:
    return plan.make_plan(settings(directory, hosts), files.Directory(directory))


def test_a_second_plan_is_the_first(tmp_path: Path) -> None:
    first = make(tmp_path, 3)
    directory = files.Directory(tmp_path)
    assert plan.make_plan(settings(tmp_path, 3), directory) == first
    assert not directory.changed


def test_hosts_keep_their_identity_and_new_ones_are_younger(tmp_path: Path) -> None:
    three = make(tmp_path, 3)["hosts"]
    six = make(tmp_path, 6)["hosts"]
    assert {name: six[name] for name in three} == three
    launched = [host["launched_at"] for host in six.values()]
    assert launched == sorted(set(launched))
    assert len({host["instance_id"] for host in six.values()}) == 6


def test_a_host_that_comes_back_is_another_instance(tmp_path: Path) -> None:
    old = make(tmp_path, 2)["hosts"]["host-2"]["instance_id"]
    make(tmp_path, 1)
    assert make(tmp_path, 2)["hosts"]["host-2"]["instance_id"] != old


def test_the_last_hosts_have_other_images(tmp_path: Path) -> None:
    given = {**settings(tmp_path, 4), "other_hosts": ["trixie-host", "rpm-host", "rpm-host"]}
    planned = plan.make_plan(given, files.Directory(tmp_path))
    assert [host["image"] for host in planned["hosts"].values()] == ["host", *given["other_hosts"]]
    given["host"]["volumes"] = ["/cache/%packages%:/srv/packages:ro"]
    mounts = [
        containers.container(name, {**given["host"], "image": place["image"]}, place, given, planned)["volumes"]
        for name, place in planned["hosts"].items()
    ]
    repositories = planned["package_repositories"]
    assert mounts[0] == [f"/cache/{repositories['host']}:/srv/packages:ro"]
    assert mounts[1] == [f"/cache/{repositories['trixie-host']}:/srv/packages:ro"]
    assert mounts[2] == mounts[3] == [f"/cache/{repositories['rpm-host']}:/srv/packages:ro"]
    assert len(set(repositories.values())) == 3


@pytest.mark.parametrize(
    ("others", "said"),
    [(["rpm-host"] * 4, "has 4 images; there are 3 hosts"), (["base"], "has base; it must be of host, trixie-host")],
)
def test_other_hosts_that_cannot_be(tmp_path: Path, others: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        plan.make_plan({**settings(tmp_path, 3), "other_hosts": others}, files.Directory(tmp_path))


@pytest.mark.parametrize("hosts", [0, 151])
def test_a_number_of_hosts_that_cannot_be(tmp_path: Path, hosts: int) -> None:
    with pytest.raises(SystemExit, match="from 1 to 150"):
        make(tmp_path, hosts)


def test_the_subnet_keeps_out_of_networks_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = identity.choose_subnet("ek-test")
    monkeypatch.setattr(identity, "networks_in_use", lambda: [ipaddress.IPv4Network(usual)])
    other = identity.choose_subnet("ek-test")
    assert not ipaddress.IPv4Network(other).overlaps(ipaddress.IPv4Network(usual))


def test_a_port_in_use_is_left_alone() -> None:
    first = identity.choose_ports("ek-test", ["web"], {})["web"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        ports = identity.choose_ports("ek-test", ["web", "db"], {})
    assert first not in ports.values()
    assert len(set(ports.values())) == 2
    assert identity.choose_ports("ek-test", ["web"], ports) == {"web": ports["web"]}


def test_an_image_is_named_by_what_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM one")
    one = files.fingerprint(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test.py").write_text("")
    assert files.fingerprint(tmp_path) == one
    (tmp_path / "Dockerfile").write_text("FROM two")
    assert files.fingerprint(tmp_path) != one


def test_another_base_makes_other_images(tmp_path: Path) -> None:
    usual = images.plan_images(settings(tmp_path, 1))
    given = settings(tmp_path, 1)
    given["images"]["base"]["name"] = "debian:bookworm-slim"
    other = images.plan_images(given)
    assert other["base"]["name"] == "debian:bookworm-slim"
    assert other["host"]["arguments"] == {"BASE_IMAGE": "debian:bookworm-slim"}
    assert other["host"]["name"] != usual["host"]["name"]


def test_a_container_is_made_anew_when_a_file_that_it_reads_changes(tmp_path: Path) -> None:
    given = settings(tmp_path, 1)
    config = tmp_path / "config"
    config.write_text("one")
    given["services"]["db"]["volumes"] = [f"{config}:/etc/config:ro"]
    planned = plan.make_plan(given, files.Directory(tmp_path / "state"))
    arguments = ("db", given["services"]["db"], planned["services"]["db"], given, planned)
    one = containers.container(*arguments)
    assert one["published_ports"] == [f"127.0.0.1:{planned['ports']['database']}:5432"]
    assert containers.container(*arguments) == one
    config.write_text("two")
    assert containers.container(*arguments)["fingerprint"] != one["fingerprint"]


def test_certificates_are_made_anew_for_new_names_only(tmp_path: Path) -> None:
    directory = files.Directory(tmp_path)
    pki.ensure_certificates(directory, "ek-test", ["localhost", "127.0.0.1"])
    one, authority = (tmp_path / "tls/server.crt").read_bytes(), (tmp_path / "ca/ca.crt").read_bytes()
    pki.ensure_certificates(directory, "ek-test", ["localhost", "127.0.0.1"])
    assert (tmp_path / "tls/server.crt").read_bytes() == one
    pki.ensure_certificates(directory, "ek-test", ["localhost", "127.0.0.1", "db"])
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls/server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "db"]
    assert (tmp_path / "ca/ca.crt").read_bytes() == authority


def test_private_files_are_private(tmp_path: Path) -> None:
    directory = files.Directory(tmp_path / "state")
    pki.ensure_ssh_key(directory, "ssh/id_ed25519", "me")
    plan.make_plan(settings(tmp_path, 1), directory)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state/ssh/id_ed25519").stat().st_mode & 0o777 == 0o600
    assert "hosts" in json.loads((tmp_path / "state/state.json").read_text())


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path, 3)
    planned = plan.make_plan(given, files.Directory(tmp_path))
    places = [("db", given["services"]["db"], planned["services"]["db"])]
    places += [(name, given["host"], place) for name, place in planned["hosts"].items()]
    planned["containers"] = [containers.container(*place, given, planned) for place in places]
    prints = {item["name"]: item["fingerprint"] for item in planned["containers"]}
    answers = {
        "ps": [
            f"ek-test-host-1\trunning\t{prints['ek-test-host-1']}",
            f"ek-test-host-2\texited\t{prints['ek-test-host-2']}",
            "ek-test-db\trunning\tolder",
            "ek-test-host-9\trunning\tolder",
        ],
        "image": [planned["images"]["base"]["name"]],
        "volume": ["ek-test-host-1-docker", "ek-test-host-2-docker", "ek-test-host-3-docker"],
        "network": ["0123456789ab"],
    }
    monkeypatch.setattr(containers, "docker", lambda command, *_: answers[command])
    missing = containers.plan_changes("ek-test", planned)
    assert missing["images"] == ["host", "trixie-base", "trixie-host", "rpm-host"]
    assert not missing["network"]
    # A stopped host is started as it is; one whose container is gone starts with an empty volume.
    assert [item["name"] for item in missing["run"]] == ["ek-test-db", "ek-test-host-2", "ek-test-host-3"]
    assert missing["remove"] == ["ek-test-host-3", "ek-test-host-9"]
