# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import image_requirements
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.image_requirements import fits, requirements
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble, Runner

SPEC = {"name": "gateway", "image": "registry/gateway@sha256:2"}
MB = 10**6


@pytest.fixture(autouse=True)
def here(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    assert docker_engine
    monkeypatch.setattr(image_requirements, "EMULATORS", tmp_path)


def free(monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    monkeypatch.setattr(image_requirements, "free_bytes", lambda _place: megabytes * MB)


def manifest(architecture: str, **layers: int) -> dict[str, Any]:
    return {
        "Descriptor": {"platform": {"architecture": architecture, "os": "linux"}},
        "SchemaV2Manifest": {"layers": [{"digest": digest, "size": size} for digest, size in layers.items()]},
    }


def asked(host: Host) -> dict[str, Any] | None:
    return requirements(host, Docker(host, None), SPEC, [])


def test_what_runs_where(tmp_path: Any) -> None:
    assert fits("amd64", "amd64")
    assert fits("386", "amd64")
    assert fits("arm", "arm64")
    assert not fits("arm64", "amd64")
    (tmp_path / "qemu-aarch64").touch()
    assert fits("arm64", "amd64"), "the kernel has an emulator registered"


def test_the_own_variant_is_what_counts(target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1000)
    variants = [manifest("arm64", a=900 * MB), manifest("amd64", b=40 * MB, c=1)]
    runner.answer("docker manifest", json.dumps(variants))
    assert asked(target) == {
        "architectures": ["amd64", "arm64"],
        "download_mb": 41,
        "disk_mb": 121,
        "free_mb": 1000,
    }
    assert runner.lines == ["docker manifest inspect --verbose registry/gateway@sha256:2"]


def test_an_image_for_others_is_refused(target: Host, runner: Runner) -> None:
    runner.answer("docker manifest", json.dumps(manifest("arm64", a=1)))
    with pytest.raises(HostError, match="is built for arm64, and this host is amd64"):
        asked(target)


def test_layers_that_are_here_take_no_space(
    target: Host, runner: Runner, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 100)
    docker_engine.add("gateway", image="sha256:one")
    docker_engine.images["sha256:one"] = {"RepoDigests": ["registry/gateway@sha256:1"]}
    runner.answer(
        "docker manifest inspect --verbose registry/gateway@sha256:1", json.dumps(manifest("amd64", base=200 * MB))
    )
    runner.answer(
        "docker manifest inspect --verbose registry/gateway@sha256:2",
        json.dumps(manifest("amd64", base=200 * MB, top=MB)),
    )
    assert (asked(target) or {})["download_mb"] == 1
    free(monkeypatch, 2)
    with pytest.raises(
        HostError, match=r"needs about 3 MB to be pulled and unpacked; .* MiB free\. Remove unused images"
    ):
        asked(target)


@pytest.mark.parametrize(
    "answer", ["no such manifest: x", "dial tcp 10.0.0.1:443: i/o timeout", "only supported on an experimental cli"]
)
def test_a_client_that_cannot_tell_leaves_it_to_the_pull(target: Host, runner: Runner, answer: str) -> None:
    runner.answer("docker manifest", code=1, stderr=answer)
    assert asked(target) is None
    runner.answers.clear()
    runner.answer("docker manifest", "not JSON")
    assert asked(target) is None


def test_a_registry_without_tls(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    docker_engine.infos = [{"RegistryConfig": {"IndexConfigs": {"registry": {"Secure": False}}}}]
    asked(target)
    assert runner.ran("docker manifest inspect --verbose --insecure registry/gateway@sha256:2")


def test_the_file_system_of_the_engine_s_data_is_named(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    docker_engine.infos = [{"DockerRootDir": "/dev/shm/docker"}]
    runner.answer("docker manifest inspect", json.dumps([manifest("amd64", a=4 * 2**60)]))
    with pytest.raises(HostError, match=r"to be pulled and unpacked; /dev/shm has"):
        asked(target)
