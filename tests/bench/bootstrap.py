# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times the bootstrap of fresh hosts: site.yml, a plain bash script and pyinfra, in one run on one machine.

Each tool gets hosts of its own making, brings them to the same end state (checked by check.py, by the same measure
for all), and then runs again with nothing to change. Fails only where a tool fails or an end state differs: the
times are for people to look at.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.bench.steps import Steps, from_declarations  # noqa: E402

BENCH = CHECKOUT / "tests" / "bench"
BIN = CHECKOUT / ".venv" / "bin"
FOLDER = CHECKOUT / ".cache" / "bench"
TESTBED = f"ek-{hashlib.sha1(str(CHECKOUT).encode()).hexdigest()[:6]}-bench"
STATE = CHECKOUT / ".testbed" / TESTBED
OURS = "site.yml"
NO_CHANGE_RUNS = 3
TESTBED_TIMEOUT, FIRST_TIMEOUT, NO_CHANGE_TIMEOUT, CHECK_TIMEOUT, SETTLE_TIMEOUT = 1800, 1200, 300, 120, 120

State = dict[str, Any]


class BenchError(Exception):
    """A tool failed, or did something else than the others."""


class Sample(NamedTuple):
    """One run in seconds: wall time and processor time of controller, hosts and everything else on the machine."""

    wall: float
    controller: float
    hosts: float
    rest: float


class Limit(NamedTuple):
    """How many times as long as another tool site.yml may take."""

    kind: str
    other: str
    factor: float


LIMITS = (Limit("first", "bash", 1.6), Limit("first", "pyinfra", 1.0), Limit("no change", "pyinfra", 1.5))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_FORCE_COLOR": "0",
        **more,
    }


def run(
    what: str, argv: list[str], timeout: float, env: Mapping[str, str] | None = None, containers: Sequence[str] = ()
) -> Sample:
    """Runs a command with its output in a log; how long it took, and the processor time of some containers."""
    log = FOLDER / f"{what.replace(' ', '-').replace('/', '-')}.log"
    before, busy, worked = os.times(), busy_seconds(), container_seconds(containers)
    began = time.monotonic()
    with log.open("w") as output:
        try:
            code = subprocess.run(
                argv,
                cwd=CHECKOUT,
                env=env or environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{what} has not ended after {timeout:.0f} s, see {log}") from error
    wall = time.monotonic() - began
    after = os.times()
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise BenchError(f"{what} failed with exit code {code}, its last words (all in {log}):\n{tail}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    rest = busy_seconds() - busy - used
    hosts = container_seconds(containers) - worked
    return Sample(round(wall, 2), round(used, 2), round(hosts, 2), round(rest - hosts, 2))


def busy_seconds() -> float:
    """Processor time that the whole machine has used."""
    user, nice, system, _idle, _waiting, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def container_seconds(names: Sequence[str]) -> float:
    """Processor time that containers have used, by the kernel's books; what engines in them run is booked elsewhere."""
    if not names:
        return 0.0
    listed = subprocess.run(
        ["docker", "inspect", "--format", "{{.Id}}", *names], check=True, capture_output=True, text=True, timeout=60
    )
    books = [
        book
        for identity in listed.stdout.split()
        for pattern in (f"docker/{identity}", f"unified/docker/{identity}", f"system.slice/docker-{identity}.scope")
        for book in Path("/sys/fs/cgroup").glob(f"{pattern}/cpu.stat")
    ]
    used = [
        line.split()[1] for book in books for line in book.read_text().splitlines() if line.startswith("usage_usec")
    ]
    return sum(map(int, used)) / 1e6


def settle() -> None:
    """Waits until the machine has less than half a processor to do: booted hosts, or other work."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while time.monotonic() < deadline:
        busy = busy_seconds()
        time.sleep(2)
        if busy_seconds() - busy < 1:
            return
    say("  the machine is still busy; the times will be too long")


class Bench:
    """One fleet, and the tools that are tried on it."""

    def __init__(self, hosts: int) -> None:
        self.count = hosts
        self.containers = [f"{TESTBED}-host-{number}" for number in range(1, hosts + 1)]
        self.hosts: list[str] = []
        self.steps: Steps
        self.tools = {
            "bash": (["tests/bench/bash/bootstrap.sh", str(FOLDER)], {}),
            "pyinfra": (
                # Hosts do not wait for each other, as they do not with bash.
                ["pyinfra", "-y", "--no-wait", "tests/bench/pyinfra/inventory.py", "tests/bench/pyinfra/deploy.py"],
                {"BENCH_FOLDER": str(FOLDER), "PYTHONPATH": str(CHECKOUT)},
            ),
            OURS: (
                ["ansible-playbook", "-i", str(FOLDER / "inventory"), "playbooks/site.yml"],
                {
                    "ANSIBLE_CALLBACK_PLUGINS": str(BENCH / "callback"),
                    "ANSIBLE_CALLBACKS_ENABLED": "bench_timings",
                },
            ),
        }

    def up(self) -> None:
        """The services around the hosts, and hosts where there are none."""
        argv = [
            "ansible-playbook",
            "testbed/up.yml",
            "-e",
            f"testbed_name={TESTBED}",
            "-e",
            f"testbed_hosts={self.count}",
        ]
        run("fleet up", argv, TESTBED_TIMEOUT)

    def fresh_hosts(self) -> None:
        names = self.containers
        for argv in (["rm", "--force", *names], ["volume", "rm", "--force", *[f"{name}-docker" for name in names]]):
            subprocess.run(["docker", *argv], check=True, capture_output=True, timeout=300)
        self.up()

    def down(self) -> None:
        run("fleet down", ["ansible-playbook", "testbed/down.yml", "-e", f"testbed_name={TESTBED}"], TESTBED_TIMEOUT)

    def prepare(self) -> None:
        """Gives every tool the same hosts and the same wanted state, each in its own form."""
        inventory = FOLDER / "inventory"
        shutil.rmtree(inventory, ignore_errors=True)
        inventory.mkdir()
        (inventory / "hosts.yml").symlink_to(STATE / "hosts.yml")
        (inventory / "group_vars").symlink_to(CHECKOUT / "inventories" / "local" / "group_vars")
        declarations = FOLDER / "declarations.json"
        argv = ["ansible-playbook", "-i", str(inventory), "tests/bench/declarations.yml", "-e", f"to={declarations}"]
        run("declarations", argv, CHECK_TIMEOUT)
        self.steps = from_declarations(json.loads(declarations.read_text()))
        self.steps.dump(FOLDER / "steps.json")
        (FOLDER / "settings.sh").write_text(self.steps.shell())

        gateways = yaml.safe_load((STATE / "hosts.yml").read_text())["gateways"]
        self.hosts = list(gateways["hosts"])
        (FOLDER / "hosts").write_text("".join(f"{host}\n" for host in self.hosts))
        known_hosts = FOLDER / "known_hosts"
        known = (STATE / "ssh" / "known_hosts").read_text()
        config = ""
        for host, variables in gateways["hosts"].items():
            config += f"Host {host}\n  HostName {variables['ansible_host']}\n"
        config += (
            f"Host *\n  User {gateways['vars']['ansible_user']}\n"
            f"  IdentityFile {gateways['vars']['ansible_ssh_private_key_file']}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {known_hosts}\n  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 15\n"
        )
        (FOLDER / "ssh_config").write_text(config)
        known_hosts.write_text(known)

    def time(self, tool: str, kind: str, timeout: float) -> Sample:
        argv, settings = self.tools[tool]
        timings = FOLDER / f"timings-{kind.replace(' ', '-')}.json"
        settle()
        # A folder of its own: no run finds the open connections of another.
        with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
            env = environment(**settings, BENCH_TIMINGS=str(timings), ANSIBLE_SSH_CONTROL_PATH_DIR=sockets)
            return run(f"{tool} {kind}", argv, timeout, env, self.containers)

    def states(self) -> dict[str, State]:
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return dict(zip(self.hosts, pool.map(self.state, self.hosts), strict=True))

    def state(self, host: str) -> State:
        steps = shlex.quote((FOLDER / "steps.json").read_text())
        with (BENCH / "check.py").open() as program:
            result = subprocess.run(
                ["ssh", "-F", str(FOLDER / "ssh_config"), host, f"sudo python3 - {steps}"],
                stdin=program,
                capture_output=True,
                text=True,
                timeout=CHECK_TIMEOUT,
                check=False,
            )
        if result.returncode:
            raise BenchError(f"{host} can't be looked at: {result.stderr.strip()}")
        state: State = json.loads(result.stdout)
        return state


def missing(steps: Steps, state: State) -> list[str]:
    """What a host lacks of what all tools are to bring."""
    packages = [*steps.packages, *(["amazon-cloudwatch-agent"] if steps.agent_url else [])]
    installed = {line.split()[0] for line in state["packages"] if line.endswith(" ii")}
    container, engine = state["container"], state["daemon.json"]
    units = "ActiveState=active\nUnitFileState=enabled"
    wrong = {
        "packages": sorted(set(packages) - installed),
        "daemon.json": [key for key, value in json.loads(steps.daemon_json).items() if engine.get(key) != value],
        "IMDS table": "jump to_imds" not in state["imds table"],
        "units": [name for name, shown in state["units"].items() if shown != units],
        "network": state["network"]["Name"] != steps.network,
        "credential helper": state["credentials"] != json.loads(steps.docker_config),
        "agent's configuration": bool(steps.agent_config_path) and state["agent"] != json.loads(steps.agent_config),
        "image": container["image"] != steps.container.image,
        "container": container["status"] != "running" or container["health"] not in ("healthy", "none"),
        "answer of the gateway": state["answer"] != "200",
    }
    return [f"{name}{f': {what}' if isinstance(what, list) else ''}" for name, what in wrong.items() if what]


def compare(tool: str, steps: Steps, states: dict[str, State], reference: dict[str, State]) -> None:
    """Fails where a host lacks something, or is not as the first tool made it."""
    for host, state in states.items():
        if lacks := missing(steps, state):
            raise BenchError(
                f"{tool} did not bring {host} to the wanted state: {'; '.join(lacks)}\n{json.dumps(state)}"
            )
        for key, value in state.items():
            if key != "identity" and value != reference[host][key]:
                raise BenchError(
                    f"{tool} left another {key} on {host} than the first tool:\n{value}\n{reference[host][key]}"
                )


def table(samples: dict[str, dict[str, list[Sample]]], hosts: int) -> str:
    lines = [
        f"{hosts} hosts, {os.cpu_count()} processors; medians in s (processor time of controller + hosts + all else)",
        f"{'':10}{'first run':>30}{'no-change run':>30}",
    ]
    for tool, kinds in samples.items():
        cells = ""
        for runs in kinds.values():
            wall, *used = (median(column) for column in zip(*runs, strict=True))
            parts = " + ".join(f"{part:.1f}" for part in used)
            cells += f"{f'{wall:.1f} ({parts})':>30}"
        lines.append(f"{tool:10}{cells}")
    lines.append("")
    for kind, other, factor in LIMITS:
        ratio = ratio_of(samples, kind, other)
        verdict = "met" if ratio <= factor else "MISSED"
        lines.append(f"{kind + ' run,':15} {OURS} / {other:8}{ratio:6.2f}x   limit {factor}x {verdict}")
    ratio = ratio_of(samples, "no change", "bash")
    lines.append(f"{'no change run,':15} {OURS} / bash    {ratio:6.2f}x   no limit")
    return "\n".join(lines)


def ratio_of(samples: dict[str, dict[str, list[Sample]]], kind: str, other: str) -> float:
    ours, others = (median(sample.wall for sample in samples[tool][kind]) for tool in (OURS, other))
    return ours / others


def slowest(kind: str, count: int = 5) -> str:
    """The slowest tasks of site.yml's last run of a kind, with the phases that the slowest host told."""
    tasks = json.loads((FOLDER / f"timings-{kind.replace(' ', '-')}.json").read_text())
    lines = [f"slowest tasks of {OURS}, {kind} run:"]
    for task in sorted(tasks, key=lambda task: -task["seconds"])[:count]:
        lines.append(f"{task['seconds']:8.2f} s  {task['name']}")
        timings: list[dict[str, float]] = [host["timings"] for host in task["hosts"].values()]
        phases = max(timings, key=lambda phase: phase.get("total", 0), default={})
        if phases:
            shown = sorted(phases.items(), key=lambda phase: -phase[1])
            lines.append(f"{'':12}slowest host: {', '.join(f'{name} {seconds:.2f}' for name, seconds in shown)}")
    return "\n".join(lines)


def measure(bench: Bench, rounds: int) -> dict[str, dict[str, list[Sample]]]:
    tools = list(bench.tools)
    samples: dict[str, dict[str, list[Sample]]] = {tool: {"first": [], "no change": []} for tool in tools}
    reference: dict[str, State] = {}
    for number in range(rounds):
        # Each round begins with another tool.
        order = tools[number % len(tools) :] + tools[: number % len(tools)]
        for tool in order:
            say(f"round {number + 1} of {rounds}: fresh hosts for {tool}")
            bench.fresh_hosts()
            first = bench.time(tool, "first", FIRST_TIMEOUT)
            states = bench.states()
            reference = reference or states
            compare(tool, bench.steps, states, reference)
            say(f"  {tool}: first run {first.wall:.1f} s, the hosts are in the wanted state")
            samples[tool]["first"].append(first)
            for _ in range(NO_CHANGE_RUNS):
                samples[tool]["no change"].append(bench.time(tool, "no change", NO_CHANGE_TIMEOUT))
            if bench.states() != states:
                raise BenchError(f"{tool} changed something in a run that had nothing to change")
            walls = ", ".join(f"{sample.wall:.1f}" for sample in samples[tool]["no change"][-NO_CHANGE_RUNS:])
            say(f"  {tool}: no-change runs {walls} s")
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=6, metavar="N", help="fresh hosts (default: %(default)s)")
    # Fewer are unfair: on some machines the tool that comes first in a round is a quarter faster for that alone.
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=FOLDER / "bootstrap.json", metavar="FILE", help="where results go")
    parser.add_argument("--keep", action="store_true", help="leave the fleet running")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o700)
    bench = Bench(options.hosts)
    lock = (FOLDER / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"bench: another run of it has the testbed {TESTBED}: wait for its end") from None
    try:
        try:
            say(f"bringing up the testbed {TESTBED} (logs in {FOLDER})")
            bench.up()
            bench.prepare()
            samples = measure(bench, options.rounds)
        finally:
            if not options.keep:
                bench.down()
    except BenchError as error:
        raise SystemExit(f"bench: {error}") from error
    result = {
        "hosts": options.hosts,
        "rounds": options.rounds,
        "samples": {
            tool: {kind: [sample._asdict() for sample in runs] for kind, runs in kinds.items()}
            for tool, kinds in samples.items()
        },
        "limits": [
            {**limit._asdict(), "ratio": round(ratio_of(samples, limit.kind, limit.other), 3)} for limit in LIMITS
        ],
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{table(samples, options.hosts)}\n\n{slowest('first')}\n\n{slowest('no change')}")


if __name__ == "__main__":
    main()
