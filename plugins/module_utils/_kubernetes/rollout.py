# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the image of a Deployment, follow the rollout, and go back to the last good template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from .._common.progress import NoAnswerError, OperationError, Progress
from .api import DEPLOYMENT, JSON_PATCH, MERGE, RefusedRequestError
from .deployment import Annotations, Deployment, PodTemplate, chosen_template
from .pods import Trouble, failing
from .readings import Reader, Reading

LONGEST_PAUSE = 1.0
# How long the API server may not answer after a failure, before the way back is given up.
ANSWERED_WITHIN = 60.0
# The controller's own verdict comes first, where it gives one.
DEADLINE_MARGIN = 2.0
Until = Literal["complete", "first_pod", "started"]


@dataclass(frozen=True)
class RolloutWish:
    """What is to become of the Deployment. Times are in seconds."""

    annotations: Annotations
    user: str
    clock: Callable[[], str]
    image: str = ""
    revision: str = ""
    reason: str = ""
    rollout_id: str = ""
    until: Until = "complete"
    fail_after: float = 5
    schedule_within: float = 120
    roll_back: bool = True
    watch: float = 0
    log_lines: int = 20


@dataclass
class RolloutReport(Progress):
    """What the call has done and seen so far; complete also where it fails."""

    changed: bool = False
    outcome: str = ""
    joined: bool = False
    before: str = ""
    rolled_back_to: str = ""
    diff: dict[str, str] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "outcome": self.outcome,
            "joined": self.joined,
            "before": self.before,
            "rolled_back_to": self.rolled_back_to,
            "diff": self.diff,
            "failures": self.failures,
            "deployment": self.seen,
            "progress": self.progress,
            "seconds": round(self.seconds, 1),
        }


@dataclass
class RolloutFailure:
    """What ends a rollout early."""

    words: str
    troubles: list[Trouble]
    afterwards: bool = False


class DeploymentRollout:
    """One call of the module."""

    def __init__(self, reader: Reader, wish: RolloutWish, report: RolloutReport) -> None:
        self._reader = reader
        self._wish = wish
        self._report = report
        self._failing_since: dict[tuple[str, str], float] = {}
        self._counts: tuple[int, ...] = ()
        self._counts_since = report.now()

    @property
    def _about(self) -> str:
        return f"the Deployment {self._reader.name} in the namespace {self._reader.namespace}"

    def update(self, *, check_mode: bool) -> None:
        """Bring the image; OperationError unless the rollout gets as far as `until`."""
        reading = self._look()
        deployment = reading.deployment
        if deployment.paused:
            raise OperationError(
                f"Nothing was changed: {self._about} is paused, so that its controller rolls nothing out. Resume it: "
                f"kubectl -n {self._reader.namespace} rollout resume deployment/{self._reader.name}."
            )
        if deployment.image == self._wish.image:
            self._report.joined = not deployment.complete
            if deployment.complete:
                self._stay(self._wish.image, check_mode=check_mode)
                return
            self._report.note(f"joins the rollout of {self._wish.image}: {deployment.words}")
        else:
            good = reading.last_good(self._wish.annotations)
            self._write_image(reading, good, check_mode=check_mode)
        if check_mode or self._wish.until == "started":
            return
        self._follow(self._wish.image)

    def _stay(self, image: str, *, check_mode: bool) -> None:
        """Nothing to bring; the pods are watched all the same, because they may be there only since a moment ago."""
        self._report.outcome = "unchanged"
        if not check_mode and self._wish.watch and self._wish.until == "complete":
            found = self._watched(image)
            if found:
                self._fail(image, found[0], going_back=False)

    def roll_back(self, *, check_mode: bool) -> None:
        """Back to the last good template, or to a chosen one."""
        reading = self._look()
        target = self._target(reading)
        current = reading.current
        if current and target.hash == current.hash:
            if reading.deployment.complete:
                self._report.outcome = "unchanged"
                self._finish(reading.deployment, check_mode=check_mode)
                return
            self._report.joined = True
        else:
            leaves = current if current and reading.deployment.complete else target
            self._write_template(reading, target, leaves, check_mode=check_mode)
        if check_mode or self._wish.until == "started":
            return
        self._follow(target.image, going_back=True)
        self._report.rolled_back_to = target.image
        # One that joins may belong to a run that was killed: it outlives it, and the next run has to find the note.
        if self._wish.until == "complete" and not self._report.joined:
            self._finish(self._reader.deployment(), check_mode=False)

    def _finish(self, deployment: Deployment, *, check_mode: bool) -> None:
        """Remove the note of an unfinished rollback."""
        note = self._wish.annotations.rolling_back
        if note not in deployment.annotations:
            return
        reader = self._reader
        body = {"metadata": {"annotations": {note: None}}}
        reader.api.patch(DEPLOYMENT, reader.namespace, reader.name, body, MERGE, dry_run=check_mode)
        self._report.changed = True

    def _target(self, reading: Reading) -> PodTemplate:
        wanted = self._wish.revision
        if wanted:
            chosen = chosen_template(reading.templates, wanted)
            if chosen is None:
                known = ", ".join(f"{one.revision} ({one.image})" for one in reading.templates)
                raise OperationError(
                    f"Nothing was changed: {self._about} has no revision {wanted}. It has {known or 'none'}. "
                    "Older ones are kept as far as spec.revisionHistoryLimit says."
                )
            return chosen
        current = reading.current
        # A call that was killed has noted its target; the good template is then the one that it left.
        if current and reading.deployment.annotations.get(self._wish.annotations.rolling_back) == current.hash:
            return current
        good = reading.good(self._wish.annotations)
        if good is not None:
            return good
        raise OperationError(
            f"Nothing was changed: no template of {self._about} is known to be good but the present one. Set "
            f"revision to one of: {', '.join(one.words for one in reading.templates[1:]) or 'there are no others'}."
        )

    def _look(self) -> Reading:
        reading = self._reader.read()
        self._report.seen = reading.result(self._wish.annotations)
        self._report.before = self._report.before or reading.deployment.image
        return reading

    def _noted(self, good: PodTemplate | None) -> dict[str, str]:
        wish = self._wish
        return wish.annotations.note(
            time=wish.clock(),
            user=wish.user,
            rollout_id=wish.rollout_id,
            reason=wish.reason,
            good=good.hash if good else "",
        )

    def _write_image(self, reading: Reading, good: PodTemplate | None, *, check_mode: bool) -> None:
        deployment, unfinished = reading.deployment, self._wish.annotations.rolling_back
        forgotten = {unfinished: None} if unfinished in deployment.annotations else {}
        body = {
            "metadata": {"annotations": {**self._noted(good), **forgotten}},
            "spec": {"template": {"spec": {"containers": [{"name": deployment.container, "image": self._wish.image}]}}},
        }
        self._send(deployment, body, check_mode=check_mode)
        self._report.note(f"{deployment.image} → {self._wish.image}")

    def _write_template(self, reading: Reading, target: PodTemplate, leaves: PodTemplate, *, check_mode: bool) -> None:
        deployment, unfinished = reading.deployment, self._wish.annotations.rolling_back
        image = f"/spec/template/spec/containers/{deployment.index}/image"
        body = [
            # Another writer's rollout is not undone.
            {"op": "test", "path": image, "value": deployment.image},
            {"op": "replace", "path": "/spec/template", "value": target.body},
            {
                "op": "add",
                "path": "/metadata/annotations",
                "value": {**deployment.annotations, **self._noted(leaves), unfinished: target.hash},
            },
        ]
        self._send(deployment, body, JSON_PATCH, check_mode=check_mode)
        self._report.note(f"goes back to {target.words}")

    def _send(self, deployment: Deployment, body: Any, *how: str, check_mode: bool) -> None:
        reader, report = self._reader, self._report
        after = reader.api.patch(DEPLOYMENT, reader.namespace, reader.name, body, *how, dry_run=check_mode)
        report.changed = True
        report.diff = difference(deployment.found, after)

    def _follow(self, image: str, *, going_back: bool = False) -> None:
        failure: list[RolloutFailure] = []

        def arrived() -> bool:
            reading = self._look()
            deployment = reading.deployment
            if deployment.image != image:
                self._report.outcome = "superseded"
                raise OperationError(
                    f"The rollout of {image} to {self._about} was superseded: its image is now {deployment.image}. "
                    "Nothing was rolled back. Find out who changes it, and run the same again."
                )
            self._report.note(deployment.words)
            if deployment.complete or (self._wish.until == "first_pod" and self._first_pod(reading)):
                return True
            found = self._failure(reading)
            if found:
                failure.append(found)
            return bool(found)

        timeout = self._report.timeout
        in_time = False
        try:
            in_time = self._report.wait(arrived, LONGEST_PAUSE)
        except NoAnswerError as error:
            failure.append(RolloutFailure(str(error), []))
        if in_time and not failure and self._wish.watch and not going_back and self._wish.until == "complete":
            failure += self._watched(image)
        if in_time and not failure:
            self._report.outcome = "rolled_back" if going_back else "succeeded"
            return
        became = failure[0] if failure else RolloutFailure(f"it did not end within {timeout:g} s: {self._stands}.", [])
        self._fail(image, became, going_back=going_back)

    def _fail(self, image: str, became: RolloutFailure, *, going_back: bool) -> NoReturn:
        """Go back, unless that is what failed; always an OperationError."""
        self._report.outcome = "failed"
        why = self._why(image, became, going_back=going_back)
        if not going_back:
            why = f"{why}{'' if why.endswith(chr(10)) else ' '}{self._way_back(image, afterwards=became.afterwards)}"
        raise OperationError(why)

    def _watched(self, image: str) -> list[RolloutFailure]:
        """What goes wrong with the new pods in the time after the rollout, if anything does."""
        restarts: dict[str, int] = {}
        found: list[RolloutFailure] = []
        watching = Progress(now=self._report.now, sleep=self._report.sleep, timeout=self._wish.watch)

        def failed() -> bool:
            reading = self._look()
            if reading.deployment.image != image:
                found.append(
                    RolloutFailure(f"another writer changed the image to {reading.deployment.image}.", [], True)
                )
            for pod in reading.new_pods:
                before = restarts.setdefault(pod.name, pod.restarts)
                if pod.restarts > before:
                    quiet = Trouble(pod.name, "crash", "restarted", "", reading.deployment.container)
                    found.append(
                        RolloutFailure(f"pod {pod.name} restarted after the rollout.", [pod.trouble or quiet], True)
                    )
            return bool(found)

        self._report.note(f"watches the new pods for {self._wish.watch:g} s")
        watching.wait(failed, LONGEST_PAUSE)
        return found[:1]

    @property
    def _stands(self) -> str:
        return str(self._report.seen.get("words", ""))

    @staticmethod
    def _first_pod(reading: Reading) -> bool:
        return any(pod.ready for pod in reading.new_pods)

    def _failure(self, reading: Reading) -> RolloutFailure | None:
        """What does not get better by waiting: reasons that lasted `fail_after`, or the controller's own deadline."""
        deployment, wish, now = reading.deployment, self._wish, self._report.now()
        troubles = list(failing(reading.new_pods))
        lasting: dict[tuple[str, str], Trouble] = {(one.pod, one.what): one for one in troubles}
        if deployment.replica_failure:
            lasting["", "quota"] = Trouble("", "quota", "FailedCreate", deployment.replica_failure)
        self._failing_since = {key: self._failing_since.get(key, now) for key in lasting}
        for key, trouble in lasting.items():
            if trouble.pod:
                self._report.note(trouble.words)
            allowed = wish.schedule_within if key[1] in ("scheduling", "quota") else wish.fail_after
            if now - self._failing_since[key] < allowed:
                continue
            if not trouble.pod:
                return RolloutFailure(f"no pod can be created: {trouble.message.rstrip('.')}.", [])
            return RolloutFailure(f"{trouble.words}.", [trouble])
        if deployment.counts != self._counts:
            self._counts, self._counts_since = deployment.counts, now
        # The controller does not watch a deadline where a complete Deployment gets more replicas.
        stuck = now - self._counts_since >= deployment.deadline + DEADLINE_MARGIN
        if deployment.deadline_exceeded or stuck:
            return RolloutFailure(self._deadline_in_words(reading, troubles), troubles[:1])
        return None

    def _deadline_in_words(self, reading: Reading, troubles: list[Trouble]) -> str:
        """The controller's condition, and what its pods wait for."""
        words = f"it exceeded its progress deadline of {reading.deployment.deadline:g} s ({reading.deployment.words})."
        if troubles:
            return f"{words} {troubles[0].words}."
        waiting = next((pod for pod in reading.new_pods if not pod.ready), None)
        if waiting is None:
            return words
        warning = self._reader.last_warning(waiting.name)
        return f"{words} Pod {waiting.name} runs and is not ready{f': {warning}' if warning else ''}."

    def _why(self, image: str, failure: RolloutFailure, *, going_back: bool) -> str:
        what = f"The {'rollback' if going_back else 'rollout'} to {image} of {self._about} failed"
        lines: list[str] = []
        for trouble in failure.troubles:
            log = self._reader.log(trouble, self._wish.log_lines) if trouble.has_log and self._wish.log_lines else []
            self._report.failures.append(
                {"pod": trouble.pod, "container": trouble.container, "reason": trouble.reason, "log": log}
                | {"message": trouble.message, "exit_code": trouble.exit_code}
            )
            lines += log
        if not failure.troubles:
            waiting = [one for one in self._report.seen.get("pods", []) if one["updated"] and not one["ready"]]
            for one in waiting[:1]:
                quiet = Trouble(one["name"], "crash", "NotReady", "", self._report.seen["container"])
                lines = self._reader.log(quiet, self._wish.log_lines) if self._wish.log_lines else []
                self._report.failures.append(
                    {"pod": quiet.pod, "container": quiet.container, "reason": "NotReady", "log": lines}
                    | {"message": failure.words, "exit_code": None}
                )
        log_text = "\nIts last log lines:\n" + "".join(f"  {line}\n" for line in lines) if lines else ""
        return f"{what}: {failure.words}{log_text}"

    def _way_back(self, failed: str, *, afterwards: bool) -> str:
        """Go back to the last good template, and say how that went."""
        if not self._wish.roll_back:
            return "It was left as it is, by on_failure=leave."
        try:
            reading = self._answered()
            if reading.deployment.image != failed:
                return f"Its image is now {reading.deployment.image}, so nothing was rolled back."
            if reading.deployment.complete and not afterwards:
                return "It has succeeded in the meantime, so nothing was rolled back."
            good = reading.good(self._wish.annotations)
            if good is None:
                return "No template of it is known to be good, so nothing was rolled back. Fix the cause and run again."
            self._write_template(reading, good, good, check_mode=False)
        except (NoAnswerError, RefusedRequestError) as error:
            return f"The rollback was not started: {error}"
        self._failing_since = {}
        self._counts = ()
        try:
            self._follow(good.image, going_back=True)
            self._finish(self._reader.deployment(), check_mode=False)
        except OperationError as error:
            return f"The rollback to {good.words} was started, and did not end: {error}"
        self._report.outcome = "rolled_back"
        self._report.rolled_back_to = good.image
        return f"It was rolled back: {good.words} serves alone again."

    def _answered(self) -> Reading:
        """A reading, repeated while the API server does not answer."""
        waiting = Progress(now=self._report.now, sleep=self._report.sleep, timeout=ANSWERED_WITHIN)
        found: list[Reading] = []

        def answered() -> bool:
            found.append(self._look())
            return True

        waiting.wait(answered, LONGEST_PAUSE)
        return found[0]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """What a person reads of a change of a Deployment: annotations and template, without what the server keeps."""
    return {"before": _shown(before), "after": _shown(after)}


def _shown(found: Mapping[str, Any]) -> str:
    annotations = dict(found["metadata"].get("annotations") or {})
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    shown = {"annotations": annotations, "template": found["spec"]["template"]}
    return json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
