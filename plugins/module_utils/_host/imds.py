# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which users and networks of this host may reach the instance metadata service.

The rules are in a separate nftables table. With iptables they would be in chains to which Docker and operators write:
accepting in INPUT and OUTPUT protects nothing by itself, `iptables -F` by another tool removes it, and restoring saved
rule sets overwrites Docker's. A separate table is loaded atomically, sees every packet whatever other tables decide,
and no other tool changes it. Current iptables commands write nftables too, so both work side by side.
"""

from __future__ import annotations

import hashlib
import pwd
from collections.abc import Sequence
from pathlib import Path

from .docker import Docker
from .files import Attributes, read, remove, replace, write
from .host import STATE_DIR, Host, HostError, Spec
from .networks import bridge_name
from .units import UNIT_DIR, Units, reload_manager

TABLE = ("inet", "evenkeel_imds")
RULES = Path("/etc/evenkeel/imds.nft")
LISTING = STATE_DIR / "imds.listing"
UNIT = "evenkeel-imds.service"
FOREIGN_DROP_IN = UNIT_DIR / "nftables.service.d" / "evenkeel-imds.conf"
FILE = Attributes(0o644, 0, 0)

IPV4 = "169.254.169.254"
IPV6 = "fd00:ec2::254"

UNIT_TEXT = f"""[Unit]
Description=Instance metadata service: who may reach it
DefaultDependencies=no
Wants=network-pre.target
After=nftables.service
Before=network-pre.target docker.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES}
ExecReload=/usr/sbin/nft -f {RULES}

[Install]
WantedBy=sysinit.target
"""

# The distribution's nftables.service flushes every table when it starts, restarts or reloads.
DROP_IN_TEXT = f"""[Service]
ExecStartPost=-/usr/sbin/nft -f {RULES}
ExecReload=-/usr/sbin/nft -f {RULES}
"""


def ensure_imds(host: Host, units: Units, docker: Docker, spec: Spec, declared_networks: Sequence[str]) -> None:
    mode = spec.get("mode") or "restrict"
    if mode == "absent":
        remove_all(host, units)
        return
    if not host.has_command("nft") and not host.expects_packages:
        raise HostError("nft isn't installed here: declare the package nftables.")
    if mode == "restrict":
        rules = restricted(users(host, spec), bridges(host, docker, spec, declared_networks))
    else:
        rules = allowed()
    ensure_rules(host, rules)
    ensure_persistence(host, units)


def users(host: Host, spec: Spec) -> list[str]:
    """Numeric ids: at boot the rules are loaded before a directory service can resolve names."""
    found = []
    for name in spec.get("users") or ["root"]:
        try:
            found.append(name if name.isdigit() else str(pwd.getpwnam(name).pw_uid))
        except KeyError:
            if not host.expects_packages:
                raise HostError(f"There is no user {name} on this host to be allowed to reach {IPV4}.") from None
            host.warn(f"the user {name} doesn't exist yet; a package that is not installed yet may create it")
    return sorted(set(found), key=int)


def bridges(host: Host, docker: Docker, spec: Spec, declared: Sequence[str]) -> list[str]:
    """The interfaces of the allowed networks that exist. Creating one later runs this again."""
    found = []
    for name in spec.get("networks") or []:
        network = docker.network(name)
        if network is None:
            if name not in declared:
                host.warn(f"there is no Docker network {name} here, so no container in it may reach {IPV4} yet")
        elif network.get("Driver") != "bridge":
            raise HostError(
                f"The network {name} is of the type {network.get('Driver')}; only bridge networks can be allowed."
            )
        else:
            found.append(bridge_name(network))
    return sorted(set(found))


def restricted(user_ids: Sequence[str], interfaces: Sequence[str]) -> str:
    forward = f"\t\tiifname {{ {', '.join(map(_quoted, interfaces))} }} accept\n" if interfaces else ""
    own = f"\t\tmeta skuid {{ {', '.join(user_ids)} }} accept\n" if user_ids else ""
    return _table(
        f"""\tchain to_imds {{
\t\tmeta l4proto tcp reject with tcp reset
\t\treject with icmpx type admin-prohibited
\t}}
\tchain from_host {{
{own}\t\tjump to_imds
\t}}
\tchain from_containers {{
{forward}\t\tjump to_imds
\t}}
\tchain output {{
\t\ttype filter hook output priority -10; policy accept;
\t\tip daddr {IPV4} jump from_host
\t\tip6 daddr {IPV6} jump from_host
\t}}
\tchain forward {{
\t\ttype filter hook forward priority -10; policy accept;
\t\tip daddr {IPV4} jump from_containers
\t\tip6 daddr {IPV6} jump from_containers
\t}}
"""
    )


def allowed() -> str:
    """Reachable for all, as the runbook says. Docker's and the operator's chains still apply."""
    hooks = "".join(
        f"""\tchain {hook} {{
\t\ttype filter hook {hook} priority -10; policy accept;
\t\tip daddr {IPV4} accept
\t\tip6 daddr {IPV6} accept
\t}}
"""
        for hook in ("output", "forward")
    )
    return _table(hooks)


def _table(body: str) -> str:
    """The first two lines replace the table in one transaction, whether or not it exists."""
    name = " ".join(TABLE)
    return f"table {name} {{}}\ndelete table {name}\ntable {name} {{\n{body}}}\n"


def _quoted(interface: str) -> str:
    return f'"{interface}"'


def ensure_rules(host: Host, rules: str) -> None:
    before = read(RULES)
    present = loaded(host) if host.has_command("nft") else ""
    if before != rules.encode():
        write(host, RULES, before, rules.encode(), FILE, validate=["nft", "-c", "-f", "%s"])
    elif present == _remembered(rules):
        return
    with host.change("nftables table evenkeel_imds", "load", present, _remembered(rules) or rules) as apply:
        if not apply:
            return
        result = host.run(["nft", "-f", str(RULES)])
        if not result.ok:
            raise HostError(f"nft doesn't load {RULES}.\n{result.tail()}")
        replace(LISTING, _memory(rules, loaded(host)).encode(), Attributes(0o600, 0, 0))


def loaded(host: Host) -> str:
    """The table in the kernel, or "" if there is none."""
    return host.run(["nft", "-s", "-n", "list", "table", *TABLE]).stdout


def _memory(rules: str, listing: str) -> str:
    """Each version of nft prints rules differently: compare with what it printed right after loading."""
    return f"{hashlib.sha256(rules.encode()).hexdigest()}\n{listing}"


def _remembered(rules: str) -> str | None:
    memory = read(LISTING)
    if memory is None:
        return None
    digest, _separator, listing = memory.decode().partition("\n")
    return listing if digest == hashlib.sha256(rules.encode()).hexdigest() else None


def ensure_persistence(host: Host, units: Units) -> None:
    unit = UNIT_DIR / UNIT
    written = [
        write(host, path, read(path), text.encode(), FILE)
        for path, text in ((unit, UNIT_TEXT), (FOREIGN_DROP_IN, DROP_IN_TEXT))
    ]
    reload_manager(host, units, UNIT, written=any(written))
    state = units.state(UNIT)
    if state.enabled and state.active:
        return
    before = f"enabled: {str(state.enabled).lower()}\nactive: {str(state.active).lower()}\n"
    with host.change(f"unit {UNIT}", "enable", before, "enabled: true\nactive: true\n") as apply:
        if apply:
            units.must("enable", "--now", UNIT)


def remove_all(host: Host, units: Units) -> None:
    state = units.state(UNIT)
    if state.exists and (state.enabled or state.active):
        with host.change(f"unit {UNIT}", "disable", "enabled: true\n", "enabled: false\n") as apply:
            if apply:
                units.must("disable", "--now", UNIT)
    removed = [remove(host, path) for path in (UNIT_DIR / UNIT, FOREIGN_DROP_IN, RULES)]
    if any(removed) and not host.check_mode:
        units.must("daemon-reload")
        LISTING.unlink(missing_ok=True)
    present = loaded(host) if host.has_command("nft") else ""
    if present:
        with host.change("nftables table evenkeel_imds", "remove", before=present) as apply:
            if apply:
                result = host.run(["nft", "delete", "table", *TABLE])
                if not result.ok:
                    raise HostError(f"nft doesn't remove the table evenkeel_imds.\n{result.tail()}")
