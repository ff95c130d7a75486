# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of a rollout, as its tasks tell it while they run. No clock, no output.

What a task is to the rollout is told by its module and that one's option `state`, never by its title, and the facts
rollout_about, rollout_step, rollout_event and rollout_events, which the role rollout sets, say the rest. All times are
seconds since the tracker began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import results
from .records import (
    BAD,
    CURRENT,
    DEPLOYMENT,
    DONE,
    FAILED,
    PUT_OFF,
    ROLLED_BACK,
    ROLLING_BACK,
    ROLLOUT,
    SKIPPED,
    SUCCEEDED,
    UNFINISHED,
    UNREACHABLE,
    UNTOUCHED,
    WAITING,
    Failure,
    HostRecord,
    LeaderChange,
    News,
    Nouns,
    Phase,
    StepRecord,
)
from .results import clean, first_line, step_of
from .states import A_MOMENT, DOING, EVENTS, OF_THE_FLEET, OPENS, PLANS_DEPLOYMENT


@dataclass(frozen=True)
class _Begun:
    state_before: str
    news: News


class Tracker:
    """A rollout so far; `began_at` is the time of day, in ISO 8601."""

    # The phases in which progress is about their members.
    progress_in: tuple[str, ...] = ("deploy",)

    def __init__(self, began_at: str, about: Nouns = ROLLOUT) -> None:
        self.began_at = began_at
        self.about = about
        self.result = UNFINISHED
        self.ended: float | None = None
        self.rollout_id: int | None = None
        self.holder = self.reason = self.image = self.digest = ""
        self.plan: tuple[str, ...] = ()
        self.batches: tuple[tuple[str, ...], ...] = ()
        self.words: tuple[str, ...] = ()
        self.hosts: dict[str, HostRecord] = {}
        self.fleet_steps: list[StepRecord] = []
        self.phases = [Phase("look", 0.0)]
        # Whether a step was begun: until then, nothing was changed.
        self.began_work = False
        self.leader = ""
        self.term: int | None = None
        # Those that the load balancer had meanwhile, where it counts them.
        self.requests: int | None = None
        self.leader_changes: list[LeaderChange] = []
        self.failures: list[Failure] = []
        # What a canary is found to be: result, words and figures.
        self.verdict: dict[str, Any] | None = None
        self._fleet: dict[str, str] = {}
        self._lock_result = ""
        self._events_known = 0
        self._news: list[News] = []
        self._begun: dict[str, _Begun] = {}
        self._requests_known = 0

    # What is told

    def starts(self, at: float, host: str, action: str, state: str) -> None:
        name = self._step_of(action, state)
        if name in OF_THE_FLEET:
            self.fleet_steps.append(StepRecord(name, at))
        elif name:
            if self.about is DEPLOYMENT:
                self._turn_to(at, host)
            tracker = self._host(host)
            tracker.steps.append(StepRecord(name, at))
            before = tracker.state
            rolling_back = before == ROLLING_BACK or self.phases[-1].kind == "put_back"
            if self._state(at, host, ROLLING_BACK if rolling_back else DOING[name]):
                self._begun[host] = _Begun(before, self._news.pop())

    def ends(
        self, at: float, host: str, action: str, state: str, status: str, result: Mapping[str, Any], *, whole: bool
    ) -> None:
        """`status` is ok, failed, skipped or unreachable; `whole` says that the task runs once for all hosts."""
        if action == PLANS_DEPLOYMENT:
            self._planned(at, result)
        name = self._step_of(action, state)
        good = status in ("ok", "skipped")
        if name == "pull" and "msg" in result:
            good = False
        if name:
            step = self._running(name, host, at)
            step.ended = at
            step.own = results.own_seconds(result)
            step.parts = results.parts(result)
            step.result = SKIPPED if status == "skipped" else SUCCEEDED if good else FAILED
        if status == "skipped":
            begun = self._begun.pop(host, None)
            if begun:
                self._host(host).state = begun.state_before
            if name in OF_THE_FLEET:
                self.fleet_steps.pop()
            return
        if name in OPENS:
            self._phase(self.fleet_steps[-1].began, OPENS[name])
        self._say_begun(host)
        self._learn(at, host, name, result)
        facts = result.get("ansible_facts")
        if action == "set_fact" and isinstance(facts, Mapping):
            self._facts(at, facts)
        if name == "pull" and not good:
            self._state(at, host, UNREACHABLE if status == "unreachable" else FAILED)
        if not good and result.get("refusal") != "leading":
            self._failure(at, "" if whole else host, name or action, status, result)

    def hears(self, at: float, line: str) -> bool:
        """A line of progress of the task that runs; returns whether it is about a member that is deployed."""
        running = self.phases[-1].hosts if self.phases[-1].kind in self.progress_in else ()
        for name in running:
            words = clean(line)
            self._say_begun(name)
            self._host(name).progress = words
            self._news.append(News(at, name, words))
        return bool(running)

    def finish(self, at: float, result: str = "") -> None:
        """`result` is what it came to, where the rollout itself could not say it."""
        if self.ended is not None:
            return
        self.ended = at
        self.phases[-1].ended = at
        failed = FAILED if self.words else ""
        self.result = result or failed or self._lock_result or (FAILED if self.failures else SUCCEEDED)
        for host in self.hosts.values():
            if host.began is not None and host.ended is None:
                host.ended = at
            if host.state in (WAITING, PUT_OFF) and self.result != SUCCEEDED:
                host.state = UNTOUCHED

    def take_news(self, now: float) -> list[News]:
        """What is new since this was asked last. That a step began is said a moment later: it may be skipped."""
        for host in [host for host, begun in self._begun.items() if now - begun.news.at >= A_MOMENT]:
            self._say_begun(host)
        news, self._news = self._news, []
        return news

    # What is asked

    @property
    def done(self) -> int:
        return sum(host.state in (DONE, CURRENT) for host in self.hosts.values())

    @property
    def batch(self) -> int:
        return sum(phase.kind == "update" for phase in self.phases)

    @property
    def batch_count(self) -> int:
        return max(len(self.batches), self.batch)

    def seconds(self, now: float) -> float:
        return now if self.ended is None else self.ended

    def expected(self, now: float) -> float | None:
        """For how many seconds it goes on if the batches to come take as long as those before; None if unknown."""
        finished = [p.ended - p.began for p in self.phases if p.kind == "update" and p.ended is not None]
        if not finished or not self.batches or self.words or self.phases[-1].kind == "end":
            return None
        each = sum(finished) / len(finished)
        running = self.phases[-1].kind == "update" and self.phases[-1].ended is None
        left = (self.batch_count - self.batch) * each
        return left + (max(0.0, each - (now - self.phases[-1].began)) if running else 0.0)

    def name_of(self, instance_id: str | None) -> str:
        """The host of an instance, as far as it is known."""
        return self._fleet.get(instance_id or "", instance_id or "")

    # What it comes to

    def _step_of(self, action: str, state: str) -> str:
        name = step_of(action, state)
        return "probe" if name == "bake" and self.about is DEPLOYMENT else name

    def _planned(self, at: float, result: Mapping[str, Any]) -> None:
        """What a deployment to Amazon ECS is to change. It may be planned again, such as after a build."""
        self.about = DEPLOYMENT
        plan = []
        for name, said in results.mapping(result.get("services")).items():
            service, told = self._host(clean(str(name))), results.mapping(said)
            if told.get("current"):
                service.before = {"image": None, "digest": None, "version": results.revision(told["current"])}
            self._state(at, service.name, WAITING if told.get("changed") else CURRENT)
            plan += [f"{service.name}: {words}" for words in results.strings(told.get("steps"))]
        self.plan = tuple(plan)

    def _turn_to(self, at: float, service: str) -> None:
        """The first step of a service begins its part."""
        if self.phases[-1].kind == "deploy" and self.phases[-1].hosts == (service,):
            return
        self.began_work = True
        self._phase(at, "deploy", (service,))
        self._host(service).began = at

    def _host(self, name: str) -> HostRecord:
        return self.hosts.setdefault(name, HostRecord(name))

    def _running(self, name: str, host: str, at: float) -> StepRecord:
        steps = self.fleet_steps if name in OF_THE_FLEET else self._host(host).steps
        # One at a time. What it is may be known better at its end, where its state is a template.
        if steps and steps[-1].ended is None:
            steps[-1].name = name
            return steps[-1]
        steps.append(StepRecord(name, at))
        return steps[-1]

    def _say_begun(self, host: str) -> None:
        begun = self._begun.pop(host, None)
        if begun:
            self._news.append(begun.news)

    def _state(self, at: float, name: str, state: str, more: str = "") -> bool:
        host = self._host(name)
        if host.state == state and not more:
            return False
        host.state, host.since = state, at
        self._news.append(News(at, name, f"{state}{more}", bad=state in (*BAD, ROLLED_BACK, ROLLING_BACK)))
        return True

    def _phase(self, at: float, kind: str, hosts: Sequence[str] = ()) -> None:
        self.phases[-1].ended = at
        self.phases.append(Phase(kind, at, hosts=tuple(hosts)))
        if kind == "update":
            self.phases[-1].batch = self.batch

    def _learn(self, at: float, host: str, name: str, result: Mapping[str, Any]) -> None:
        """What a result says of versions, leader and lock."""
        if name in ("pull", "swap", "put_back"):
            tracker = self._host(host)
            serving = results.version(result.get("serving"))
            if name == "pull":
                tracker.before = serving
                pulled = result.get("outcome") == "pulled"
                own = results.own_seconds(result) or 0.0
                if "msg" not in result:
                    self._state(at, host, WAITING, f", pulled in {own:.1f} s" if pulled else ", has the image")
            elif "serving" in result:
                tracker.after = serving
        if name == "deploy":
            service = self._host(host)
            service.deployment = results.deployment(result)
            if result.get("task_definition"):
                service.after = {"image": None, "digest": None, "version": results.revision(result["task_definition"])}
        if name in ("permit", "active") and result.get("instance_id"):
            instance_id = clean(str(result["instance_id"]))
            self._host(host).instance_id = instance_id
            self._fleet.setdefault(instance_id, host)
        if name in ("drain", "admit"):
            self._counted(results.number(result.get("requests")))
        if name == "lock":
            # A deployment of several services has a lock of each.
            self._locked(at, next(iter(results.items(result.get("results"))), result))
        if name == "unlock":
            self._lock_result = clean(str(results.mapping(result.get("lock")).get("result") or ""))
        if name == "handover" and result.get("new"):
            self._leads(at, clean(str(result["new"])), "handover", result)
        elif result.get("leader"):
            self._leads(at, clean(str(result["leader"])), "election", result)

    def _counted(self, requests: float | None) -> None:
        """The load balancer's count of requests; it starts again at 0 after a reload."""
        if requests is None:
            return
        known, self._requests_known = self._requests_known, int(requests)
        more = self._requests_known - known if self._requests_known >= known else self._requests_known
        self.requests = 0 if self.requests is None else self.requests + more

    def _locked(self, at: float, held: Mapping[str, Any]) -> None:
        lock, rollout_id = results.mapping(held.get("lock")), held.get("rollout_id")
        if self.rollout_id is None and lock and isinstance(rollout_id, int):
            self.rollout_id = rollout_id
            self.holder, self.reason, self.digest = (
                clean(str(lock.get(key) or "")) for key in ("holder", "reason", "digest")
            )
            self._news.append(News(at, "", f"{self.about.change} {self.rollout_id} of {self.holder}: {self.reason}"))

    def _leads(self, at: float, instance_id: str, kind: str, result: Mapping[str, Any]) -> None:
        term, gap = results.number(result.get("term")), results.number(result.get("gap"))
        term = None if term is None else int(term)
        old, self.term = self.leader, term or self.term
        if instance_id == old:
            return
        self.leader = instance_id
        if old:
            change = LeaderChange(at, kind, self.name_of(old), self.name_of(instance_id), term, gap)
            self.leader_changes.append(change)
            within = "" if gap is None else f", {gap:.2f} s without a leader"
            self._news.append(News(at, "", f"leader: {change.old} → {change.new} ({kind}{within})"))

    def _facts(self, at: float, facts: Mapping[str, Any]) -> None:
        for name, said in results.mapping(facts.get("ecs_results")).items():
            self._deployed(at, clean(str(name)), results.mapping(said))
        about, step, event = facts.get("rollout_about"), facts.get("rollout_step"), facts.get("rollout_event")
        if isinstance(about, Mapping):
            self._locked(at, about)
            self.image = clean(str(about.get("image") or ""))
            self.plan = tuple(results.strings(about.get("plan")))
            self.batches = tuple(tuple(results.strings(batch)) for batch in results.items(about.get("batches")))
            for name, identity in results.mapping(about.get("fleet")).items():
                self._fleet[clean(str(identity))] = clean(str(name))
                if name in self.hosts:
                    self.hosts[name].instance_id = clean(str(identity))
            for host in self.hosts.values():
                if self._is_current(host):
                    self._state(at, host.name, CURRENT)
        if isinstance(step, Mapping):
            self._step(at, step)
        if isinstance(facts.get("rollout_verdict"), Mapping):
            self._judged(at, facts["rollout_verdict"])
        if isinstance(event, Mapping):
            self._event(at, event)
        # A host that ended without a result is known from these events only.
        events = results.items(facts.get("rollout_events"))
        for late in events[self._events_known :]:
            self._event(at, results.mapping(late))
        self._events_known = len(events)

    def _is_current(self, host: HostRecord) -> bool:
        """Whether nothing is to be done for it."""
        if self.batches:
            return all(host.name not in batch for batch in self.batches)
        return bool(self.digest) and host.before is not None and host.before["digest"] == self.digest

    def _step(self, at: float, step: Mapping[str, Any]) -> None:
        kind, hosts = str(step.get("kind") or ""), results.strings(step.get("hosts"))
        self.began_work = self.began_work or kind not in ("", "end", "refused")
        self._phase(at, kind, hosts)
        if kind not in ("update", "put_back"):
            return
        for name in hosts:
            host = self._host(name)
            host.began, host.ended = at, None
            if kind == "update":
                host.batch = self.batch
        words = f"batch {self.batch} of {self.batch_count}: " if kind == "update" else "putting back: "
        self._news.append(News(at, "", words + ", ".join(hosts)))

    def _judged(self, at: float, verdict: Mapping[str, Any]) -> None:
        result, words = clean(str(verdict.get("result") or "")), results.strings(verdict.get("words"))
        self.verdict = {"result": result, "words": words, "figures": dict(results.mapping(verdict.get("figures")))}
        self._news.append(News(at, "", f"canary {result}: {'; '.join(words)}", bad=result != "promoted"))

    def _event(self, at: float, event: Mapping[str, Any]) -> None:
        kind, name = str(event.get("kind") or ""), str(event.get("host") or "")
        if kind not in EVENTS or name not in self.hosts:
            return
        host = self._host(name)
        state = EVENTS[kind]
        if kind in ("failed", "put_back", "not_put_back"):
            serves = True if kind == "put_back" else event.get("serves")
            if serves is None and kind == "failed":
                self._state(at, name, ROLLING_BACK)
                return
            host.serves = bool(serves)
            state = ROLLED_BACK if serves and host.went_back else FAILED
        if host.state == state and host.ended is not None:
            return
        host.ended = at
        seconds = host.seconds(at)
        self._state(at, name, state, f" in {seconds:.1f} s" if seconds and state == DONE else "")

    def _deployed(self, at: float, name: str, said: Mapping[str, Any]) -> None:
        """The result of a service, as the role says it."""
        service = self._host(name)
        if service.ended is not None:
            return
        service.began, service.ended = at if service.began is None else service.began, at
        back = bool((service.deployment or {}).get("rolled_back_to"))
        failed = said.get("result") != "succeeded"
        seconds = service.seconds(at)
        self._state(
            at,
            name,
            (ROLLED_BACK if back else FAILED) if failed else DONE,
            f" in {seconds:.1f} s" if not failed else "",
        )

    def _failure(self, at: float, host: str, step: str, status: str, result: Mapping[str, Any]) -> None:
        message = result.get("msg") or ("unreachable" if status == "unreachable" else "no reason was given")
        lines = results.strings(message) or [clean(str(message))]
        log = tuple(results.strings(result.get("log")))
        exit_code = result.get("exit_code")
        if step == "deploy":
            exit_code, lines_of_task = results.failed_task(result)
            log = tuple(lines_of_task)
        if step in ("fail", "assert"):
            if not host:
                self.words = tuple(lines)
                self._news.append(News(at, "", f"failed: {first_line(self.words[0])}", bad=True))
            return
        cause = results.without_log("\n".join(lines), log)
        self.failures.append(Failure(at, host, step, cause, exit_code if isinstance(exit_code, int) else None, log))
        self._news.append(News(at, host, f"{step} failed: {first_line(cause)}", bad=True))
