# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance metadata service (IMDSv2) of all hosts: imds.py INSTANCES.json

One server owns 169.254.169.254 and tells hosts apart by the address that asks; containers on a host are masqueraded
behind it. The control port is for tests: GET /hosts, PUT /hosts/<name> {"credentials": "denied", "spot": "stop", ...}.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
import socket
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Union

ADDRESSES = ("169.254.169.254", "fd00:ec2::254")
CONTROL_PORT = 8254
LONGEST_TTL = 21600
CREDENTIALS = ("ok", "none", "denied", "expired")
WARMED = ("Warmed:Hibernated", "Warmed:Running", "Warmed:Stopped", "Warmed:Terminated")
LIFECYCLES = ("InService", "Standby", "Terminated", "Detached", *WARMED)
SPOT = ("none", "hibernate", "stop", "terminate")
REBALANCE = ("none", "recommended")
SPOT_NOTICE = timedelta(minutes=2)

Tree = Union[str, dict[str, "Tree"]]


class Host:
    """One instance: what does not change, and what a test may set."""

    def __init__(self, name: str, definition: dict[str, Any], settings: dict[str, Any]) -> None:
        self.name = name
        self.definition = definition
        self.settings = settings
        self.noticed = datetime.now(timezone.utc)
        self.state = {"credentials": "ok", "lifecycle": "InService", "spot": "none", "rebalance": "none"}

    def update(self, wanted: dict[str, Any]) -> None:
        allowed = {"credentials": CREDENTIALS, "lifecycle": LIFECYCLES, "spot": SPOT, "rebalance": REBALANCE}
        for key, value in wanted.items():
            if key not in allowed:
                raise ValueError(f"unknown key {key!r}, known are {', '.join(allowed)}")
            if value not in allowed[key]:
                raise ValueError(f"{key} is one of {', '.join(allowed[key])}, not {value!r}")
        self.state.update(wanted)
        self.noticed = datetime.now(timezone.utc)

    def identity(self) -> dict[str, Any]:
        return {
            "accountId": self.settings["account"],
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "imageId": "ami-0f1ee7000000fleet",
            "instanceId": self.definition["instance_id"],
            "instanceType": "t3.small",
            "kernelId": None,
            "marketplaceProductCodes": None,
            "pendingTime": self.definition["launched_at"],
            "privateIp": self.definition["ipv4"],
            "ramdiskId": None,
            "region": self.settings["region"],
            "version": "2017-09-30",
        }

    @property
    def zone(self) -> str:
        return f"{self.settings['region']}{'abc'[self.definition['launch_index'] % 3]}"

    def credentials(self) -> dict[str, str]:
        now = datetime.now(timezone.utc)
        kind = {"denied": "DENIED", "expired": "EXPIRED"}.get(self.state["credentials"], "")
        unique = hashlib.sha256(self.definition["instance_id"].encode()).hexdigest().upper()
        return {
            "Code": "Success",
            "LastUpdated": timestamp(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": f"ASIA{kind}{unique}"[:20],
            "SecretAccessKey": self.settings["secret_access_key"],
            "Token": self.settings["session_token"],
            "Expiration": timestamp(now + timedelta(hours=6)),
        }

    def notices(self) -> dict[str, Tree]:
        """What EC2 announces to a spot instance; without anything to say, there is nothing."""
        found: dict[str, Tree] = {}
        if self.state["rebalance"] != "none":
            notice = json.dumps({"noticeTime": timestamp(self.noticed)})
            found["events"] = {"recommendations": {"rebalance": notice}}
        if self.state["spot"] != "none":
            action = {"action": self.state["spot"], "time": timestamp(self.noticed + SPOT_NOTICE)}
            found["spot"] = {"instance-action": json.dumps(action)}
        return found

    def tree(self) -> dict[str, Tree]:
        """Everything below /latest/."""
        iam: dict[str, Tree] = {}
        if self.state["credentials"] != "none":
            iam = {"security-credentials": {self.settings["role"]: json.dumps(self.credentials(), indent=2)}}
        return {
            "dynamic": {"instance-identity": {"document": json.dumps(self.identity(), indent=2)}},
            "meta-data": {
                "ami-id": self.identity()["imageId"],
                "ami-launch-index": str(self.definition["launch_index"]),
                "autoscaling": {"target-lifecycle-state": self.state["lifecycle"]},
                "hostname": self.name,
                **({"iam": iam} if iam else {}),
                **self.notices(),
                "instance-id": self.definition["instance_id"],
                "instance-type": self.identity()["instanceType"],
                "local-hostname": self.name,
                "local-ipv4": self.definition["ipv4"],
                "placement": {"availability-zone": self.zone, "region": self.settings["region"]},
                "public-ipv4": self.definition["public_ipv4"],
                "tags": {"instance": dict(self.definition["tags"])},
            },
        }


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def look_up(tree: Tree, path: str) -> str | None:
    """The value at `path`, or for a folder the names in it, as IMDS lists them."""
    for part in filter(None, path.split("/")):
        if isinstance(tree, str) or part not in tree:
            return None
        tree = tree[part]
    if isinstance(tree, str):
        return tree
    # Folders end in a slash, but those of roles and tags are asked for by bare name.
    return "\n".join(name + ("/" if isinstance(value, dict) else "") for name, value in tree.items())


class Metadata:
    """The hosts by address, and the tokens given out."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.hosts = {name: Host(name, host, settings) for name, host in settings["hosts"].items()}
        self.by_address = {
            ipaddress.ip_address(host.definition[family]): host
            for host in self.hosts.values()
            for family in ("ipv4", "ipv6")
            if host.definition[family]
        }
        self._tokens: dict[str, tuple[Host, float]] = {}
        self._lock = threading.Lock()

    def host_at(self, address: str) -> Host | None:
        return self.by_address.get(ipaddress.ip_address(address))

    def new_token(self, host: Host, ttl: int) -> str:
        token = secrets.token_urlsafe(42)
        now = time.monotonic()
        with self._lock:
            self._tokens = {known: entry for known, entry in self._tokens.items() if entry[1] > now}
            self._tokens[token] = (host, now + ttl)
        return token

    def accepts(self, token: str | None, host: Host) -> bool:
        owner, end = self._tokens.get(token or "", (None, 0.0))
        return owner is host and end > time.monotonic()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    timeout = 30
    metadata: Metadata

    def answer(self, status: HTTPStatus, body: str = "", content_type: str = "text/plain", **headers: str) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Silent: hosts ask all the time."""


class MetadataHandler(Handler):
    def handle_request(self) -> None:
        self.body()
        host = self.metadata.host_at(self.client_address[0])
        path = self.path.split("?")[0]
        if host is None or "X-Forwarded-For" in self.headers:
            self.answer(HTTPStatus.FORBIDDEN)
        elif path.rstrip("/") == "/latest/api/token":
            self.give_token(host)
        elif self.command not in ("GET", "HEAD"):
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        elif not self.metadata.accepts(self.headers.get("X-aws-ec2-metadata-token"), host):
            self.answer(HTTPStatus.UNAUTHORIZED)
        else:
            value = look_up({"latest": host.tree()}, path)
            if value is None:
                self.answer(HTTPStatus.NOT_FOUND)
            else:
                self.answer(HTTPStatus.OK, value)

    def give_token(self, host: Host) -> None:
        if self.command != "PUT":
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, Allow="PUT")
            return
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL:
            self.answer(HTTPStatus.BAD_REQUEST)
            return
        headers = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl}
        self.answer(HTTPStatus.OK, self.metadata.new_token(host, int(ttl)), **headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = handle_request  # noqa: N815


class ControlHandler(Handler):
    def do_GET(self) -> None:
        states = {name: host.state for name, host in self.metadata.hosts.items()}
        if self.path == "/hosts":
            self.answer(HTTPStatus.OK, json.dumps(states), "application/json")
        else:
            self.answer(HTTPStatus.NOT_FOUND, "GET /hosts or PUT /hosts/<name>\n")

    def do_PUT(self) -> None:
        body = self.body()
        host = self.metadata.hosts.get(self.path.removeprefix("/hosts/"))
        if host is None:
            self.answer(HTTPStatus.NOT_FOUND, f"hosts are {', '.join(self.metadata.hosts)}\n")
            return
        try:
            host.update(json.loads(body))
        except (ValueError, AttributeError) as error:
            self.answer(HTTPStatus.BAD_REQUEST, f"{error}\n")
        else:
            self.answer(HTTPStatus.OK, json.dumps(host.state), "application/json")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, handler: type[Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), handler)


def make_servers(settings: dict[str, Any], addresses: list[tuple[str, int]], control: tuple[str, int]) -> list[Server]:
    metadata = Metadata(settings)
    metadata_handler = type("BoundMetadataHandler", (MetadataHandler,), {"metadata": metadata})
    control_handler = type("BoundControlHandler", (ControlHandler,), {"metadata": metadata})
    return [Server(*address, metadata_handler) for address in addresses] + [Server(*control, control_handler)]


def has_address(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    addresses = [(address, 80) for address in ADDRESSES if has_address(address)]
    servers = make_servers(settings, addresses, ("0.0.0.0", CONTROL_PORT))
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
