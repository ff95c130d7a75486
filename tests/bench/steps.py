# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the bootstrap, taken from the roles' declarations, in a form for every tool."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BRIDGE = "@BRIDGE@"  # the network's interface, known on the host only
# What is brought to the hosts below. A declaration with anything else would make the tools do different work.
KNOWN = {"name", "packages", "package_files", "files", "commands", "engine", "networks", "imds", "logins", "containers"}


@dataclass(frozen=True)
class Container:
    """One container; what pyinfra has no name for is in `options`, as `docker run` takes it."""

    name: str
    image: str
    networks: list[str]
    ports: list[str]
    env: list[str]
    volumes: list[str]
    restart_policy: str
    memory: str
    options: list[str]

    def arguments(self) -> list[str]:
        """All of it, as `docker run` takes it."""
        named = [
            ("--network", self.networks),
            ("--publish", self.ports),
            ("--env", self.env),
            ("--volume", self.volumes),
            ("--restart", [self.restart_policy]),
            ("--memory", [self.memory]),
        ]
        return [word for option, values in named for value in values for word in (option, value)] + self.options


@dataclass(frozen=True)
class Steps:
    """Everything that the hosts are to have."""

    packages: list[str]
    agent_url: str
    agent_sha256: str
    agent_config_path: str
    agent_config: str
    agent_command: list[str]
    daemon_json: str
    network: str
    network_driver: str
    network_labels: list[str]
    network_opts: list[str]
    imds_rules_path: str
    imds_rules: str
    imds_unit_name: str
    imds_unit_path: str
    imds_unit: str
    imds_drop_in_path: str
    imds_drop_in: str
    registry: str
    docker_config: str
    pull_environment: dict[str, str]
    container: Container
    gate_url: str
    gate_timeout: int
    gate_successes: int

    @classmethod
    def load(cls, path: Path) -> Steps:
        values = json.loads(path.read_text())
        return cls(**{**values, "container": Container(**values["container"])})

    def dump(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2))

    def shell(self) -> str:
        """The same as assignments for bash."""
        values: dict[str, Any] = asdict(self)
        values["pull_environment"] = [f"{name}={value}" for name, value in self.pull_environment.items()]
        values["network_options"] = ["--driver", self.network_driver]
        for option, entries in (("--label", self.network_labels), ("--opt", self.network_opts)):
            values["network_options"] += [word for entry in entries for word in (option, entry)]
        values["container"] = self.container.name
        values["image"] = self.container.image
        values["container_options"] = self.container.arguments()
        described = json.dumps(asdict(self.container), sort_keys=True)
        values["container_version"] = hashlib.sha256(described.encode()).hexdigest()
        return "".join(f"{name}={_shell(value)}\n" for name, value in values.items())


def _shell(value: Any) -> str:
    return f"({shlex.join(value)})" if isinstance(value, list) else shlex.quote(str(value))


def from_declarations(declarations: list[dict[str, Any]]) -> Steps:
    """Fails where a declaration wants what is not known here."""
    # Here, because pyinfra loads this file without the collection. The module's own texts: what is compared is how they
    # get to a host.
    from ansible_collections.evenkeel.fleet.plugins.module_utils._host import imds as imds_rules
    from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import UNIT_DIR

    for declaration in declarations:
        if unknown := set(declaration) - KNOWN:
            raise SystemExit(f"bench: the tools do not bring {', '.join(sorted(unknown))} of {declaration['name']}")
    agent_package = _at_most_one(declarations, "package_files")
    agent_file = _at_most_one(declarations, "files")
    agent_command = _at_most_one(declarations, "commands")
    network = _at_most_one(declarations, "networks")
    imds = next(declaration["imds"] for declaration in declarations if "imds" in declaration)
    engine = next(declaration["engine"] for declaration in declarations if "engine" in declaration)
    login = _at_most_one(declarations, "logins")
    container = _at_most_one(declarations, "containers")
    if imds["mode"] != "restrict" or imds["users"] != ["root"] or imds["networks"] != [network["name"]]:
        raise SystemExit(f"bench: the tools know the default IMDS rules only, not {imds}")
    if login["method"] != "helper" or {"subnet", "gateway"} & set(network):
        raise SystemExit("bench: the tools know the credential helper and a network with default addresses only")
    return Steps(
        packages=sorted({name for entry in declarations for name in entry.get("packages", {}).get("debian", [])}),
        agent_url=agent_package.get("url", {}).get("debian", "").replace("{arch}", "amd64"),
        agent_sha256=agent_package.get("checksum", {}).get("debian", "").removeprefix("sha256:"),
        agent_config_path=agent_file.get("path", ""),
        agent_config=json.dumps(agent_file.get("json", {}), indent=2) + "\n",
        agent_command=agent_command.get("argv", []),
        daemon_json=json.dumps(engine["config"], indent=2) + "\n",
        network=network["name"],
        network_driver=network["driver"],
        network_labels=_pairs(network.get("labels")),
        network_opts=_pairs(network.get("options")),
        imds_rules_path=str(imds_rules.RULES),
        imds_rules=imds_rules.restricted(["0"], [BRIDGE]),
        imds_unit_name=imds_rules.UNIT,
        imds_unit_path=str(UNIT_DIR / imds_rules.UNIT),
        imds_unit=imds_rules.UNIT_TEXT,
        imds_drop_in_path=str(imds_rules.FOREIGN_DROP_IN),
        imds_drop_in=imds_rules.DROP_IN_TEXT,
        registry=login["registry"],
        docker_config=json.dumps({"credHelpers": {login["registry"]: "ecr-login"}}, indent=2) + "\n",
        pull_environment=login.get("environment") or {},
        container=_container(container),
        gate_url=container["gate"]["url"],
        gate_timeout=container["gate"]["timeout"],
        gate_successes=container["gate"]["successes"],
    )


def _at_most_one(declarations: list[dict[str, Any]], key: str) -> dict[str, Any]:
    found = [item for declaration in declarations for item in declaration.get(key) or []]
    if len(found) > 1:
        raise SystemExit(f"bench: the tools bring one of {key} only, not {len(found)}")
    return found[0] if found else {}


def _pairs(values: dict[str, Any] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (values or {}).items()]


def _container(spec: dict[str, Any]) -> Container:
    several = [
        ("--network-alias", spec["network_aliases"]),
        ("--log-opt", _pairs(spec["log_options"])),
        ("--tmpfs", spec["tmpfs"]),
        ("--cap-drop", spec["cap_drop"]),
        ("--security-opt", spec["security_opt"]),
        ("--label", _pairs(spec["labels"])),
        ("--log-driver", [spec["log_driver"]]),
        ("--stop-timeout", [str(spec["stop_timeout"])]),
    ]
    options = [word for option, values in several for value in values for word in (option, value)]
    return Container(
        name=spec["name"],
        image=spec["image"],
        networks=spec["networks"],
        ports=spec["ports"],
        env=_pairs(spec["env"]),
        volumes=spec["volumes"],
        restart_policy=spec["restart_policy"],
        memory=spec["memory"],
        options=[*options, *(["--read-only"] if spec["read_only"] else [])],
    )
