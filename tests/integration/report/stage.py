# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout for tests: real Ansible, the real callback plugin, and a role and modules with given results."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
MODULES = ("container_swap", "instance_drain", "rollout_lock", "health_gate", "leader_handover", "deployment_rollout")
MODULE = """
import time
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={
    "state": {"type": "str"}, "takes": {"type": "float", "default": 0}, "says": {"type": "dict", "default": {}},
    "fails": {"type": "str"},
})
time.sleep(module.params["takes"])
if module.params["fails"]:
    module.fail_json(msg=module.params["fails"], **module.params["says"])
module.exit_json(**module.params["says"])
"""
LOG = ["boom", "token=abcdefghijklmnop <script>alert(1)</script>"]
CRASH = "\n".join(["It crashed.", "Its last lines:", *LOG])
OLD = {"image": "registry/gateway@sha256:old", "digest": "sha256:old", "version": "v1"}
NEW = {"image": "registry/gateway@sha256:new", "digest": "sha256:new", "version": "v2"}


def swap(**options: Any) -> dict[str, Any]:
    return {"evenkeel.fleet.container_swap": options}


def fact(**values: Any) -> dict[str, Any]:
    return {"ansible.builtin.set_fact": values, "run_once": True}


def step(kind: str, *hosts: str) -> dict[str, Any]:
    return fact(rollout_step={"kind": kind, "hosts": list(hosts)})


def event(kind: str, host: str, **more: Any) -> dict[str, Any]:
    return {"ansible.builtin.set_fact": {"rollout_event": {"kind": kind, "host": host, **more}}}


def on(host: str, *tasks: dict[str, Any], rescue: dict[str, Any] | None = None) -> dict[str, Any]:
    block: dict[str, Any] = {"block": list(tasks), "when": f"inventory_hostname == '{host}'"}
    return {**block, "rescue": [rescue]} if rescue else block


LOCK = {"rollout_id": 7, "lock": {"holder": "ci@runner", "reason": "why", "digest": "sha256:new", "result": "failed"}}
# Host b is updated in a while that can be watched, a hook has its say, host a fails.
ROLE = [
    swap(state="pulled", says={"outcome": "pulled", "serving": OLD, "seconds": {"pull": 0.2, "total": 0.2}}),
    {"evenkeel.fleet.rollout_lock": {"state": "acquired", "says": LOCK}, "run_once": True},
    fact(
        rollout_about={
            "image": NEW["image"],
            "fleet": {"a": "i-a", "b": "i-b"},
            "plan": ["update b", "update a"],
            "batches": [["b"], ["a"]],
        }
    ),
    {"ansible.builtin.debug": {"msg": "this is the plan"}, "run_once": True},
    step("update", "b"),
    on(
        "b",
        {"evenkeel.fleet.instance_drain": {"says": {"waited": 0.1, "instance_id": "i-b", "leader": "i-a"}}},
        swap(takes="{{ swap_takes }}", says={"serving": NEW, "seconds": {"stop": 0.5, "gate": 0.5, "total": 1.0}}),
        {"evenkeel.fleet.health_gate": {"says": {"seconds": 0.5}}},
        event("done", "b"),
    ),
    {"ansible.builtin.include_tasks": "{{ hook }}"},
    step("update", "a"),
    on(
        "a",
        swap(fails=CRASH, says={"outcome": "rolled_back", "serving": OLD, "exit_code": 3, "log": LOG}),
        rescue=event("failed", "a", serves=True),
    ),
    {"evenkeel.fleet.rollout_lock": {"state": "released", "says": LOCK}, "run_once": True},
    {"ansible.builtin.fail": {"msg": ["a failed: It crashed. Its previous image serves again."]}, "run_once": True},
]
BLUE = "gateway-blue"


def pods(image: str, available: int, **more: Any) -> dict[str, Any]:
    """What deployment_rollout answers."""
    words = f"{available} of 3 pods available"
    replicas = {"wanted": 3, "updated": 3, "available": available}
    deployment = {"image": image, "replicas": replicas, "words": words, "problem": ""}
    return {"before": OLD["image"], "deployment": deployment, "progress": [f"0.1 s: {words}"], "seconds": 0.1, **more}


# A rollout on Kubernetes whose second half fails, so that it is put back.
ON_KUBERNETES = [
    {"ansible.builtin.debug": {"msg": "before the lock"}},
    {"evenkeel.fleet.rollout_lock": {"state": "acquired", "says": LOCK}},
    fact(kubernetes_plan={"deployments": [BLUE], "image": NEW["image"], "words": ["blue gets it"]}),
    fact(kubernetes_phase={"kind": "deploy", "deployment": BLUE}),
    {"evenkeel.fleet.deployment_rollout": {"takes": 1, "says": pods(NEW["image"], 3, outcome="succeeded")}},
    {"evenkeel.fleet.leader_handover": {"says": {"new": "pod-4", "old": "pod-1", "term": 2, "gap": 0.2}}},
    {
        "block": [
            {
                "evenkeel.fleet.deployment_rollout": {
                    "fails": CRASH,
                    "says": pods(NEW["image"], 2, outcome="failed", failures=[{"exit_code": 3, "log": LOG}]),
                }
            }
        ],
        "rescue": [
            fact(kubernetes_phase={"kind": "put_back", "deployment": BLUE}),
            {"evenkeel.fleet.deployment_rollout": {"state": "rolled_back", "says": pods(OLD["image"], 3)}},
            fact(kubernetes_result={"result": "failed", "words": ["It crashed."]}),
        ],
    },
    {"evenkeel.fleet.rollout_lock": {"state": "released", "says": LOCK}},
    {"ansible.builtin.fail": {"msg": "It crashed. It was put back."}},
]
HOOK = [{"name": "A hook of the user's", "ansible.builtin.debug": {"msg": "the hook was here"}, "run_once": True}]
PLAY = [{"name": "Roll", "hosts": "all", "gather_facts": False, "roles": ["evenkeel.fleet.rollout"]}]
PLAY_ON_KUBERNETES = [{"name": "Roll", "hosts": "a", "gather_facts": False, "roles": ["evenkeel.fleet.kubernetes"]}]
OTHERS = [
    {
        "name": "Something else",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "It is fine", "ansible.builtin.debug": {"msg": "fine"}},
            {"name": "It is skipped", "ansible.builtin.debug": {"msg": "skipped"}, "when": False},
            {"name": "It fails", "ansible.builtin.fail": {"msg": "no"}, "ignore_errors": True},
            {"name": "A loop", "ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": [1, 2]},
        ],
    }
]


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports = folder / "reports"
        collection = folder / "ansible_collections" / "evenkeel" / "fleet"
        for part in ("callback", "filter", "plugin_utils", "module_utils"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / "plugins" / part, collection / "plugins" / part, ignore=ignored)
        modules = collection / "plugins" / "modules"
        modules.mkdir()
        for name in MODULES:
            (modules / f"{name}.py").write_text(MODULE)
        roles = {"rollout": ROLE, "kubernetes": ON_KUBERNETES}
        for name in roles:
            (collection / "roles" / name / "tasks").mkdir(parents=True)
        for path, content in (
            *((collection / "roles" / name / "tasks" / "main.yml", tasks) for name, tasks in roles.items()),
            (folder / "hook.yml", HOOK),
            (folder / "play.yml", PLAY),
            (folder / "kubernetes.yml", PLAY_ON_KUBERNETES),
            (folder / "others.yml", OTHERS),
        ):
            path.write_text(yaml.safe_dump(content))
        (folder / "ansible.cfg").write_text("[defaults]\n")
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": host, "b": host}}}))

    def begin_with(self, task: dict[str, Any]) -> None:
        """Put a task before all others of the role."""
        path = self.folder / "ansible_collections" / "evenkeel" / "fleet" / "roles" / "rollout" / "tasks" / "main.yml"
        path.write_text(yaml.safe_dump([task, *ROLE]))

    def environment(self, **variables: str) -> dict[str, str]:
        ours = ("ANSIBLE_", "PYTHON", "NO_COLOR", "EVENKEEL_", "GITHUB_")
        shell = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **shell,
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder),
            "ANSIBLE_STDOUT_CALLBACK": "evenkeel.fleet.rollout",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "EVENKEEL_ROLLOUT_REPORT": str(self.reports),
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            **variables,
        }

    def command(self, *arguments: str, play: str = "play.yml", swap_takes: float = 0.0) -> list[str]:
        variables = json.dumps({"hook": str(self.folder / "hook.yml"), "swap_takes": swap_takes})
        return [str(PLAYBOOK), "-i", "hosts.yml", play, "-e", variables, *arguments]

    def run(self, *arguments: str, play: str = "play.yml", **variables: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal, to the end."""
        return subprocess.run(
            self.command(*arguments, play=play),
            cwd=self.folder,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def report(self) -> dict[str, Any]:
        (path,) = self.reports.glob("*.json")
        report: dict[str, Any] = json.loads(path.read_text())
        return report


class InTerminal:
    """A command in a terminal of its own; `output` is all that it has written."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str], width: int, height: int) -> None:
        self.output = ""
        self._raw = b""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], command, environment)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, said: Callable[[str], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not said(self.output):
            assert time.monotonic() < deadline, self.output
            assert self._read(), self.output

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while self._read():
            assert time.monotonic() < deadline, self.output
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        data = b""
        with suppress(OSError):  # its end has gone
            data = os.read(self._master, 65536)
        self._raw += data
        self.output = self._raw.decode(errors="ignore")
        return bool(data)
