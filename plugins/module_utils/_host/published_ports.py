# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether published ports are reachable from outside, and restore the engine's firewall rules.

A request from the host itself takes another path than one from outside: it is not forwarded, and docker's proxy answers
it without any rule. So the path is checked: the engine's chains, its rules for each published port, forwarding by the
kernel, and rules that drop everything before the engine's rules apply.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .daemon_config import moved, running_places
from .docker import UNIT, Docker
from .files import parse_json, read
from .forwarding import forwarding_problem
from .host import Host, HostError, Spec
from .stand_in import published

CONFIG = Path("/etc/docker/daemon.json")
PID = Path("/run/docker.pid")
LOOPBACK = ("127.0.0.1", "localhost")
# An address for documentation (RFC 5737), which no host has.
ANYBODY = "192.0.2.1"
RESOURCE = "Docker's rules in the firewall"
# systemd restarts a crashed engine after a pause.
ENGINE_PATIENCE = 30.0
# An engine that answers may still be writing its rules.
RULES_PATIENCE = 5.0
DROPS = re.compile(r"-A \S+ -j (DROP|REJECT)( --reject-with \S+)?")
ESTABLISHED = re.compile("established", re.IGNORECASE)
# Docker's other chains, which return if no rule matches.
OF_DOCKER = re.compile(r"-j DOCKER\S*$")
FORWARD_JUMP = re.compile(r"-A FORWARD( .*)? -j DOCKER(-FORWARD)?")
FORWARD_HOOK = re.compile(
    r"^table (?P<table>\S+ \S+) \{|^\s*chain (?P<chain>\S+) \{|hook forward .*policy (?P<policy>\w+);"
)
# The tables of the iptables command, and those that are checked elsewhere.
KNOWN_TABLES = re.compile(r"ip filter|ip docker-bridges|inet evenkeel_\w+")
LETS_PASS = re.compile(r"\b(accept|jump|goto|queue|vmap)\b")
# As in firewalld: traffic that was redirected to a container is accepted.
LETS_PUBLISHED_PASS = re.compile(r"ct status .*dnat.* accept")


@dataclass
class Reachability:
    """Reachability of published ports from outside: missing rules, other problems, and what is not known."""

    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def reachable(self) -> bool | None:
        return False if self.missing or self.problems else None if self.unknown else True

    @property
    def words(self) -> str:
        gone = [f"Docker's rules are missing from the firewall: {', '.join(self.missing)}."] if self.missing else []
        return " ".join([*gone, *self.problems, *self.unknown])


def check_reachability(
    host: Host, docker: Docker, containers: Iterable[Mapping[str, Any]], *, publishes: bool = False
) -> Reachability:
    """Check whether the published ports of running containers (as the engine describes them) are reached from outside.

    publishes: whether further containers are to publish ports.
    """
    reach = Reachability()
    of_ports = [container for container in containers if container["State"]["Running"] and published(container)]
    publishes = publishes or bool(of_ports)
    if publishes:
        problem = forwarding_problem()
        reach.problems += [problem] if problem else []
    if not manages_firewall():
        return reach
    nat = host.run(["iptables", "-w", "5", "-t", "nat", "-S"])
    rules = host.run(["iptables", "-w", "5", "-t", "filter", "-S"])
    if not (nat.ok and rules.ok):
        failed = rules if nat.ok else nat
        reach.unknown.append(f"The firewall's rules can't be read: {failed.tail(2) or 'iptables failed'}.")
        return reach
    reach.missing = missing_chains(nat.stdout, rules.stdout)
    if reach.missing and _writes_nftables(docker):
        reach.missing = _missing_tables(host)
        return reach
    if not reach.missing:
        reach.missing = [rule for container in of_ports for rule in missing_rules(nat.stdout, container)]
    if publishes:
        reach.problems += drops_before_docker(rules.stdout)
        _look_at_other_tables(host, reach)
    return reach


def ensure_published(host: Host, docker: Docker, specs: Sequence[Spec], *, mend: bool = True) -> None:
    """Restore the engine's firewall rules before declared containers are started or replaced.

    Raises HostError if no port can be published or reached from outside. An engine writes its rules when
    it starts; with live-restore that leaves containers alone.
    """
    if not docker.expected() or (host.check_mode and UNIT in host.restarted):
        return
    containers = [found for spec in specs if (found := docker.container(spec["name"]))]
    reach = check_reachability(host, docker, containers, publishes=any(spec.get("ports") for spec in specs))
    if reach.missing:
        _refuse_or_restore(host, docker, reach, mend=mend)
    pending = any(change["resource"].startswith("sysctl ") for change in host.changes) and host.check_mode
    if reach.problems and not pending:
        raise HostError(f"Published ports of this host are not reached from outside. {' '.join(reach.problems)}")


def _refuse_or_restore(host: Host, docker: Docker, reach: Reachability, *, mend: bool) -> None:
    why = (
        f"{reach.words} Something removed them since the engine's start, such as a restart of nftables or a reload of "
    )
    why += "firewalld."
    loses = restart_loses(docker)
    if loses:
        raise HostError(
            f"{why} No container can publish a port without them, so nothing was stopped. {loses} Drain this "
            "host (playbook drain.yml), then put the rules back with: systemctl restart docker. To keep them, let "
            "/etc/nftables.conf flush its own tables instead of the whole ruleset."
        )
    if not mend:
        return
    host.warn(f"{why} The Docker engine is restarted to put them back; live-restore keeps the containers running")
    with host.change(
        RESOURCE, "restore", "".join(f"missing: {rule}\n" for rule in reach.missing), "present\n"
    ) as apply:
        if apply:
            if not restart_engine(host, docker):
                raise HostError(
                    f"{why} The Docker engine could not be restarted to put them back: see journalctl -u docker"
                )
            _await_chains(host, docker)
    host.restarted.append(UNIT)


def _await_chains(host: Host, docker: Docker) -> None:
    deadline = time.monotonic() + RULES_PATIENCE
    while left := check_reachability(host, docker, []).missing:
        if time.monotonic() > deadline:
            raise HostError(
                f"The Docker engine was restarted, and its rules are still missing from the firewall: "
                f"{', '.join(left)}. See journalctl -u docker."
            )
        time.sleep(0.2)


def outside_url(container: Mapping[str, Any], url: str) -> str:
    """The external URL for a published port's URL on the loopback address; "" if it isn't published to others.

    A request to it takes docker's rules in place of its proxy.
    """
    parts = urlsplit(url)
    port = parts.port or 80
    everywhere = any(one.outer == port and not one.address for one in published(container))
    address = own_address() if everywhere and parts.scheme == "http" and parts.hostname in LOOPBACK else ""
    return parts._replace(netloc=f"{address}:{port}").geturl() if address else ""


def own_address() -> str:
    """The host's address towards the default route; empty without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ANYBODY, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def restart_loses(docker: Docker) -> str:
    """Why a restart of the engine would lose running containers, or ""."""
    running = docker.running()
    if not running:
        return ""
    info = docker.info()
    names = ", ".join(running)
    if not info.get("LiveRestoreEnabled"):
        return f"Without live-restore a restart of the engine would stop {names} (docker_live_restore)."
    config = _config()
    places = moved(config, config, running_places(info), taken_over=True)
    if places:
        return (
            f"A restart of the engine would lose {names}: {CONFIG} has another {', '.join(places)} than it runs with."
        )
    return ""


def restart_engine(host: Host, docker: Docker) -> bool:
    # Otherwise systemd may count it towards the start limit and leave the engine stopped.
    host.run(["systemctl", "reset-failed", UNIT], timeout=30)
    if not host.run(["systemctl", "restart", UNIT], timeout=120).ok:
        return False
    docker.await_answer(ENGINE_PATIENCE)
    return True


def manages_firewall() -> bool:
    """Whether the engine writes rules at all."""
    if _config().get("iptables") is False:
        return False
    try:
        return b"--iptables=false" not in (Path("/proc") / PID.read_text().strip() / "cmdline").read_bytes()
    except OSError:
        return True


def missing_chains(nat: str, rules: str) -> list[str]:
    """What the engine needs to publish anything, by the output of iptables -S for both tables."""
    found = []
    if "-N DOCKER\n" not in nat:
        found.append("chain DOCKER of table nat")
    elif not re.search(r"^-A PREROUTING .*-j DOCKER$", nat, re.M):
        found.append("the jump from PREROUTING to DOCKER in table nat")
    if "-N DOCKER\n" not in rules:
        found.append("chain DOCKER of table filter")
    elif not re.search(f"^{FORWARD_JUMP.pattern}$", rules, re.M) and _config().get("bridge") != "none":
        found.append("the jump from FORWARD to DOCKER in table filter")
    return found


def missing_rules(nat: str, container: Mapping[str, Any]) -> list[str]:
    """The published ports of a container that are forwarded nowhere, or to another address."""
    networks = (container["NetworkSettings"].get("Networks") or {}).values()
    addresses = {str(endpoint["IPAddress"]) for endpoint in networks if endpoint.get("IPAddress")}
    bound = container["NetworkSettings"].get("Ports")
    given = {str(entry.get("HostPort")) for entries in (bound or {}).values() for entry in entries or []}
    found = []
    for port in published(container):
        if bound is not None and str(port.outer) not in given:
            # The network's driver publishes no ports.
            continue
        targets = {f"{address}:{port.inner}" for address in addresses}
        leads = re.findall(rf"^-A DOCKER .*--dport {port.outer} .*--to-destination (\S+)", nat, re.M)
        if addresses and ":" not in port.address and not targets & set(leads):
            found.append(f"port {port.outer} to {' or '.join(sorted(targets))}")
    return found


def drops_before_docker(rules: str) -> list[str]:
    """A rule that drops all new connections before the engine's own rules apply (iptables -t filter -S).

    A rule before it that accepts some of them is the operator's choice.
    """
    for chain in ("FORWARD", "DOCKER-USER"):
        for line in rules.splitlines():
            if not line.startswith(f"-A {chain} ") or (ESTABLISHED.search(line) and "NEW" not in line):
                continue
            if DROPS.fullmatch(line):
                return [f"The firewall drops all forwarded traffic (iptables {line}): remove that rule, or narrow it."]
            if not OF_DOCKER.search(line):
                break
            if FORWARD_JUMP.fullmatch(line):
                break
    return []


def forward_hooks(listing: str) -> list[tuple[str, str]]:
    """Table and chain of those that drop forwarded traffic by policy (nft list chains)."""
    found = []
    table = chain = ""
    for line in listing.splitlines():
        match = FORWARD_HOOK.search(line)
        if not match:
            continue
        table, chain = match["table"] or table, match["chain"] or chain
        if match["policy"] == "drop" and table.startswith(("ip ", "inet ")) and not KNOWN_TABLES.fullmatch(table):
            found.append((table, chain))
    return found


def _look_at_other_tables(host: Host, reach: Reachability) -> None:
    if not host.has_command("nft"):
        return
    for table, chain in forward_hooks(host.run(["nft", "list", "chains"]).stdout):
        rules = host.run(["nft", "list", "chain", *table.split(), chain]).stdout
        body = [line for line in rules.partition("policy drop;")[2].splitlines() if "established" not in line]
        if any(map(LETS_PUBLISHED_PASS.search, body)):
            continue
        if any(map(LETS_PASS.search, body)):
            reach.unknown.append(
                f"The nftables chain {table} {chain} drops what it doesn't accept; whether it accepts this traffic is "
                "not known."
            )
        else:
            reach.problems.append(
                f"The nftables chain {table} {chain} drops all forwarded traffic. Let it accept traffic to the "
                "containers."
            )


def _writes_nftables(docker: Docker) -> bool:
    return (docker.info().get("FirewallBackend") or {}).get("Driver") == "nftables"


def _missing_tables(host: Host) -> list[str]:
    return [] if host.run(["nft", "list", "table", "ip", "docker-bridges"]).ok else ["nftables table ip docker-bridges"]


def _config() -> dict[str, Any]:
    """Empty also for a user who may not read it."""
    return parse_json(CONFIG, read(CONFIG) or b"{}") if os.access(CONFIG, os.R_OK) else {}
