# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as an operator has it: the tests run playbooks and inspect hosts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import boto3
import yaml
from botocore.exceptions import BotoCoreError

from tests.warm import Playbook

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
# The testbed is for the release of requirements.txt alone, also where its fleet is managed by another one.
TESTBED_PLAYBOOK = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
# Where images are built first, on a machine that does much else.
BUILD_SECONDS = 1800.0
# Of the names of this checkout's testbeds.
PREFIX = f"ek-{hashlib.sha1(str(CHECKOUT).encode()).hexdigest()[:6]}"
GATEWAY = "bk-gateway-api"


@dataclass(frozen=True)
class Run:
    """What an operator gets of a playbook: the exit code and the text."""

    code: int
    output: str = field(repr=False)

    def says(self, *words: str) -> bool:
        """Whether each of the words stands in the text, however it is wrapped."""
        text = " ".join(self.output.split())
        missing = [word for word in words if " ".join(word.split()) not in text]
        assert not missing, f"the output does not say {missing}:\n{self.output}"
        return True

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        lines = re.findall(r"^(\S+)\s+: (ok=.*)$", self.output, re.M)
        return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)} for host, line in lines}

    def changed(self) -> set[str]:
        return {host for host, counts in self.recap.items() if counts["changed"]}


class Process:
    """A program that an operator runs in a terminal of its own; `warm` makes a playbook start faster."""

    process: subprocess.Popen[str] | Playbook

    def __init__(self, *command: str | Path, cwd: Path = CHECKOUT, warm: bool = False, **variables: str) -> None:
        # The operator's shell, without what the developer may have set in it.
        ours = ("ANSIBLE_", "AWS_", "PYTHON")
        shell = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # Not a pipe: nothing reads it while a test looks at something else, and a full one would stop the program.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = {**shell, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PYTHONFAULTHANDLER": "1", **variables}
        words = [str(word) for word in command]
        if warm and command[0] == PLAYBOOK:
            self.process = Playbook(words[1:], cwd, environment, self._output)
            return
        self.process = subprocess.Popen(
            words,
            cwd=cwd,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, timeout: float = 600.0) -> Run:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            # Each Python among them then says where it is.
            for pid in [*descendants(self.process.pid), self.process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGABRT)
            time.sleep(1)
            said = self.kill()
            raise AssertionError(f"it has not ended within {timeout:g} s: {said[-20000:]}") from None
        return Run(code, self._said())

    def kill(self) -> str:
        """The terminal and all that runs in it is gone, without a chance to tidy up; what it said until then."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        return self._said()

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read()


def descendants(pid: int) -> list[int]:
    """Ansible's workers have sessions of their own, so that a signal to the group of the first does not reach them."""
    table = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], check=True, capture_output=True, text=True, timeout=10)
    children: dict[int, list[int]] = {}
    for line in table.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.2)


def get(url: str, timeout: float = 5.0) -> tuple[int, Any]:
    """Status and JSON (or text) of an answer; status 0 where there was none."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    except (URLError, OSError) as error:
        return 0, str(error)
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


class Fleet:
    """A fleet on this machine, driven as an operator does.

    `inventory` is a folder for it, `others` the images of its last hosts, `warm` for playbooks that start faster.
    """

    def __init__(
        self, inventory: Path, name: str, hosts: int = 3, others: Sequence[str] = (), *, warm: bool = False
    ) -> None:
        self.name = name
        self._warm = warm
        self._plays: list[Process] = []
        self.hosts = tuple(f"host-{number}" for number in range(1, hosts + 1))
        self._others = list(others)
        images = zip(self.hosts[hosts - len(others) :], others)
        self.rpm_hosts = tuple(host for host, image in images if image == "rpm-host")
        self.state = CHECKOUT / ".testbed" / name
        self.reports = self.state / "reports"
        self.inventory = inventory / "hosts.yml"
        inventory.mkdir(exist_ok=True)
        self.inventory.symlink_to(self.state / "hosts.yml")
        (inventory / "group_vars").symlink_to(CHECKOUT / "inventories" / "local" / "group_vars")

    # Making and removing it

    @contextmanager
    def for_tests(self) -> Iterator[Fleet]:
        """Bare hosts at first. KEEP_TESTBED=1 keeps the testbed after the tests and uses one that exists."""
        if not (os.environ.get("KEEP_TESTBED") and self.inventory.exists()):
            self.make_bare(*self.hosts)
        yield self
        if not os.environ.get("KEEP_TESTBED"):
            self.down()

    def serve(self) -> Fleet:
        """Bootstrapped by the first call."""
        if not all(self.healthy(host) for host in self.hosts):
            run = self.site()
            assert run.code == 0, run.output
        self.assert_serving()
        return self

    def up(self) -> None:
        size = {"testbed_hosts": len(self.hosts), "testbed_other_hosts": self._others}
        self._own_playbook("up.yml", json.dumps(size))

    def down(self) -> None:
        self._own_playbook("down.yml")

    def _own_playbook(self, name: str, *variables: str) -> None:
        settings = [word for variable in (f"testbed_name={self.name}", *variables) for word in ("-e", variable)]
        run = self._process([TESTBED_PLAYBOOK, CHECKOUT / "testbed" / name, *settings]).wait(BUILD_SECONDS)
        assert run.code == 0, run.output

    def make_bare(self, *hosts: str) -> None:
        """New hosts in place of these, with nothing installed."""
        for host in hosts:
            subprocess.run(
                ["docker", "rm", "-f", "-v", f"{self.name}-{host}"], check=False, capture_output=True, timeout=60
            )
            subprocess.run(
                ["docker", "volume", "rm", f"{self.name}-{host}-docker"], check=False, capture_output=True, timeout=60
            )
        self.up()

    # What it knows

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.state / "facts.json").read_text())
        return facts

    @property
    def variables(self) -> dict[str, Any]:
        variables: dict[str, Any] = yaml.safe_load((self.state / "hosts.yml").read_text())["gateways"]["vars"]
        return variables

    @property
    def secrets(self) -> dict[str, str]:
        secrets: dict[str, str] = yaml.safe_load((self.state / "secrets.yml").read_text())
        return secrets

    def operator(self, access_key: str = "AKIAOPERATOR") -> dict[str, str]:
        """The environment of an operator who works with the account."""
        return {
            "AWS_ENDPOINT_URL": self.facts["aws"]["url"],
            "AWS_CA_BUNDLE": self.facts["ca_certificate"],
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": self.secrets["operator_secret_access_key"],
        }

    def aws(self, service: str) -> Any:
        operator = self.operator()
        return boto3.client(
            service,
            region_name=self.facts["region"],
            endpoint_url=operator["AWS_ENDPOINT_URL"],
            verify=operator["AWS_CA_BUNDLE"],
            aws_access_key_id=operator["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=operator["AWS_SECRET_ACCESS_KEY"],
        )

    def _aws_answers(self) -> bool:
        try:
            return bool(self.aws("sts").get_caller_identity())
        except BotoCoreError:
            return False

    # What an operator does

    def start_site(self, *arguments: str, inventory: Path | None = None, **variables: Any) -> Process:
        return self.start_play("site.yml", *arguments, inventory=inventory, **variables)

    def start_play(
        self,
        playbook: str,
        *arguments: str,
        inventory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        **variables: Any,
    ) -> Process:
        extra = ["-e", json.dumps(variables)] if variables else []
        path = CHECKOUT / "playbooks" / playbook
        command: list[str | Path] = [PLAYBOOK, "-i", inventory or self.inventory, path, *arguments, *extra]
        process = self._process(command, **environment or {})
        self._plays = [play for play in self._plays if play.process.poll() is None] + [process]
        return process

    def interrupt_plays(self) -> None:
        """Those that still run, as Ctrl-C does."""
        for play in self._plays:
            if play.process.poll() is None:
                os.killpg(play.process.pid, signal.SIGINT)
                play.wait(120)

    def run(self, *command: str | Path, cwd: Path = CHECKOUT, **variables: str) -> str:
        """What a command prints that has to succeed."""
        run = self._process(command, cwd, **variables).wait()
        assert run.code == 0, run.output
        return run.output

    def _process(self, command: Sequence[str | Path], cwd: Path = CHECKOUT, /, **variables: str) -> Process:
        variables = {"EVENKEEL_ROLLOUT_REPORT": str(self.reports), **variables}
        return Process(*command, cwd=cwd, warm=self._warm, **variables)

    def site(self, *arguments: str, inventory: Path | None = None, **variables: Any) -> Run:
        return self.start_site(*arguments, inventory=inventory, **variables).wait()

    # Looking at hosts

    def on(self, host: str, script: str, stdin: str | None = None, check: bool = True) -> str:
        """What a shell as root on the host prints."""
        return shell(["docker", "exec", "--interactive", f"{self.name}-{host}", "sh", "-c", script], stdin, check)

    def service(self, verb: str, name: str) -> None:
        """start, stop, restart or kill a container of the fleet; a host and AWS are waited for until they answer."""
        shell(["docker", verb, f"{self.name}-{name}"], None, True)
        if name in self.hosts and "start" in verb:
            wait_until(lambda: self.answers(name), f"{name} answers over SSH")
        if name == "aws" and "start" in verb:
            wait_until(self._aws_answers, "the endpoint of AWS answers")

    def sql(self, query: str) -> str:
        """What the gateways' database answers, values only."""
        name = self.facts["database"]["name"]
        psql = ["docker", "exec", "--user", "postgres", f"{self.name}-db", "psql", "-AtX", "-d", name, "-c", query]
        return shell(psql, None, True).strip()

    def answers(self, host: str) -> bool:
        try:
            with socket.create_connection((self.facts["hosts"][host]["ipv4"], 22), timeout=2) as connection:
                return bool(connection.recv(1))
        except OSError:
            return False

    def about(self, host: str) -> dict[str, Any]:
        _status, about = get(f"http://{self.facts['hosts'][host]['ipv4']}/api/about-me")
        return about if isinstance(about, dict) else {}

    def healthy(self, host: str) -> bool:
        return get(f"http://{self.facts['hosts'][host]['ipv4']}/api/health")[0] == 200

    def leaders(self) -> list[str]:
        return [host for host in self.hosts if self.about(host).get("amILeader")]

    def proxies(self) -> bool:
        """Whether the load balancer gets an answer of a backend, several times over."""
        answers = [get(f"{self.facts['load_balancer']['url']}/api/users/hello") for _host in self.hosts]
        return all(status == 200 and answer["service"] == "users" for status, answer in answers)

    def balancer(self, command: str) -> str:
        """What the load balancer answers to a command of its runtime API."""
        host, _colon, port = self.facts["load_balancer"]["runtime"].partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def servers(self) -> dict[str, dict[str, str]]:
        """What the load balancer knows of each host."""
        _version, names, *lines = self.balancer("show servers state gateways").splitlines()
        rows = [dict(zip(names.lstrip("# ").split(), line.split())) for line in lines if line]
        return {row["srv_name"]: row for row in rows}

    def out_of_the_balancer(self) -> list[str]:
        """Hosts that the load balancer was told to send nothing to."""
        # The administrator's bits: maintenance, or drain.
        return [host for host, server in self.servers().items() if int(server["srv_admin_state"])]

    def targets(self) -> dict[str, str]:
        """What the target group says of each host that is registered, such as healthy."""
        elb = self.aws("elbv2")
        group = elb.describe_target_groups(Names=["gateways"])["TargetGroups"][0]["TargetGroupArn"]
        described = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        states = {target["Target"]["Id"]: target["TargetHealth"]["State"] for target in described}
        return {
            host: states[known["instance_id"]]
            for host, known in self.facts["hosts"].items()
            if known["instance_id"] in states
        }

    def healthy_targets(self) -> int:
        return list(self.targets().values()).count("healthy")

    def assert_serving(self) -> None:
        """All hosts healthy, in the load balancer, and exactly one leads."""
        for host in self.hosts:
            wait_until(lambda host=host: self.healthy(host), f"{host} is healthy")  # type: ignore[misc]
        wait_until(self.proxies, "the load balancer gets answers of a backend")
        wait_until(lambda: len(self.leaders()) == 1, "exactly one host leads")

    def gateway(self, host: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.on(host, f"docker inspect {GATEWAY}"))
        return found[0]

    def containers(self, host: str) -> str:
        """Which containers run, since when."""
        look = "docker ps -q | xargs -r docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}'"
        return self.on(host, f"command -v docker >/dev/null && {look}", check=False)

    def rpms(self, host: str) -> str:
        """What rpm has installed."""
        return self.on(host, "if command -v rpm >/dev/null; then rpm -qa | sort; fi")

    @contextmanager
    def untouched(self, *hosts: str) -> Iterator[None]:
        """What happens inside changes no file and no container on these hosts."""
        before = {host: self.containers(host) + self.rpms(host) for host in hosts}
        for host in hosts:
            self.on(host, "touch /run/untouched")
        yield
        look = (
            "find /etc /opt /root /srv /usr /var -xdev -newer /run/untouched -type f"
            " -not -path '/var/log/*' -not -path '/var/lib/containerd/*' -not -path '/root/.ecr/*'"
            # rpm and dnf write to their databases also when they only read them.
            " -not -path '/var/cache/dnf/*' -not -path '/var/lib/dnf/*' -not -path '/var/lib/rpm/*'"
        )
        assert {host: self.on(host, look) for host in hosts} == dict.fromkeys(hosts, "")
        assert {host: self.containers(host) + self.rpms(host) for host in hosts} == before

    @contextmanager
    def credentials(self, host: str, kind: str) -> Iterator[None]:
        """The credentials that IMDS gives to the host: denied, expired, none."""
        try:
            self._put_credentials(host, kind)
            yield
        finally:
            self._put_credentials(host, "ok")

    def _put_credentials(self, host: str, kind: str) -> None:
        self.on(host, "rm -rf /root/.ecr")  # the helper keeps a token for twelve hours
        request = urllib.request.Request(
            f"{self.facts['imds_control']}/hosts/{host}", json.dumps({"credentials": kind}).encode(), method="PUT"
        )
        urllib.request.urlopen(request, timeout=5).close()


def shell(command: list[str], stdin: str | None, check: bool) -> str:
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"{command[-1]}: {done.stdout}{done.stderr}"
    return done.stdout
