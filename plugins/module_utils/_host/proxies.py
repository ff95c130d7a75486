# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP proxies of a host, its engine and its containers."""

from __future__ import annotations

import base64
import ipaddress
import os
import shlex
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .files import parse_json
from .host import HostError, Spec
from .storage import DAEMON_CONFIG

ENVIRONMENT = Path("/etc/environment")
DROP_INS = Path("/etc/systemd/system/docker.service.d")
# Ports of HTTP; a database can't be reached through an HTTP proxy.
VARIABLES = {443: "HTTPS_PROXY", 80: "HTTP_PROXY"}


@dataclass(frozen=True)
class HttpProxy:
    """A proxy and the setting that names it."""

    url: str
    source: str

    def __str__(self) -> str:
        """Without the credentials that the address may hold."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.source})"


def settings(declarations: Sequence[Spec]) -> list[tuple[str, dict[str, str]]]:
    """The proxy variables of each source, in the form of environment variables."""
    found = [(source, _proxy_variables(variables)) for source, variables in _sources(declarations)]
    return [(source, variables) for source, variables in found if variables]


def proxies_for(name: str, port: int, known: Iterable[tuple[str, Mapping[str, str]]]) -> list[HttpProxy]:
    """The proxies for connections to `name`; empty for a direct connection."""
    variable = VARIABLES.get(port)
    found = []
    for source, variables in known:
        url = variables.get(variable or "", "")
        if url and not excluded(name, port, variables.get("NO_PROXY", "")):
            found.append(HttpProxy(url if "://" in url else f"http://{url}", f"{variable} of {source}"))
    return found


def excluded(name: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY, read as Go programs do (docker, the AWS agents), leaves a name out."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if name == "localhost" or (address and address.is_loopback):
        return True
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if entry == "*":
            return True
        if address:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
        host, colon, own_port = entry.rpartition(":")
        pattern = host if colon and own_port.isdigit() else entry
        pattern = pattern[1:] if pattern.startswith("*.") else pattern
        if not pattern or (pattern == host and own_port != str(port)):
            continue
        if name.lower() == pattern or name.lower().endswith(pattern if pattern[0] == "." else f".{pattern}"):
            return True
    return False


def problem_by_proxy(name: str, port: int, proxy: HttpProxy, timeout: float) -> str:
    """Why `name` can't be reached through a proxy, or ""."""
    parts = urlsplit(proxy.url)
    if parts.scheme.startswith("socks"):
        request, default = b"", 1080
    else:
        request, default = _connect_request(name, port, parts.username, parts.password), 3128
        default = {"http": 80, "https": 443}.get(parts.scheme, default)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or default), timeout=timeout) as connection:
            status = _status(connection, request, parts.hostname or "", secure=parts.scheme == "https")
    except socket.gaierror:
        return f"The proxy {proxy} has a name that can't be resolved on the host. Check its spelling and the DNS."
    except OSError as error:
        return (
            f"The proxy {proxy} can't be reached: {error.strerror or error}. Check its address and its security group."
        )
    if status == 407:
        return (
            f"The proxy {proxy} requires credentials for {name}:{port}. Put them into its address, or add the name to "
            "NO_PROXY."
        )
    if not 200 <= status < 300:
        return (
            f"The proxy {proxy} does not connect to {name}:{port} (status {status or 'unknown'}). "
            "Allow it in the proxy, or add the name to NO_PROXY."
        )
    return ""


def _connect_request(name: str, port: int, user: str | None, password: str | None) -> bytes:
    target = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if user:
        pair = base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {pair}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _status(connection: socket.socket, request: bytes, name: str, *, secure: bool) -> int:
    """The status that a proxy answers; one that speaks SOCKS is only connected to."""
    if not request:
        return 200
    if secure:
        import ssl

        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=name)
    connection.sendall(request)
    answer = b""
    while b"\r\n" not in answer and len(answer) < 4096:
        more = connection.recv(4096)
        if not more:
            break
        answer += more
    words = answer.split(b"\r\n")[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _sources(declarations: Sequence[Spec]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for declaration in declarations:
        name = declaration["name"]
        config = ((declaration.get("engine") or {}).get("config") or {}).get("proxies") or {}
        yield f"{name}'s engine configuration", _of_engine(config)
        for login in declaration.get("logins") or []:
            yield f"{name}'s login environment", login.get("environment") or {}
        for container in declaration.get("containers") or []:
            yield f"the container {container['name']}", container.get("env") or {}
    yield str(DAEMON_CONFIG), _of_engine(_daemon_proxies())
    for path in sorted(DROP_INS.glob("*.conf")) if DROP_INS.is_dir() else []:
        yield str(path), _of_unit(_text(path))
    yield str(ENVIRONMENT), _assignments(_text(ENVIRONMENT).splitlines())
    yield "the environment", os.environ


def _proxy_variables(variables: Mapping[str, Any]) -> dict[str, str]:
    upper = {name.upper(): str(value) for name, value in variables.items() if value}
    return {name: upper[name] for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY") if name in upper}


def _of_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in config.items() if isinstance(value, str)}


def _daemon_proxies() -> Mapping[str, Any]:
    try:
        found = parse_json(DAEMON_CONFIG, DAEMON_CONFIG.read_bytes()).get("proxies")
    except (OSError, HostError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_unit(text: str) -> dict[str, str]:
    words: list[str] = []
    for line in text.splitlines():
        key, _equals, value = line.strip().partition("=")
        if key == "Environment":
            try:
                words += shlex.split(value)
            except ValueError:
                continue
    return _assignments(words)


def _assignments(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _equals, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
