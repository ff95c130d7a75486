# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import probe
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.probe import ProbeTarget, arguments, problems

INSIDE, OUTSIDE = "http://inside:1/health", "http://outside:1/health"
CLIENT = {
    "name": "gateway",
    "images": {},
    "task": {
        "networkMode": "awsvpc",
        "executionRoleArn": "arn:role",
        "taskRoleArn": "arn:other",
        "containerDefinitions": [
            {
                "name": "main",
                "image": "gateway:1.0",
                "entryPoint": ["gateway"],
                "logConfiguration": {"logDriver": "awslogs"},
            }
        ],
    },
}


def logged(index: int, status: int = 200, seconds: float = 0.01, times: int = 3) -> list[str]:
    return [f"probe: probe {index} {status:03} {seconds}"] * times


def test_the_task_stands_in_the_place_of_the_client_with_an_entry_point_of_its_own() -> None:
    task = probe.task_of(CLIENT)
    [container] = task["containerDefinitions"]
    assert (task["family"], task["executionRoleArn"], container["image"]) == (
        "gateway-probe",
        "arn:role",
        "gateway:1.0",
    )
    assert container["entryPoint"][:2] == ["sh", "-c"]
    assert "taskRoleArn" not in task
    assert probe.task_of(CLIENT, "curl:8")["containerDefinitions"][0]["image"] == "curl:8"
    # Of all overrides of a task, AWS takes 8,192 characters.
    assert (
        len(str(arguments([ProbeTarget(f"service-{n}", f"{INSIDE}/{n}" * 3, f"{OUTSIDE}/{n}" * 3) for n in range(20)])))
        < 8000
    )


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ([], "users: the probe logged nothing of http://inside:1/health"),
        (logged(0, 503), "users: 3 of 3 requests to http://inside:1/health failed: status 503"),
        (logged(0, 0), "users: 3 of 3 requests to http://inside:1/health failed: no answer"),
        (
            [*logged(0), "probe: probe-error 0 URLError refused", *logged(0, 0, times=1)],
            "users: 1 of 4 requests to http://inside:1/health failed: URLError refused",
        ),
        (
            [*logged(0, seconds=0.1), *logged(1, seconds=0.02)],
            "users: http://inside:1/health answers in 0.100 s, and http://outside:1/health in 0.020 s (at most 3 times "
            "as long is allowed)",
        ),
    ],
)
def test_what_is_wrong_is_named(log: list[str], words: str) -> None:
    assert problems(log, [ProbeTarget("users", INSIDE, OUTSIDE)], 3) == [words]


@pytest.mark.parametrize(
    "log",
    [
        [*logged(0, seconds=0.05), *logged(1, seconds=0.001)],
        [*logged(0, seconds=0.29), *logged(1, seconds=0.1)],
        # A legacy service that does not answer is no reason against the new one.
        [*logged(0), *logged(1, 0)],
        ["probe: probe 0 200 -", *logged(1)],
    ],
)
def test_what_is_well(log: list[str]) -> None:
    assert problems(log, [ProbeTarget("users", INSIDE, OUTSIDE)], 3) == []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


@pytest.mark.parametrize("tool", ["python3", "node", "curl", "wget", ""])
def test_the_script_asks_with_whatever_the_image_has(tool: str, server: str, tmp_path: Path) -> None:
    if tool and not shutil.which(tool):
        pytest.skip(f"this machine has no {tool}")
    for name in filter(None, (tool, "sh")):
        (tmp_path / name).symlink_to(os.path.realpath(str(shutil.which(name))))
    targets = [
        ProbeTarget("well", f"{server}/well"),
        ProbeTarget("sick", f"{server}/sick"),
        ProbeTarget("gone", "http://127.0.0.1:1/"),
    ]
    environment = {"PATH": str(tmp_path), "PROBE_PYTHON": probe.PYTHON, "PROBE_NODE": probe.NODE}
    done = subprocess.run(
        [tmp_path / "sh", "-c", probe.SCRIPT, "probe", *arguments(targets)],
        env=environment, capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    if not tool:
        assert (done.returncode, done.stdout) == (3, "probe: the image has neither python3, node, curl nor wget\n")
        return
    assert done.returncode == 0, done.stderr
    found = problems(done.stdout.splitlines(), targets, 3)
    assert [words.partition(":")[0] for words in found] == ["sick", "gone"]
    assert "9 of 9 requests" in found[0]
