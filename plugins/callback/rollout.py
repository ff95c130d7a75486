# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: Shows a rolling update or a deployment while it runs, and writes a report of it
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - On a terminal, shows a line for each host, and updates it while the role C(rollout) runs. Without a terminal, such
    as in CI, prints a line for each change of a host's state, with the time since the start.
  - A deployment by the role C(ecs) is shown in the same way, with a line for each service and the progress of the
    deployment that runs. Its reports are C(deployment-<time>.html) and C(.json).
  - A rollout by the role C(kubernetes) is shown in the same way, with a line for the Deployment and the progress of its
    pods. Its reports are those of a rollout.
  - Errors, tasks outside of the role such as hooks, and all other playbooks are shown as by
    P(ansible.builtin.default#callback). With C(-v) and in check mode everything is.
  - Writes an HTML page and a JSON file for each rollout, C(rollout-<time>.html) and C(.json), with the duration of each
    step, the leader changes and the failures. They are updated during the rollout, so that the files of a killed run
    show how far it came. A rollout that was refused or had nothing to do writes none.
  - On GitHub Actions, where E(GITHUB_ACTIONS) is V(true), each reason for a failure becomes an annotation of the run,
    and the summary of the step shows the rollout.
options:
  report:
    description: The directory of the reports, relative to the current one. Empty to write none.
    type: str
    default: rollout-report
    ini:
      - section: callback_rollout
        key: report
    env:
      - name: EVENKEEL_ROLLOUT_REPORT
  summary:
    description:
      - A file for the JSON of the report, for programs such as a pipeline, relative to the current folder. Empty for
        none.
      - It is replaced by every rollout, also by one that was refused or had nothing to do. A run that fails before its
        rollout begins, such as at a wrong variable, leaves the file as it is.
    type: str
    default: ""
    ini:
      - section: callback_rollout
        key: summary
    env:
      - name: EVENKEEL_ROLLOUT_SUMMARY
  picture:
    description: V(auto) updates the display in place on a terminal; V(lines) prints a line for each change there, too.
    type: str
    choices: [auto, lines]
    default: auto
    ini:
      - section: callback_rollout
        key: picture
    env:
      - name: EVENKEEL_ROLLOUT_PICTURE
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - Set it as C(stdout_callback) in ansible.cfg, or with E(ANSIBLE_STDOUT_CALLBACK).
"""

import atexit
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.plugins.loader import filter_loader
from ansible.utils.color import stringc

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._progress_pipe import PROGRESS
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report import github
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.live_view import (
    BAD_TONE,
    BUSY_TONE,
    GOOD_TONE,
    QUIET_TONE,
)
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.records import (
    DEPLOYMENT,
    INTERRUPTED,
    KUBERNETES,
    ROLLOUT,
    News,
    Nouns,
)
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.reporter import (
    LAST_WORDS_SECONDS,
    REDRAW_SECONDS,
    Reporter,
)
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.results import step_of

ROLES = Path(__file__).resolve().parents[2] / "roles"
# By role: its first task, as seen from here, the state that only it has, and what the report is about.
FIRST = {
    "rollout": ("container_swap", None, ROLLOUT),
    # The status is looked up by the same module, with a state.
    "ecs": ("ecs_services_info", "", DEPLOYMENT),
    "kubernetes": ("rollout_lock", "acquired", KUBERNETES),
}
# The loop variable of the role ecs: the service that a task is about.
SERVICE = "_ecs_name"
SAY_IT = ("fail", "assert")
COLOURS = {
    GOOD_TONE: constants.COLOR_OK,
    BAD_TONE: constants.COLOR_ERROR,
    BUSY_TONE: constants.COLOR_CHANGED,
    QUIET_TONE: constants.COLOR_SKIP,
}
# Of a failed task's result; the rest is in the report and shown with -v.
SHOWN = {"msg", "warnings", "deprecations", "exit_code", "outcome", "refusal"}


@functools.cache
def role_of(path: str) -> str:
    """The role, of those whose tasks are followed, that has the file; or nothing."""
    parents = Path(path).resolve().parents
    return next((name for name in FIRST if ROLES / name in parents), "")


def path_of(task: Any) -> str:
    return str(task.get_path() or "").rpartition(":")[0]


def action_of(task: Any) -> str:
    return str(task.action).rpartition(".")[2]


class CallbackModule(Default):  # type: ignore[misc]  # ansible-core ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "evenkeel.fleet.rollout"

    def __init__(self) -> None:
        super().__init__()
        self._reporter: Reporter | None = None
        self._early: list[str] = []
        self._lock = getattr(self._display, "_lock", None) or threading.RLock()
        self._listener: threading.Thread | None = None
        self._ends = threading.Event()

    # What comes from Ansible

    def v2_playbook_on_start(self, playbook: Any) -> None:
        # To find one filter Ansible loads all of the collection. Its workers then inherit them.
        filter_loader.get("evenkeel.fleet.as_list")
        super().v2_playbook_on_start(playbook)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._finish()
        self._listen()
        super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if self._reporter is None and self._is_own(task):
            first, state, about = FIRST[role_of(path_of(task))]
            if action_of(task) == first and state in (None, task.args.get("state", "")):
                self._begin(about)
        if self._reporter:
            self._reporter.hide(action_of(task) == "pause")
        if self._is_quiet(task):
            self._last_task_name = None
        else:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if not self._is_quiet(included_file._task):
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if self._reporter and self._is_own(task):
            self._reporter.starts(self._about(task, host), action_of(task), self._state(task))
        super().v2_runner_on_start(host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._tell(result, "ok")
        # What the role says by debug is meant for the operator.
        if self._is_quiet(result._task) and action_of(result._task) != "debug":
            self._handle_warnings(result._result)
        else:
            super().v2_runner_on_ok(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._tell(result, "skipped")
        if not self._is_quiet(result._task):
            super().v2_runner_on_skipped(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._tell(result, "failed")
        if self._reporter is None and not ignore_errors:
            self._note_early(result)
        self._shorten(result)
        super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._tell(result, "unreachable")
        self._shorten(result)
        super().v2_runner_on_unreachable(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._say_progress()
        failed = any(stats.failures.values()) or any(stats.dark.values())
        show = self._finish("failed" if failed else "")
        super().v2_playbook_on_stats(stats)
        if failed and github.is_here(os.environ):
            for line in self._early[: github.MOST_ANNOTATIONS]:
                self._display.display(line)
        if show:
            colour = constants.COLOR_OK if show.tracker.result == "succeeded" else constants.COLOR_ERROR
            self._display.display(show.ending(), color=colour)
            if show.report:
                self._display.display(f"report: {show.report}")

    # What becomes of it

    def _listen(self) -> None:
        """Show what modules report while they run."""
        PROGRESS.open()
        if self._listener is None:
            self._listener = threading.Thread(target=self._keep_listening, name="progress", daemon=True)
            self._listener.start()
            # Python ends a thread that still runs at its end anywhere, also where it holds the lock of the output: the
            # last flush would wait for it forever.
            atexit.register(self._stop_listening, os.getpid())

    def _keep_listening(self) -> None:
        while not self._ends.wait(REDRAW_SECONDS):
            self._say_progress()

    def _stop_listening(self, pid: int) -> None:
        if self._listener and os.getpid() == pid:
            self._ends.set()
            self._listener.join(LAST_WORDS_SECONDS)

    def _say_progress(self) -> None:
        """Without a rollout or deployment; else it is the reporter's."""
        with self._lock:
            if self._reporter is None:
                for line in PROGRESS.heard():
                    self._say(f"  {line}", None)

    def _begin(self, about: Nouns) -> None:
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        live = terminal and self.get_option("picture") == "auto" and not self._display.verbosity
        folder, summary = self.get_option("report"), self.get_option("summary")
        self._reporter = Reporter(
            say=self._say,
            warn=self._display.warning,
            lock=self._lock,
            terminal=sys.stdout if live else None,
            paint=lambda text, tone: stringc(text, COLOURS[tone]) if tone else text,
            folder=Path(folder).expanduser().absolute() if folder else None,
            summary=Path(summary).expanduser().absolute() if summary else None,
            about=about,
            progress=PROGRESS.heard,
        )
        if live:
            self._share_the_terminal()
        atexit.register(self._at_exit, os.getpid())
        self._reporter.begin()

    def _finish(self, result: str = "") -> Reporter | None:
        show, self._reporter = self._reporter, None
        if show:
            show.finish(result)
            self._display.__dict__.pop("display", None)
            github.tell(show.document(), os.environ, self._display.display, self._display.warning)
        return show

    def _at_exit(self, pid: int) -> None:
        if os.getpid() == pid:
            self._finish(INTERRUPTED)

    def _share_the_terminal(self) -> None:
        """Ansible's output goes above the live view."""
        write, pid = self._display.display, os.getpid()

        def write_above(*arguments: Any, **options: Any) -> None:
            if os.getpid() != pid:  # A worker sends it to the process that has the terminal.
                write(*arguments, **options)
                return
            with self._lock:
                if self._reporter:
                    self._reporter.erase()
                write(*arguments, **options)

        self._display.display = write_above

    def _say(self, line: str, news: News | None) -> None:
        self._display.display(line, color=constants.COLOR_ERROR if news and news.bad else None)
        # A pipe would keep it until there is more.
        sys.stdout.flush()

    def _tell(self, result: Any, status: str) -> None:
        task = result._task
        if self._reporter and self._is_own(task):
            values = result._result
            state = self._state(task, values)
            about = self._about(task, result._host)
            self._reporter.ends(about, action_of(task), state, status, values, whole=bool(task.run_once) or not about)

    def _note_early(self, result: Any) -> None:
        """A failure before the rollout begins, which is in no report."""
        if role_of(path_of(result._task)):
            said = result._result.get("msg") or "See the output of the step."
            message = "\n".join(map(str, said)) if isinstance(said, list) else str(said)
            self._early.append(github.error(f"{result._host.get_name()}: {result._task.name}", message))

    @staticmethod
    def _state(task: Any, values: Any = None) -> str:
        """The task's option `state`; a template is not known before the result is there."""
        state = (task.args or {}).get("state")
        if not isinstance(state, str) or "{{" in state:
            state = ((values or {}).get("invocation") or {}).get("module_args", {}).get("state")
        return state if isinstance(state, str) else ""

    @staticmethod
    def _about(task: Any, host: Any) -> str:
        """The host, or the service of a deployment; empty for what concerns all services, and on Kubernetes."""
        role = role_of(path_of(task))
        if role == "kubernetes":
            return ""
        return str(task.get_vars().get(SERVICE, "")) if role == "ecs" else str(host.get_name())

    @staticmethod
    def _is_own(task: Any) -> bool:
        """Whether a file of the role has the task: hooks run within the role, but their files are the operator's."""
        return not task.check_mode and bool(role_of(path_of(task)))

    def _is_quiet(self, task: Any) -> bool:
        return self._reporter is not None and not self._display.verbosity and self._is_own(task)

    def _shorten(self, result: Any) -> None:
        """Where a step fails, its message says it all, and is not repeated. Other errors are shown in full."""
        action = action_of(result._task)
        says_it = action in SAY_IT or step_of(action, self._state(result._task, result._result))
        if self._is_quiet(result._task) and "msg" in result._result and says_it:
            for name in set(result._result) - SHOWN:
                del result._result[name]
