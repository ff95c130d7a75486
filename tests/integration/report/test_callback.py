# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.report.stage import InTerminal, Stage
from tests.integration.support import environment
from tests.unit.plugins.plugin_utils._report.terminal import Terminal

WIDTH, HEIGHT = 100, 30
SWAPPING = "swapping"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def in_terminal(stage: Stage, *arguments: str, swap_takes: float = 0.0) -> InTerminal:
    command = stage.command(*arguments, swap_takes=swap_takes)
    return InTerminal(command, stage.folder, stage.environment(ANSIBLE_NOCOLOR="1"), WIDTH, HEIGHT)


def test_a_terminal_shows_the_picture_and_keeps_all_that_is_said(stage: Stage) -> None:
    began = time.monotonic()
    terminal = in_terminal(stage, swap_takes=1.5)
    assert terminal.wait() == 2
    took = time.monotonic() - began
    screen = Terminal(WIDTH, HEIGHT)
    screen.feed(terminal.output)
    text = "\n".join(screen.lines())
    for words in ("this is the plan", "A hook of the user's", "the hook was here", "It crashed.", "PLAY RECAP"):
        assert text.count(words) >= 1, words
    assert len(re.findall(r"^[✔✖▶·] ", text, re.M)) == 2, "one picture is left, the last"
    assert re.search(r"^✖ a  rolled back .* serves, .*It crashed\.$", text, re.M)
    assert re.search(r"^✔ b  done .* v2, ", text, re.M)
    last_words = text.partition("PLAY RECAP")[2].replace("\n", "")
    assert re.search(rf"rollout failed after .*report: {stage.reports}/rollout-.*\.html$", last_words)
    assert SWAPPING in terminal.output, "it was drawn while it lasted"
    assert terminal.output.count("\x1b[J") <= 4 * took + 30, "it is redrawn a few times a second"


def test_a_log_gets_a_line_for_each_change_at_once(stage: Stage) -> None:
    with subprocess.Popen(
        stage.command(swap_takes=2.0),
        cwd=stage.folder,
        env=stage.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.endswith(f"b: {SWAPPING}\n"):
                report = stage.report()
                assert (report["result"], process.poll()) == ("unfinished", None), "it is said while it lasts"
    text = "\n".join(lines)
    assert process.returncode == 2
    assert "\x1b" not in text
    changes = [re.sub(r"^ +\d+:\d\d  ", "", line) for line in lines if re.match(r" +\d+:\d\d  ", line)]
    of_b = [re.sub(r"[\d.]+ s", "N s", line) for line in changes if line.startswith("b: ")]
    assert of_b[-2:] == ["b: baking", "b: done in N s"]
    assert "a: swap failed: It crashed." in changes
    assert "a: rolled back" in changes
    assert "TASK [evenkeel.fleet.rollout : set_fact]" not in text, "the role's own tasks are not shown one by one"


def test_the_report_tells_what_happened(stage: Stage) -> None:
    stage.run()
    report = stage.report()
    assert (report["result"], report["rollout_id"], report["holder"]) == ("failed", 7, "ci@runner")
    assert {host["name"]: host["state"] for host in report["hosts"]} == {"a": "rolled back", "b": "done"}
    assert {h["name"]: h["waits"] for h in report["hosts"]}["b"] == {"permit": 0.1, "swap": 1.0, "bake": 0.5}
    (failure,) = report["failures"]
    assert (failure["host"], failure["step"], failure["cause"], failure["exit_code"]) == ("a", "swap", "It crashed.", 3)
    texts = [path.read_text() for path in stage.reports.iterdir()]
    assert len(texts) == 2
    assert not any("abcdefghijklmnop" in text for text in texts), "no secret of a log"
    (page,) = [text for text in texts if text.startswith("<!doctype html>")]
    assert "<script" not in page


def test_an_interrupted_rollout_is_reported_as_such(stage: Stage) -> None:
    terminal = in_terminal(stage, swap_takes=30.0)
    # Not at once: the worker may still have the queue's lock, with which ansible-core kills it, and then waits for it.
    terminal.until(lambda output: bool(re.search(rf"{SWAPPING} +1 s", output)))
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.wait() != 0
    assert stage.report()["result"] == "interrupted"
    screen = Terminal(WIDTH, HEIGHT)
    screen.feed(terminal.output)
    text = "\n".join(screen.lines())
    assert "interrupted" in text
    assert len(re.findall(r"^[✔✖▶·] ", text, re.M)) == 2


def test_a_killed_rollout_leaves_how_far_it_came(stage: Stage) -> None:
    terminal = in_terminal(stage, swap_takes=8.0)
    terminal.until(lambda output: SWAPPING in output)
    deadline = time.monotonic() + 8
    while {host["name"]: host["state"] for host in stage.report()["hosts"]}["b"] != SWAPPING:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.wait() == -signal.SIGKILL
    report = stage.report()
    assert report["result"] == "unfinished"
    assert {host["name"]: host["state"] for host in report["hosts"]}["b"] == SWAPPING
    assert sorted(path.suffix for path in stage.reports.iterdir() if not path.name.startswith(".")) == [
        ".html",
        ".json",
    ]


@pytest.mark.parametrize(("play", "arguments"), [("others.yml", ()), ("play.yml", ("--check",))])
def test_all_else_looks_as_ever(stage: Stage, play: str, arguments: tuple[str, ...]) -> None:
    ours = stage.run(*arguments, play=play)
    default = stage.run(*arguments, play=play, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default")
    # Hosts answer in any order; one line names two of them.
    ours_said, default_said = (
        sorted(re.sub(r"^(included: .* for )b, a$", r"\1a, b", line) for line in run.stdout.splitlines())
        for run in (ours, default)
    )
    assert (ours.returncode, ours_said) == (default.returncode, default_said)
    assert "PLAY RECAP" in ours.stdout
    assert not stage.reports.exists()


def test_who_asks_for_more_gets_all_of_it(stage: Stage) -> None:
    text = stage.run("-v").stdout
    assert "ok: [b]" in text
    assert "container_swap]" in text
    assert "b: done" in text


def test_a_report_that_cannot_be_written_stops_nothing(stage: Stage) -> None:
    stage.reports.write_text("a file is in the way")
    run = stage.run()
    assert run.returncode == 2
    assert "The report of the rollout can't be written" in " ".join(run.stdout.split())
    assert "rollout failed after" in run.stdout


def test_a_pipeline_finds_the_report_under_a_name_of_its_own(stage: Stage) -> None:
    summary = stage.folder / "new" / "summary.json"
    stage.run(EVENKEEL_ROLLOUT_SUMMARY=str(summary))
    found = json.loads(summary.read_text())
    assert (found["result"], found["changed"]) == ("failed", True)
    assert {host["name"]: host["state"] for host in found["hosts"]} == {"a": "rolled back", "b": "done"}


def test_github_gets_annotations_and_the_summary_of_the_step(stage: Stage) -> None:
    path = stage.folder / "step-summary.md"
    said = stage.run(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(path)).stdout.splitlines()
    assert "::error title=Rollout failed::a failed: It crashed. Its previous image serves again." in said
    assert "::error title=a%3A swap failed::It crashed." in said
    text = path.read_text()
    assert text.startswith("### Rollout 7: failed\n")
    assert "| a | rolled back | v1 | v1 |" in text and "| b | done | " in text
    assert "abcdefghijklmnop" not in text, "no secret of a log"


def test_github_is_told_of_a_failure_before_the_rollout_begins(stage: Stage) -> None:
    stage.begin_with({"ansible.builtin.fail": {"msg": ["A variable is wrong.", "100% of it."]}, "name": "Check"})
    run = stage.run(GITHUB_ACTIONS="true")
    assert run.returncode == 2
    annotations = [line for line in run.stdout.splitlines() if line.startswith("::error ")]
    assert "::error title=a%3A Check::A variable is wrong.%0A100%25 of it." in annotations
    assert not [line for line in stage.run().stdout.splitlines() if line.startswith("::")]


def test_a_rollout_on_kubernetes_has_a_line_for_its_deployment_and_the_same_report(stage: Stage) -> None:
    run = stage.run(play="kubernetes.yml")
    assert run.returncode == 2
    changes = [re.sub(r"^ +\d+:\d\d  ", "", line) for line in run.stdout.splitlines()]
    for line in ("gateway-blue: deploying", "gateway-blue: deploy failed: It crashed.", "gateway-blue: rolled back"):
        assert line in changes, run.stdout
    assert "before the lock" in run.stdout
    assert "TASK [evenkeel.fleet.kubernetes : deployment_rollout]" not in run.stdout
    report = stage.report()
    assert (report["kind"], report["result"], report["rollout_id"]) == ("kubernetes", "failed", 7)
    assert [phase["kind"] for phase in report["phases"]] == ["look", "plan", "deploy", "put_back", "end"]
    [member] = report["hosts"]
    assert (member["name"], member["state"], member["deployment"]["running"]) == ("gateway-blue", "rolled back", 3)
    [failure] = report["failures"]
    assert (failure["host"], failure["cause"], failure["exit_code"]) == ("gateway-blue", "It crashed.", 3)
    assert [path.name.partition("-")[0] for path in stage.reports.iterdir()] == ["rollout", "rollout"]


# The thread that shows what modules report is in the middle of that when the program ends.
ENDS_WHILE_IT_LISTENS = """
import threading, time
from ansible_collections.evenkeel.fleet.plugins.callback import rollout

listens = threading.Event()

def heard():
    listens.set()
    time.sleep(0.2)
    return []

rollout.REDRAW_SECONDS = 0.001
rollout.PROGRESS.heard = heard
print("the last line")
rollout.CallbackModule()._listen()
listens.wait()
"""


def test_a_run_ends_while_it_listens_to_modules() -> None:
    """Python ends such a thread anywhere, also where it holds the lock that the last flush of the output takes."""
    program = [sys.executable, "-c", ENDS_WHILE_IT_LISTENS]
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "the last line\n"), done.stderr
