# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BLUE_GREEN, LINEAR and CANARY deployments: lifecycle stages, hooks, and the traffic that goes to the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .outcomes import Cause, hook_failed
from .state import Deployment, Hook, Pace

STAGES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
)
HOOK_TIMEOUT_MINUTES = 1440
# Of a hook with a Lambda function, a stage and a deployment's ARN: SUCCEEDED, FAILED or IN_PROGRESS.
Functions = Callable[[Mapping[str, Any], str, str], str]


def succeeded(_hook: Mapping[str, Any], _stage: str, _deployment: str) -> str:
    return "SUCCEEDED"


@dataclass(frozen=True)
class Progress:
    """What a stage waits for: the target has all its tasks healthy; the sources' tasks are gone."""

    scaled: bool
    cleaned: bool


def scales(stage: str) -> bool:
    """Whether the target may have tasks."""
    return stage in STAGES and STAGES.index(stage) >= STAGES.index("SCALE_UP")


def advance(
    deployment: Deployment, progress: Progress, functions: Functions, pace: Pace, now: float, draw: Callable[[], str]
) -> Cause | bool:
    """One stage further when it is done. True: the last one is. A cause: the deployment must go back."""
    if not deployment.stage:
        _enter(deployment, STAGES[0] if len(deployment.sources) > 1 else STAGES[1], pace, now, draw)
    stage = deployment.stage
    waiting = _wait_for_hooks(deployment, functions, now)
    if isinstance(waiting, Cause):
        return waiting
    elapsed = (now - deployment.stage_since) / pace.minute
    configuration = deployment.configuration
    done = True
    if stage == "SCALE_UP":
        done = progress.scaled
    elif stage == "TEST_TRAFFIC_SHIFT":
        deployment.target.test_weight = 100.0
    elif stage == "PRODUCTION_TRAFFIC_SHIFT":
        share = 100.0 if not deployment.sources else weight(configuration, elapsed)
        deployment.target.weight = share
        for number, source in enumerate(deployment.sources):
            source.weight = 0.0 if number else 100.0 - share
        done = share == 100.0
    elif stage == "BAKE_TIME":
        done = not deployment.sources or elapsed >= configuration.get("bakeTimeInMinutes", 0)
    elif stage == "CLEAN_UP":
        done = progress.cleaned
    if not done or waiting or now <= deployment.stage_since or now - deployment.stage_since < pace.state:
        return False
    if stage == STAGES[-1]:
        return True
    _enter(deployment, STAGES[STAGES.index(stage) + 1], pace, now, draw)
    return False


def weight(configuration: Mapping[str, Any], elapsed: float) -> float:
    """The percentage of production traffic for the target, so many minutes after the shift began."""
    if configuration["strategy"] == "LINEAR":
        linear = configuration.get("linearConfiguration", {})
        step, wait = linear.get("stepPercent", 10.0), linear.get("stepBakeTimeInMinutes", 6)
        steps = 1 + int(elapsed / wait) if wait else 1000
        return float(min(100.0, step * steps))
    if configuration["strategy"] == "CANARY":
        canary = configuration.get("canaryConfiguration", {})
        if elapsed < canary.get("canaryBakeTimeInMinutes", 10):
            return float(canary.get("canaryPercent", 5.0))
    return 100.0


def _enter(deployment: Deployment, stage: str, pace: Pace, now: float, draw: Callable[[], str]) -> None:
    deployment.stage, deployment.stage_since, deployment.updated = stage, now, now
    for hook in deployment.configuration.get("lifecycleHooks", []):
        if stage in hook.get("lifecycleStages", []):
            timeout = hook.get("timeoutConfiguration", {}).get("timeoutInMinutes", HOOK_TIMEOUT_MINUTES)
            pauses = hook.get("targetType", "AWS_LAMBDA") == "PAUSE"
            status = "AWAITING_ACTION" if pauses else "IN_PROGRESS"
            deployment.hooks.append(Hook(draw(), hook, stage, status, now + timeout * pace.minute))


def _wait_for_hooks(deployment: Deployment, functions: Functions, now: float) -> Cause | bool:
    """Whether the stage still waits for a hook; a cause where one failed."""
    waits = False
    for hook in deployment.hooks:
        if hook.stage != deployment.stage:
            continue
        target = hook.hook.get("hookTargetArn", "")
        if hook.status == "IN_PROGRESS":
            hook.status = functions(hook.hook, hook.stage, deployment.arn)
        if hook.status in ("IN_PROGRESS", "AWAITING_ACTION") and now >= hook.expires:
            hook.status = "TIMED_OUT"
            if hook.hook.get("timeoutConfiguration", {}).get("action", "ROLLBACK") == "ROLLBACK":
                return hook_failed(hook.stage, "A lifecycle hook timed out.")
        if hook.status == "FAILED":
            return hook_failed(hook.stage, f"Lifecycle hook target {target} returned FAILED status.")
        waits |= hook.status in ("IN_PROGRESS", "AWAITING_ACTION")
    return waits
