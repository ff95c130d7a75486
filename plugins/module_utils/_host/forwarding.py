# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv4 forwarding: without it a published port is reachable on the host itself, but not from outside."""

from __future__ import annotations

import re
from pathlib import Path

from .docker import UNIT
from .files import Attributes, read, remove, write
from .host import Host, HostError
from .units import UNIT_DIR, Units, reload_manager

SYSCTL = Path("/proc/sys/net/ipv4")
ROUTES = Path("/proc/net/route")
# Sorts last, because hardening tools have files that set 0.
FILE = Path("/etc/sysctl.d/zz-evenkeel-forwarding.conf")
# `sysctl --system` reads it after all others.
LAST = Path("/etc/sysctl.conf")
CONTENT = """\
# Docker forwards what comes to the published ports of containers.
net.ipv4.ip_forward = 1
"""
# The engine sets this policy if it enables forwarding itself, so that the host routes no other traffic.
DROP_IN = UNIT_DIR / "docker.service.d" / "evenkeel-forwarding.conf"
DROP_IN_TEXT = """\
[Service]
ExecStartPost=-/usr/sbin/iptables -w 5 -P FORWARD DROP
"""
MODE = Attributes(0o644, 0, 0)
SAYS_OFF = re.compile(r"^\s*-?net[./]ipv4[./](ip_forward|conf[./]all[./]forwarding)\s*=\s*0\s*$", re.M)


def forwarding_problem() -> str:
    """Why the kernel doesn't forward what comes in by the default route's interface; empty where it does."""
    try:
        everywhere = _is_on(SYSCTL / "ip_forward")
        off = [name for name in _interfaces() if not _is_on(SYSCTL / "conf" / name / "forwarding")]
    except OSError as error:
        return f"Whether IPv4 forwarding is on can't be read: {error}."
    if not everywhere:
        return (
            "IPv4 forwarding is off (net.ipv4.ip_forward=0). Switch it on and keep it with the role docker "
            "(site.yml --tags docker), or with: sysctl -w net.ipv4.ip_forward=1"
        )
    if off:
        names = " ".join(f"net.ipv4.conf.{name}.forwarding=1" for name in off)
        return f"IPv4 forwarding is off for {', '.join(off)}. Switch it on with: sysctl -w {names}"
    return ""


def ensure_forwarding(host: Host, units: Units, *, wanted: bool) -> None:
    """Have the kernel forward, now and whenever it is set again; or leave that to others.

    The engine's policy for what isn't for containers stays as it is without. The engine would not set it where it finds
    forwarding on when it starts.
    """
    if not wanted:
        remove(host, FILE)
        _reload(host, units, written=remove(host, DROP_IN))
        return
    is_on = _is_on(SYSCTL / "ip_forward")
    drops = (
        DROP_IN.exists() or not is_on or "-P FORWARD DROP" in host.run(["iptables", "-w", "5", "-S", "FORWARD"]).stdout
    )
    write(host, FILE, read(FILE), CONTENT.encode(), MODE)
    if drops:
        _reload(host, units, written=write(host, DROP_IN, read(DROP_IN), DROP_IN_TEXT.encode(), MODE))
    if LAST.is_file() and SAYS_OFF.search(LAST.read_text(encoding="utf-8", errors="replace")):
        host.warn(
            f"{LAST} switches IPv4 forwarding off with the next sysctl --system, and published ports are not reached "
            "from outside then: remove net.ipv4.ip_forward from it"
        )
    if is_on:
        return
    with host.change("sysctl net.ipv4.ip_forward", "update", "0\n", "1\n") as apply:
        if apply:
            try:
                (SYSCTL / "ip_forward").write_text("1\n", encoding="ascii")
            except OSError as error:
                raise HostError(f"IPv4 forwarding can't be switched on: {error}.") from error


def _reload(host: Host, units: Units, *, written: bool) -> None:
    if written:
        reload_manager(host, units, UNIT, written=True)


def _is_on(switch: Path) -> bool:
    return switch.read_text(encoding="ascii").strip() != "0"


def _interfaces() -> list[str]:
    """Those of the default routes."""
    lines = [line.split() for line in ROUTES.read_text(encoding="ascii").splitlines()[1:]]
    return sorted({line[0] for line in lines if line[1] == "00000000" and (SYSCTL / "conf" / line[0]).exists()})
