# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: it brings services to what they declare, one tick after the other."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import breaker, stages
from .agent import Agent, HealthyTargets, Targets
from .health import judge
from .outcomes import ALARM, BREAKER, REVISION, USER, Cause, fail, make_primary, roll_back, say, succeed, supersede
from .rolling import Counts, plan
from .state import OVER, Deployment, Pace, Revision, Service, Task
from .tasks import Tasks

LIMITED = (
    "was unable to stop or start tasks during a deployment because of the service deployment configuration. "
    "Update the minimumHealthyPercent or maximumPercent value and try again."
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

Definitions = Callable[[str], Mapping[str, Any]]  # a task definition by its ARN
Alarms = Callable[[Iterable[str]], Iterable[str]]  # those of these CloudWatch alarms that are in the state ALARM


def no_alarm(_names: Iterable[str]) -> Iterable[str]:
    return ()


class Engine:
    """Services and tasks of one account and region. prefix is arn:aws:ecs:REGION:ACCOUNT."""

    def __init__(
        self,
        agent: Agent,
        definitions: Definitions,
        *,
        prefix: str = "arn:aws:ecs:eu-central-1:123456789012",
        targets: Targets | None = None,
        alarms: Alarms = no_alarm,
        functions: stages.Functions = stages.succeeded,
        pace: Pace | None = None,
        seed: int | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self.prefix = prefix
        self.definitions = definitions
        self.alarms = alarms
        self.functions = functions
        self.services: dict[str, Service] = {}
        self._draw = random.Random(seed)  # identifiers, not secrets
        self.tasks = Tasks(agent, targets or HealthyTargets(), self.pace, prefix, self._draw)

    def create(self, cluster: str, name: str, desired: int, settings: Mapping[str, Any], now: float) -> Service:
        """A service and its first deployment. The settings have taskDefinition (an ARN) and deploymentConfiguration."""
        arn = f"{self.prefix}:service/{cluster.rpartition('/')[2]}/{name}"
        service = Service(name, arn, cluster, desired, now, dict(settings))
        self.services[arn] = service
        self.deploy(service, now)
        return service

    def deploy(self, service: Service, now: float) -> Deployment:
        """A new revision of what the service's settings say. It replaces a deployment that is still going on."""
        if service.current:
            self._freeze(service, service.current)
            supersede(service.current, now)
        path = f"{service.cluster.rpartition('/')[2]}/{service.name}"
        sources = service.listed
        identifier = str(self._draw.randrange(10**18, 10**19))
        content = {name: service.settings[name] for name in REVISION if name in service.settings}
        revision = Revision(
            identifier,
            f"{self.prefix}:service-revision/{path}/{identifier}",
            now,
            now,
            service.settings["taskDefinition"],
            content,
        )
        revision.rollout_reason = f"ECS deployment {revision.deployment_id} in progress."
        configuration = dict(service.settings["deploymentConfiguration"])
        deployment = Deployment(
            f"{self.prefix}:service-deployment/{path}/{self._name()}", revision, sources, configuration, now, now
        )
        serving = next((source for source in sources if source.weight), None)
        service.revisions.append(revision)
        make_primary(service, revision, now)
        if serving and configuration["strategy"] != "ROLLING":
            serving.weight, revision.weight = 100.0, 0.0
        if configuration.get("deploymentCircuitBreaker", {}).get("enable"):
            deployment.breaker_status = "MONITORING"
        watched = configuration.get("alarms", {})
        # AWS ignores alarms for a deployment that begins while one of them is in the state ALARM.
        if watched.get("enable") and not list(self.alarms(watched["alarmNames"])):
            deployment.alarm_status = "MONITORING"
        service.deployments.insert(0, deployment)
        return deployment

    def delete(self, service: Service, now: float) -> None:
        """All its tasks stop; it is INACTIVE when they have."""
        if service.current:
            self._freeze(service, service.current)
            supersede(service.current, now)
        service.status, service.desired = "DRAINING", 0

    def stop_deployment(self, deployment: Deployment, kind: str, now: float) -> None:
        """ABORT or ROLLBACK; has effect with the next tick. No effect on one that goes back or stops already."""
        if deployment.status in ("PENDING", "IN_PROGRESS"):
            deployment.status = "STOP_REQUESTED" if kind == "ABORT" else "ROLLBACK_REQUESTED"
            deployment.updated = now

    def live_counts(self, service: Service, revision: Revision) -> tuple[int, int, int]:
        """Of a revision's tasks: wanted, running and pending."""
        mine = [task for task in self.tasks.of(service.arn) if task.revision == revision.id and task.live]
        running = sum(task.running for task in mine)
        wanted = service.desired if revision.status == "PRIMARY" else len(mine)
        return wanted, running, len(mine) - running

    def tick(self, now: float) -> None:
        """Bring everything up to a point of time. Times of later ticks must not be earlier."""
        self.tasks.tick(now)
        for service in self.services.values():
            if service.status == "DRAINING":
                self._drain(service, now)
            elif service.status == "ACTIVE":
                judge(service, self.tasks, now)
                self._go_on(service, now)
                self._scale(service, now)
                self._conclude(service, now)

    def _drain(self, service: Service, now: float) -> None:
        tasks = self.tasks.of(service.arn)
        self._stop(service, [task for task in tasks if task.live], now)
        if not tasks:
            service.status = "INACTIVE"
            for revision in service.revisions:
                revision.status = "INACTIVE"

    def _go_on(self, service: Service, now: float) -> None:
        deployment = service.current
        if deployment is None:
            return
        if deployment.status == "PENDING":
            deployment.status, deployment.started, deployment.updated = "IN_PROGRESS", now, now
        elif deployment.status == "STOP_REQUESTED":
            self._fail(service, deployment, USER, now, rollback=False)
        elif deployment.status == "ROLLBACK_REQUESTED":
            revision = service.primary
            revision.rollout_state, revision.rollout_reason = "FAILED", USER.rollout
            self._freeze(service, deployment)
            roll_back(service, deployment, USER, now)
        else:
            self._watch(service, deployment, now)

    def _watch(self, service: Service, deployment: Deployment, now: float) -> None:
        """The circuit breaker and the alarms."""
        configuration = deployment.configuration
        switch = configuration.get("deploymentCircuitBreaker", {})
        deployment.threshold = breaker.threshold(switch, service.desired) if switch.get("enable") else 0
        if switch.get("enable") and deployment.failures >= deployment.threshold:
            deployment.breaker_status = "TRIGGERED"
            self._fail(service, deployment, BREAKER, now, rollback=switch["rollback"])
            deployment.failures = 0 if deployment.unfinished else deployment.failures
            return
        watched = configuration.get("alarms", {})
        if deployment.alarm_status == "MONITORING" and deployment.status == "IN_PROGRESS":
            deployment.triggered = sorted(self.alarms(watched["alarmNames"]))
            if deployment.triggered:
                deployment.alarm_status = "TRIGGERED"
                self._fail(service, deployment, ALARM, now, rollback=watched["rollback"])

    def _fail(self, service: Service, deployment: Deployment, cause: Cause, now: float, *, rollback: bool) -> None:
        self._freeze(service, deployment)
        fail(service, deployment, cause, now, rollback=rollback)

    def _scale(self, service: Service, now: float) -> None:
        """Start and stop tasks."""
        primary, deployment = service.primary, service.current
        live = [task for task in self.tasks.of(service.arn) if task.live]
        new = [task for task in live if task.revision == primary.id]
        old = [task for task in live if task.revision != primary.id]
        if primary.rollout_state == "FAILED":
            return
        staged = deployment is not None and self._staged(deployment)
        if staged and deployment is not None and deployment.stage != "CLEAN_UP":
            if stages.scales(deployment.stage):
                self._start(service, primary, max(service.desired - len(new), 0), now)
            return
        waiting = [task for task in old if not task.healthy(now, self.pace.settle)]
        self._stop(service, waiting, now)
        old = [task for task in old if task.live]
        stoppable = [task for task in old if not task.protected(now)]
        healthy = [task for task in new if task.healthy(now, self.pace.settle)]
        decided = plan(
            service.desired,
            service.settings["deploymentConfiguration"],
            Counts(len(new), len(healthy), len(old), len(old), len(stoppable)),
        )
        self._stop(service, stoppable[: decided.stop_old], now)
        surplus = [
            task for task in sorted(new, key=lambda item: (item in healthy, -item.created)) if not task.protected(now)
        ]
        self._stop(service, surplus[: decided.stop_new], now)
        self._start(service, primary, decided.start, now)
        protected = len(old) - len(stoppable)
        if protected and len(healthy) >= service.desired:
            scale_in = f"(taskSet {next(item for item in service.listed if item is not primary).deployment_id})"
            why = f"(reason {protected} tasks under protection)"
            self._complain(
                service,
                now,
                f"was unable to reach steady state because {scale_in} was unable to scale in due to {why}.",
            )
        elif decided.stuck:
            self._complain(service, now, LIMITED)
        else:
            service.complaint = ""

    def _start(self, service: Service, revision: Revision, number: int, now: float) -> None:
        if number <= 0 or now < revision.next_start:
            return
        definition = self.definitions(revision.definition_arn)
        options = {name: value for name, value in service.settings.items() if name in ("enableExecuteCommand",)}
        options.update({name: revision.settings[name] for name in REVISION if name in revision.settings})
        targets = [
            (item["targetGroupArn"], item["containerPort"])
            for item in revision.settings.get("loadBalancers", [])
            if "targetGroupArn" in item
        ]
        started = [
            self.tasks.run(
                service.cluster,
                definition,
                now,
                group=f"service:{service.name}",
                started_by=revision.deployment_id,
                service=service.arn,
                revision=revision.id,
                targets=targets,
                options=options,
            )
            for _ in range(number)
        ]
        service.steady = False
        listed = " ".join(f"(task {task.id})" for task in started)
        replaced, service.replaced = min(service.replaced, number), 0
        why = f" Amazon ECS replaced {replaced} tasks due to an unhealthy status." if replaced else ""
        say(service, now, f"has started {number} tasks: {listed}.{why}")

    def _stop(self, service: Service, tasks: list[Task], now: float) -> None:
        if not tasks:
            return
        service.steady = False
        running = [task for task in tasks if task.last_status == "RUNNING"]
        pending = len(tasks) - len(running)
        for task in tasks:
            deployment = next(item for item in service.revisions if item.id == task.revision).deployment_id
            reason = f"Scaling activity initiated by (deployment {deployment})"
            self.tasks.stop(task, now, "ServiceSchedulerInitiated", reason)
        if running:
            listed = " ".join(f"(task {task.id})" for task in running)
            say(service, now, f"has stopped {len(running)} running tasks: {listed}.")
        if pending:
            say(service, now, f"stopped {pending} pending tasks.")

    def _complain(self, service: Service, now: float, text: str) -> None:
        """Once, until the cause is gone."""
        if service.complaint != text:
            service.complaint = text
            say(service, now, text)

    def _conclude(self, service: Service, now: float) -> None:
        """End a deployment that is done, and the revisions that have no tasks any more."""
        primary = service.primary
        present = [task for task in self.tasks.of(service.arn) if task.last_status not in OVER]
        left = [task for task in present if task.revision != primary.id]
        for revision in service.revisions:
            if revision.status == "ACTIVE" and not any(task.revision == revision.id for task in left):
                revision.status, revision.updated = "INACTIVE", now
        mine = [task for task in present if task.revision == primary.id and task.live]
        healthy = sum(task.healthy(now, self.pace.settle) for task in mine)
        steady = len(mine) == healthy == service.desired and not left and primary.rollout_state != "FAILED"
        deployment = service.current
        if deployment and deployment.status in ("IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
            if self._staged(deployment):
                done = self._next_stage(service, deployment, stages.Progress(healthy >= service.desired, not left), now)
            else:
                done = self._baked(service, deployment, steady or self._early(service, deployment, healthy, left), now)
            if done:
                self._freeze(service, deployment)
                succeed(service, deployment, now)
        if steady and not service.current and not service.steady:
            say(service, now, "has reached a steady state.")
        service.steady = steady and not service.current

    def _staged(self, deployment: Deployment) -> bool:
        return deployment.configuration["strategy"] != "ROLLING" and deployment.status == "IN_PROGRESS"

    def _next_stage(self, service: Service, deployment: Deployment, progress: stages.Progress, now: float) -> bool:
        done = stages.advance(deployment, progress, self.functions, self.pace, now, self._name)
        if isinstance(done, Cause):
            self._fail(service, deployment, done, now, rollback=True)
            return False
        return done

    def _early(self, service: Service, deployment: Deployment, healthy: int, left: list[Task]) -> bool:
        criteria = deployment.configuration.get("earlySuccessCriteria", {})
        if not criteria.get("enable") or deployment.status != "IN_PROGRESS":
            return False
        enough = healthy >= math.ceil(service.desired * criteria.get("healthyPercent", 100) / 100)
        return enough and (criteria.get("sourceServiceRevisionCleanup") == "DEFERRED" or not left)

    def _baked(self, _service: Service, deployment: Deployment, reached: bool, now: float) -> bool:
        """Whether a rolling update is over: it has reached its state and baked for long enough."""
        minutes = deployment.configuration.get("bakeTimeInMinutes", 0)
        if deployment.status != "IN_PROGRESS" or not minutes:
            return reached
        if reached and deployment.stage != "BAKE_TIME":
            deployment.stage, deployment.stage_since = "BAKE_TIME", now
        return deployment.stage == "BAKE_TIME" and now - deployment.stage_since >= minutes * self.pace.minute

    def _freeze(self, service: Service, deployment: Deployment) -> None:
        """Keep the counts of a deployment's revisions, which are those of its end."""
        revisions = [deployment.target, *deployment.sources]
        deployment.final = {item.id: self.live_counts(service, item) for item in revisions}

    def _name(self) -> str:
        return "".join(self._draw.choices(LETTERS, k=21))
