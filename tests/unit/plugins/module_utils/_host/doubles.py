# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Result

# The rules of an engine 20.10 with a container on a network of its own, as iptables -S prints them.
NAT = """\
-P PREROUTING ACCEPT
-P INPUT ACCEPT
-P OUTPUT ACCEPT
-P POSTROUTING ACCEPT
-N DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-5919681ed91b -j MASQUERADE
-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 3000 -j MASQUERADE
-A DOCKER -i br-5919681ed91b -j RETURN
-A DOCKER ! -i br-5919681ed91b -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:3000
"""
FILTER = """\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-5919681ed91b -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-5919681ed91b -j DOCKER
-A FORWARD -i br-5919681ed91b ! -o br-5919681ed91b -j ACCEPT
-A DOCKER -d 172.18.0.2/32 ! -i br-5919681ed91b -o br-5919681ed91b -p tcp -m tcp --dport 3000 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-5919681ed91b ! -o br-5919681ed91b -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o br-5919681ed91b -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
"""


class EngineDouble:
    """A Docker engine in memory, as far as this collection talks to one."""

    def __init__(self) -> None:
        self.containers: list[dict[str, Any]] = []
        self.networks: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        # One for each question; the last one stays.
        self.infos: list[dict[str, Any]] = [{"LiveRestoreEnabled": False}]
        self.calls: list[str] = []
        # What a container does when it is started, by the first word of its command.
        self.behaviours: dict[str, dict[str, Any]] = {"fail": {"Running": False, "Status": "exited", "ExitCode": 3}}
        self.refuse: dict[str, str] = {}
        self.logs = b""
        self._count = 0

    def unix_request(self, _path: str, method: str, target: str, body: Any, _timeout: float) -> Response:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        self.calls.append(f"{method} {path}")
        for pattern, message in self.refuse.items():
            if re.fullmatch(pattern, f"{method} {path}"):
                return _answer(500, {"message": message})
        for pattern, handler in self._routes().items():
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return handler(*match.groups(), query=query, body=body)  # type: ignore[no-any-return]
        raise AssertionError(f"nothing answers {method} {path}")

    def _routes(self) -> dict[str, Any]:
        return {
            r"GET /info": lambda **_: _answer(200, self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]),
            r"GET /_ping": lambda **_: Response(200, b"OK"),
            r"GET /version": lambda **_: _answer(200, {"Arch": "amd64"}),
            r"GET /containers/json": self._list,
            r"POST /containers/create": self._create,
            r"GET /containers/([^/]+)/json": lambda name, **_: _found(self.container(name)),
            r"GET /containers/([^/]+)/logs": lambda _name, **_: Response(200, self.logs),
            r"POST /containers/([^/]+)/start": self._start,
            r"POST /containers/([^/]+)/stop": self._stop,
            r"POST /containers/([^/]+)/rename": self._rename,
            r"POST /containers/([^/]+)/update": self._update,
            r"DELETE /containers/([^/]+)": self._delete,
            r"GET /images/(.+)/json": lambda name, **_: _found(self.images.get(name)),
            r"GET /networks/([^/]+)": lambda name, **_: _found(self.networks.get(name)),
            r"POST /networks/create": self._create_network,
            r"POST /networks/([^/]+)/connect": lambda _name, **_: _answer(200, None),
            r"DELETE /networks/([^/]+)": self._delete_network,
        }

    # What a test looks at

    def container(self, name: str) -> dict[str, Any] | None:
        return next((entry for entry in self.containers if name in (entry["Id"], entry["Name"].lstrip("/"))), None)

    def state(self) -> dict[str, str]:
        return {entry["Name"].lstrip("/"): entry["State"]["Status"] for entry in self.containers}

    def add(self, name: str, *, status: str = "running", image: str = "sha256:old", **config: Any) -> dict[str, Any]:
        self._count += 1
        entry = {
            "Id": f"id{self._count}",
            "Name": f"/{name}",
            "Image": image,
            "Config": {"Image": image, "Labels": {}, **config},
            "HostConfig": {"Memory": 0, "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
            "State": {
                "Status": status,
                "Running": status == "running",
                "ExitCode": 0,
                "StartedAt": "2024-01-01T00:00:00Z",
            },
            "RestartCount": 0,
            "NetworkSettings": {"Networks": {"app-net": {"IPAddress": f"10.0.0.{self._count}"}}},
        }
        self.containers.append(entry)
        return entry

    # Requests

    def _list(self, *, query: dict[str, str], **_: Any) -> Response:
        entries = [entry for entry in self.containers if query.get("all") or entry["State"]["Running"]]
        network = json.loads(query.get("filters", "{}")).get("network")
        if network:
            entries = [entry for entry in entries if entry.get("network") == network[0]]
        return _answer(200, [{"Id": entry["Id"], "Names": [entry["Name"]], "Ports": []} for entry in entries])

    def _create(self, *, query: dict[str, str], body: Any, **_: Any) -> Response:
        image = self.images.get(body["Image"])
        if image is None:
            return _answer(404, {"message": f"No such image: {body['Image']}"})
        entry = self.add(query["name"], status="created", image=image["Id"])
        entry["Config"] = {key: body.get(key) for key in ("Image", "Labels", "Env", "Cmd")}
        entry["HostConfig"] = body["HostConfig"]
        return _answer(201, {"Id": entry["Id"]})

    def _start(self, name: str, **_: Any) -> Response:
        entry = self.container(name)
        assert entry is not None
        word = (entry["Config"].get("Cmd") or [""])[0]
        running = {"Running": True, "Status": "running", "ExitCode": 0}
        entry["State"].update(self.behaviours.get(word, running))
        return _answer(204, None)

    def _stop(self, name: str, **_: Any) -> Response:
        entry = self.container(name)
        assert entry is not None
        entry["State"].update(Running=False, Status="exited")
        return _answer(204, None)

    def _rename(self, name: str, *, query: dict[str, str], **_: Any) -> Response:
        entry = self.container(name)
        assert entry is not None
        if self.container(query["name"]):
            return _answer(409, {"message": f"the name {query['name']} is in use"})
        entry["Name"] = f"/{query['name']}"
        return _answer(204, None)

    def _update(self, name: str, *, body: Any, **_: Any) -> Response:
        entry = self.container(name)
        assert entry is not None
        entry["HostConfig"].update(body)
        return _answer(200, {})

    def _delete(self, name: str, **_: Any) -> Response:
        self.containers = [entry for entry in self.containers if entry["Id"] != name]
        return _answer(204, None)

    def _create_network(self, *, body: Any, **_: Any) -> Response:
        pools = body["IPAM"]["Config"] or [{"Subnet": "172.18.0.0/16"}]
        self._count += 1
        self.networks[body["Name"]] = {**body, "Id": f"net{self._count:010d}", "IPAM": {"Config": pools}}
        return _answer(201, {})

    def _delete_network(self, identity: str, **_: Any) -> Response:
        self.networks = {name: entry for name, entry in self.networks.items() if entry["Id"] != identity}
        return _answer(204, None)


def _answer(status: int, value: Any) -> Response:
    return Response(status, b"" if value is None else json.dumps(value).encode())


def _found(value: Any) -> Response:
    return _answer(404, {"message": "no such thing"}) if value is None else _answer(200, value)


class Runner:
    """Stands in for the host's commands: answers by the beginning of the command line, and remembers what was run."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, list[Result]]] = []
        self.lines: list[str] = []
        self.inputs: list[str | None] = []
        self.environments: list[Mapping[str, str]] = []

    def answer(self, start: str, stdout: str = "", *, code: int = 0, stderr: str = "") -> None:
        """Further answers to the same beginning are given one after the other; the last one stays."""
        result = Result((start,), code, stdout, stderr)
        for known, results in self.answers:
            if known == start:
                results.append(result)
                return
        self.answers.insert(0, (start, [result]))

    def __call__(
        self, argv: Sequence[str], timeout: float, stdin: str | None, environment: Mapping[str, str]
    ) -> Result:
        assert timeout > 0
        line = " ".join(argv)
        self.lines.append(line)
        self.inputs.append(stdin)
        self.environments.append(environment)
        for start, results in self.answers:
            if line.startswith(start):
                return for_each_unit(argv, results.pop(0) if len(results) > 1 else results[0])
        # An engine has its rules in the firewall.
        rules = {"iptables -w 5 -t nat -S": NAT, "iptables -w 5 -t filter -S": FILTER}
        return Result(tuple(argv), 0, rules.get(line, ""), "")

    def ran(self, start: str) -> list[str]:
        return [line for line in self.lines if line.startswith(start)]


def for_each_unit(argv: Sequence[str], result: Result) -> Result:
    """One block is the answer for each of the units that systemctl is asked for."""
    if list(argv[:2]) != ["systemctl", "show"] or "\n\n" in result.stdout:
        return result
    return Result(result.argv, result.code, "\n\n".join([result.stdout] * len(argv[3:])), result.stderr)


def unit_block(**values: object) -> str:
    known = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
    return "\n".join(f"{key}={value}" for key, value in {**known, **values}.items())
