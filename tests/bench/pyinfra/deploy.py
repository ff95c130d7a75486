# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bootstrap with pyinfra."""

import os
import shlex
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from pyinfra.api.facts import FactBase
from pyinfra.context import config, host
from pyinfra.operations import apt, docker, files, server, systemd

from tests.bench.steps import BRIDGE, Steps

config.SUDO = True
steps = Steps.load(Path(os.environ["BENCH_FOLDER"]) / "steps.json")

RULES = (
    f"printf %s {shlex.quote(steps.imds_rules)} | "
    f"sed s/{BRIDGE}/br-$(docker network inspect -f '{{{{slice .Id 0 12}}}}' {steps.network})/"
)


class Succeeds(FactBase[bool]):
    """Whether a command succeeds."""

    def command(self, command: str) -> str:
        return f"({command}) >/dev/null 2>&1 && echo yes || echo no"

    def process(self, output: Iterable[str]) -> bool:
        return list(output)[-1:] == ["yes"]


# Before the package, so that the engine starts with it.
engine_config = files.put(
    name="Configure the engine", src=StringIO(steps.daemon_json), dest="/etc/docker/daemon.json", mode="644"
)
packages = apt.packages(name="Install packages", packages=steps.packages, no_recommends=True)
if steps.agent_url:
    apt.deb(name="Install the CloudWatch agent", src=steps.agent_url)
systemd.service(
    name="Restart the engine for a new configuration",
    service="docker",
    restarted=True,
    _if=lambda: engine_config.did_change() and not packages.did_change(),
)
systemd.service(name="Enable the engine", service="docker", enabled=True)

docker.network(
    name="Make the network",
    network=steps.network,
    driver=steps.network_driver,
    labels=steps.network_labels,
    opts=steps.network_opts,
)

if not host.get_fact(Succeeds, f"nft list table inet evenkeel_imds && {RULES} | cmp - {steps.imds_rules_path}"):
    server.shell(
        name="Load the IMDS rules",
        commands=[
            f"mkdir -p {Path(steps.imds_rules_path).parent}",
            f"{RULES} > {steps.imds_rules_path}",
            f"nft -f {steps.imds_rules_path}",
        ],
    )
imds_unit = files.put(name="Write the IMDS unit", src=StringIO(steps.imds_unit), dest=steps.imds_unit_path, mode="644")
imds_drop_in = files.put(
    name="Write the drop-in of nftables", src=StringIO(steps.imds_drop_in), dest=steps.imds_drop_in_path, mode="644"
)
systemd.daemon_reload(name="Reload systemd", _if=lambda: imds_unit.did_change() or imds_drop_in.did_change())
systemd.service(name="Enable the IMDS unit", service=steps.imds_unit_name, running=True, enabled=True)

files.put(
    name="Use the credential helper",
    src=StringIO(steps.docker_config),
    dest="/root/.docker/config.json",
    mode="600",
)
if steps.agent_config_path:
    agent_config = files.put(
        name="Configure the CloudWatch agent",
        src=StringIO(steps.agent_config),
        dest=steps.agent_config_path,
        mode="644",
    )
    server.shell(
        name="Have the agent fetch its configuration",
        commands=[shlex.join(steps.agent_command)],
        _if=agent_config.did_change,
    )

image = docker.image(name="Pull the image", image=steps.container.image, _env=steps.pull_environment)
gateway = docker.container(
    name="Run the gateway",
    container=steps.container.name,
    image=steps.container.image,
    networks=steps.container.networks,
    ports=steps.container.ports,
    env_vars=steps.container.env,
    volumes=steps.container.volumes,
    restart_policy=steps.container.restart_policy,
    memory=steps.container.memory,
    extra_args=steps.container.options,
    force=image.will_change,
)
if gateway.will_change or not host.get_fact(Succeeds, f"curl -fs -m 3 {steps.gate_url}"):
    ask = " && ".join([f"curl -fs -m 3 -o /dev/null {steps.gate_url}"] * steps.gate_successes)
    server.shell(
        name="Wait until the gateway is healthy",
        commands=[f"timeout {steps.gate_timeout} sh -c 'until {ask}; do sleep 0.5; done'"],
    )
