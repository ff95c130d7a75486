# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped compose file on a machine with an engine: its container is replaced, and no client notices."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.support import CHECKOUT, await_true, environment
from tests.integration.swap.little_host import PORT, LittleHost
from tests.integration.swap.load import clients

NAME = "shop-gateway-1"


class Compose:
    """The shipped files in the directory of a project, and the playbook on the host."""

    def __init__(self, host: LittleHost, folder: Path) -> None:
        self.host = host
        self.file = folder / "compose.yml"
        folder.mkdir()
        shutil.copy(CHECKOUT / "gateway/deploy/gateway.env", folder)
        declared = yaml.safe_load((CHECKOUT / "gateway/deploy/compose.yml").read_text())
        # The program of the tests' images.
        declared["services"]["gateway"]["volumes"].append("/usr:/usr:ro")
        self.file.write_text(yaml.safe_dump(declared))

    def update(self, image: str, *options: str, **more: object) -> subprocess.CompletedProcess[str]:
        variables = {"GATEWAY_IMAGE": image, "GATEWAY_PORT": str(PORT)}
        extra = {"gateway_compose_file": str(self.file), "gateway_compose_variables": variables, **more}
        command = [sys.executable, "-m", "ansible", "playbook", str(CHECKOUT / "playbooks/compose_update.yml")]
        return subprocess.run(
            [*self.host.inside, *command, "-e", json.dumps(extra), *options],
            cwd=CHECKOUT,
            env=environment(ANSIBLE_NOCOLOR="1"),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


@pytest.fixture
def compose(host: LittleHost, tmp_path: Path) -> Iterator[Compose]:
    host.know_another_machine()
    host.know_systemd()
    yield Compose(host, tmp_path / "shop")
    host.remove_containers()
    host.do("docker network prune --force")


def changed(run: subprocess.CompletedProcess[str]) -> bool:
    assert run.returncode == 0, run.stdout + run.stderr
    return "changed=0" not in run.stdout


def test_an_update_under_load(compose: Compose, host: LittleHost) -> None:
    first, second = host.image("v1"), host.image("v2")
    assert changed(compose.update(first))
    running = host.inspect(NAME)
    assert running["HostConfig"]["Memory"] == 512 * 1024**2
    assert running["HostConfig"]["ReadonlyRootfs"]
    assert running["HostConfig"]["Tmpfs"].keys() == {"/run/gateway", "/tmp"}
    assert running["Config"]["StopTimeout"] == 40
    assert "SHUTDOWN_DELAY_SECONDS=8" in running["Config"]["Env"]
    assert running["NetworkSettings"]["Networks"].keys() == {"shop_default"}
    with clients(host) as told:
        assert changed(compose.update(second, "--check"))
        assert host.inspect(NAME)["Id"] == running["Id"], "check mode changes nothing"
        assert changed(compose.update(second))
        assert not changed(compose.update(second))
    assert told.failures == []
    assert min(told.versions["v1"], told.versions["v2"]) > 100
    assert host.containers(running=True).keys() == {NAME}


def test_a_container_that_compose_started(compose: Compose, host: LittleHost) -> None:
    """It has the labels of Compose and no mark of ours."""
    image = host.image("v1")
    labels = "--label com.docker.compose.project=shop --label com.docker.compose.service=gateway"
    host.do(
        "docker network create shop_default >/dev/null; "
        f"docker run --detach --name {NAME} {labels} --network shop_default "
        f"--publish {PORT}:3000 --volume /usr:/usr:ro {image} >/dev/null"
    )
    await_true(host.is_reached, "it serves")
    with clients(host) as told:
        assert changed(compose.update(host.image("v2")))
    assert told.failures == []
    assert told.versions["v2"] > 0


def test_a_bad_image_is_put_back(compose: Compose, host: LittleHost) -> None:
    assert changed(compose.update(host.image("v1")))
    with clients(host) as told:
        run = compose.update(host.image("never-healthy", sick_after=0), gateway_health_timeout=3)
    output = run.stdout + run.stderr
    assert run.returncode != 0
    assert "app: never-healthy starts" in output, output
    assert told.failures == []
    assert told.versions.keys() == {"v1"}


def test_what_can_not_be_translated_is_named(compose: Compose, host: LittleHost) -> None:
    declared = yaml.safe_load(compose.file.read_text())
    declared["services"]["gateway"] |= {"build": ".", "privileged": True}
    compose.file.write_text(yaml.safe_dump(declared))
    run = compose.update("none")
    assert run.returncode != 0
    assert "gateway: build: not supported here" in run.stdout + run.stderr
    assert "gateway: privileged: not supported here" in run.stdout + run.stderr
    assert host.containers() == {}
