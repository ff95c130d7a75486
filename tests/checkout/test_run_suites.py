# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test` runs each suite, in order, names what failed, and says how far it is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.checkout.support import make_targets
from tools.run_suites import (
    LANES,
    MEASURE_TIME,
    MINUTES,
    NICE,
    Lane,
    Run,
    Running,
    expected_seconds,
    go,
    minutes,
    summary,
)


def shell(scripts: dict[str, str]) -> Callable[[str], Sequence[str]]:
    return lambda suite: ("sh", "-c", scripts[suite])


def ran(run: Run, patience: float = 20.0) -> tuple[list[str], list[str]]:
    """What was said, and what was shown in between."""
    said: list[str] = []
    shown: list[str] = []
    deadline = time.monotonic() + patience

    def show(status: str) -> None:
        assert time.monotonic() < deadline, status
        shown.append(status)

    go(run, said.append, show)
    return said, shown


def test_each_suite_is_a_target_and_has_an_estimate() -> None:
    suites = [suite for lane in LANES for suite in lane.suites]
    assert sorted(suites) == sorted(MINUTES)
    assert set(suites) == {
        "aws",
        "gateway",
        "images",
        "integration",
        "fleetdb",
        "lint",
        "local-ecs",
        "molecule",
        "package",
        "permissions",
        "rollouts",
        "sanity",
        "system",
        "unit",
    }
    assert set(suites) <= make_targets()


def test_nothing_shares_the_processors_with_what_measures_time_but_what_yields_them() -> None:
    for lane in LANES:
        assert set(lane.suites) <= set(MEASURE_TIME) or lane.by == NICE or follows(lane)


def follows(lane: Lane) -> bool:
    """Whether it begins only after what measures time."""
    before = [other for other in LANES if set(other.suites) & set(lane.after)]
    return set(lane.after) >= set(MEASURE_TIME) or (bool(before) and all(follows(other) for other in before))


def test_the_processor_time_of_each_suite_is_its_own(tmp_path: Path) -> None:
    busy = f"{sys.executable} -c 'import time\nwhile time.process_time() < 1.0: pass'"
    run = Run([Lane(("busy",)), Lane(("waits",))], tmp_path, {}, shell({"busy": busy, "waits": "sleep 1"}))
    said, _shown = ran(run)
    assert 1.0 <= run.processor["busy"] < 3.0
    assert run.processor["waits"] < 0.5
    assert any(re.match(r"test: busy passed in \d+ (s|min), \d+ s of a processor", line) for line in said)


def test_order_and_priority(tmp_path: Path) -> None:
    note = f"echo $0 >>{tmp_path}/order"
    lanes = [
        Lane(("first",)),
        Lane(("second", "third"), by=("nice", "-n", "3")),
        Lane(("last",), after=("first", "third")),
    ]
    scripts = {
        "first": f"sleep 0.3; {note.replace('$0', 'first')}",
        "second": f"{note.replace('$0', 'second')}; nice",
        "third": note.replace("$0", "third"),
        "last": note.replace("$0", "last"),
    }
    run = Run(lanes, tmp_path, {}, shell(scripts))
    said, _shown = ran(run)
    assert run.failed == []
    order = (tmp_path / "order").read_text().split()
    assert order[-1] == "last"
    assert order.index("second") < order.index("third")
    assert int(run.log("second").read_text()) == min(os.nice(0) + 3, 19)
    assert sorted(line.split()[1] for line in said) == ["first", "last", "second", "third"]


def test_what_failed_is_printed_and_the_rest_runs(tmp_path: Path) -> None:
    scripts = {"bad": "echo 'FAILED tests/test_it.py'; exit 2", "good": "echo '3 passed, 1 warning in 4.20s'"}
    run = Run([Lane(("bad", "good"))], tmp_path, {}, shell(scripts))
    said, _shown = ran(run)
    assert run.failed == ["bad"]
    assert said[0].startswith("FAILED tests/test_it.py\n") and "test: bad failed after" in said[0]
    assert said[1].startswith("test: good passed in") and said[1].endswith("3 passed, 1 warning in 4.20s")


def test_how_far_and_how_long_still(tmp_path: Path) -> None:
    scripts = {"unit": "echo '..... [ 25%]'; echo '..... [ 50%]'; sleep 300", "lint": "sleep 300", "system": "true"}
    lanes = [Lane(("unit", "system")), Lane(("lint",))]
    run = Run(lanes, tmp_path, {"unit": 600.0, "lint": 120.0, "system": 1200.0}, shell(scripts))
    # As main() does: what ignores it, such as a job in the background, starts programs that ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert list(run.advance()) == []
    deadline = time.monotonic() + 10
    while run.running["unit"].share() != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert run.status() == "unit 50 %, lint; then system; about 25 min left"
    assert 110 < run._remains("lint") <= 120
    run.stop()
    assert all(isinstance(of_it, Running) and of_it.process.returncode for of_it in run.running.values())


def test_durations_that_were_measured_replace_the_estimates(tmp_path: Path) -> None:
    measured = tmp_path / "suites.json"
    assert expected_seconds(measured)["system"] == MINUTES["system"] * 60
    measured.write_text('{"system": 77.5}')
    assert expected_seconds(measured)["system"] == 77.5
    measured.write_text("{")
    assert expected_seconds(measured)["unit"] == MINUTES["unit"] * 60


@pytest.mark.parametrize(("seconds", "words"), [(3, "10 s"), (44, "40 s"), (100, "2 min"), (1200, "20 min")])
def test_times(seconds: float, words: str) -> None:
    assert minutes(seconds) == words


def test_summaries_of_several_runs() -> None:
    log = "...\n12 passed in 1.20s\n....\n=== 3 passed, 1 skipped in 64.00s (0:01:04) ===\n"
    assert summary(log) == "12 passed in 1.20s; 3 passed, 1 skipped in 64.00s (0:01:04)"


def test_an_interrupted_run_ends_its_suites(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tools import run_suites as it
it.CACHE, it.LANES = Path({str(tmp_path)!r}), (it.Lane(("only",)),)
script = "trap 'sleep 1; echo tidied; exit' INT; echo started; while :; do sleep 0.1; done"
started = f"import subprocess; subprocess.Popen(['sh', '-c', {{script!r}}]).wait()"
it.MAKE = (sys.executable, "-c", started)  # which ends before what it started
sys.exit(it.main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    log = tmp_path / "only.log"
    deadline = time.monotonic() + 15
    while not (log.exists() and "started" in log.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    time.sleep(0.3)
    process.terminate()  # make's own, after the terminal's
    output, _errors = process.communicate(timeout=20)
    assert process.returncode == 128 + 15
    assert re.match(r"test: the log of each suite is .cache/SUITE.log; about", output)
    assert log.read_text().endswith("tidied\n")
