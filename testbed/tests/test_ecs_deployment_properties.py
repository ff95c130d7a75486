# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every rolling update, whatever its tasks and its users do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.services.aws.ecs import pretended
from testbed.services.aws.ecs.outcomes import REPLACED
from testbed.services.aws.ecs.pretended import Behaviour
from testbed.services.aws.ecs.rolling import limits
from testbed.tests.ecs_bench import Bench

# None becomes healthy and dies then: that sets the circuit breaker's count back, so such a deployment may never end.
IMAGES = {
    "good": Behaviour(),
    "slow": Behaviour(starts_after=4, healthy_after=6, stops_after=5),
    "crashing": replace(pretended.crashes(after=1), healthy_after=5),
    "missing": pretended.no_image("missing"),
    "sick": pretended.NEVER_HEALTHY,
    "leaking": replace(pretended.out_of_memory(after=2), healthy_after=5),
}
# Of minimumHealthyPercent and maximumPercent; with one task, some of them leave no way on.
PERCENTAGES = [(0, 100), (0, 200), (50, 100), (50, 200), (75, 150), (100, 150), (100, 200)]
COUNTS = st.sampled_from([0, 2, 3, 4, 5])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deploy"), st.sampled_from(sorted(IMAGES))),
        st.tuples(st.just("scale"), COUNTS),
        st.tuples(st.just("stop"), st.sampled_from(["ROLLBACK", "ABORT"])),
        st.tuples(st.just("wait"), st.sampled_from([1, 3, 10, 30])),
    ),
    max_size=12,
)


class Watched(Bench):
    """A service whose limits are checked at every tick."""

    def check(self) -> None:
        """At the end of a tick: the engine neither started too many tasks in it, nor stopped too many."""
        least, most = limits(self.service.desired, self.service.settings["deploymentConfiguration"])
        tasks = self.engine.tasks.of(self.service.arn)
        live = [task for task in tasks if task.live]
        if any(task.created == self.now for task in live):
            assert len(live) <= most
        scaled_in = [
            task
            for task in tasks
            if task.stopping == self.now and task.stopped_reason.startswith("Scaling") and task.was_healthy
        ]
        if scaled_in:
            assert sum(task.healthy(self.now, self.engine.pace.settle) for task in live) >= least


@settings(max_examples=100, deadline=None)
@given(
    percentages=st.sampled_from(PERCENTAGES),
    desired=COUNTS,
    checked=st.booleans(),
    rollback=st.booleans(),
    reset=st.booleans(),
    steps=STEPS,
)
def test_a_rolling_update_keeps_its_limits_and_ends(
    percentages: tuple[int, int],
    desired: int,
    checked: bool,
    rollback: bool,
    reset: bool,
    steps: list[tuple[str, Any]],
) -> None:
    switch = {"enable": True, "rollback": rollback, "resetOnHealthyTask": reset}
    least, most = percentages
    bench = Watched(
        desired,
        checked=checked,
        behaviours=IMAGES,
        minimumHealthyPercent=least,
        maximumPercent=most,
        deploymentCircuitBreaker=switch,
    )
    for kind, value in steps:
        running = bench.service.current
        if kind == "deploy":
            bench.deploy(value)
            if running:
                assert (running.status, running.reason) == ("STOPPED", REPLACED)
                assert running.stopped == bench.now
        elif kind == "scale":
            bench.service.desired = value
        elif kind == "stop" and running:
            bench.engine.stop_deployment(running, value, bench.now)
        elif kind == "wait":
            bench.pass_time(value, bench.check)
    bench.pass_time(300, bench.check)
    assert not [made.status for made in bench.service.deployments if made.unfinished]
    last = bench.service.deployments[0]
    image = bench.service.settings["taskDefinition"]
    if last.status in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL") and image in ("good", "slow"):
        assert bench.images == [image] * bench.service.desired
