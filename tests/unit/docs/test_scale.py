# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.policy import Policy
from ansible_collections.evenkeel.fleet.tests.simulation.scale import PAGE, Costs, Waits, simulate, written


def test_the_page_says_what_the_simulation_says() -> None:
    page = PAGE.read_text()
    assert written(page) == page, "run `make docs`"


def test_a_rollout_without_waits_costs_what_ansible_costs() -> None:
    """Three hosts one by one, and a handover."""
    still = Waits(drain=0, swap=0, gate=0, admit=0, bake=0, pull=0, handover=0)
    run = simulate(3, Policy(batches=(1,)), Costs(cores=64), still)
    assert (run.batches, run.waiting, run.result) == ([1, 1, 1], 0.0, "succeeded")
    steps = 4 * (3 * 0.06 + 2 * 3 * 0.066 / 64)
    assert run.ansible == pytest.approx(3 * 0.6 + steps + (3 + 3 * 2) * 0.45 + (3 * 4 + 1) * 0.12)


def test_the_model_fits_what_was_measured_with_96_hosts() -> None:
    """On two cores that they shared with the controller, one call took 23 to 30 s and five took 94 to 105 s."""
    shared = Costs(controller=0.08 + 0.34, forks=96)
    assert shared.play + shared.on_hosts(96) == pytest.approx(23, rel=0.15)
    assert shared.play + 5 * shared.on_hosts(96) == pytest.approx(100, rel=0.1)


def test_a_failure_ends_it() -> None:
    run = simulate(100, Policy(batches=(10,)), failing=1.0)
    assert (run.batches, run.updated, run.result) == ([10], 0, "failed")
