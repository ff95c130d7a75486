# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout does next: the order of hosts, the size of batches, and what a failure means.

A Rollout is a value. advance() returns the next step, after() returns the rollout with the result of that step:

    rollout = begin(fleet, wanted, policy)
    step, rollout = rollout.advance()                   # update host-2
    rollout = rollout.after(Event("done", "host-2"))
    step, rollout = rollout.advance()                   # update host-3, host-4
    …                                                   # hand_over, update the former leader, end

The rules, for any fleet and any sequence of events:

- A host that runs the wanted digest and is not draining is left alone. An interrupted rollout left a draining host
  so: it comes first and is finished.
- A host that an operator keeps out of service is not touched: a rollout of it must not begin.
- At no time are fewer than min_in_service hosts in service, or more than max_unavailable out of it.
- The leader is never updated. It comes last and alone, after one handover to a host that is already updated. There is
  no second one. A fleet of one host has no host to hand over to, and a fleet that does not elect has no leader.
- A host that becomes leader before it is drained is put off to the end, once.
- With a canary, no more hosts than its share run the wanted digest until it was compared, once, with the other hosts.
  A canary that is condemned is put back, unless on_failure is stop.
- After a failure no host is updated any more. All hosts that left their old digest are put back, also those that the
  unfinished rollout updated which this one resumes. A host that it left out of service is put back unless on_failure is
  stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Union

from .policy import Policy, at_least, at_most, is_set

ANSWERS = {
    "update": ("done", "failed", "unreachable", "put_off", "refused"),
    "put_back": ("put_back", "not_put_back", "unreachable"),
    "hand_over": ("handed_over", "handover_failed"),
    "judge": ("promoted", "condemned", "unreachable"),
}

# A digest that all hosts are to run, or one for each by name.
Wanted = Union[str, Mapping[str, str]]


@dataclass(frozen=True)
class FleetHost:
    """What is known of one host of the fleet. digest is None if it runs nothing or if that is not known.

    before is the digest that it ran before this rollout, or before the unfinished one that this one resumes.
    kept_out says by whom and why it is kept out of service, such as for maintenance; draining is true then, too.
    """

    name: str
    digest: str | None
    healthy: bool = True
    draining: bool = False
    leads: bool = False
    kept_out: str = ""
    before: str | None = None

    @property
    def serves(self) -> bool:
        return self.healthy and not self.draining


@dataclass(frozen=True)
class Step:
    """What to do next; hosts are named in order.

    update: drain, swap, gate and admit these, all at the same time. Answered by done, failed, unreachable, put_off or
    refused for each. A host that fails is put back within its own step, unless on_failure is stop.
    hand_over: from hosts[0] to the first of candidates that can lead. Answered by handed_over or
    handover_failed.
    judge: compare the updated hosts with the others, candidates. Answered by promoted or condemned for each.
    put_back: these to their previous digest. Answered by put_back or not_put_back for each.
    wait: for the answers about these.
    end: result is succeeded or failed; words say why, and in which state the hosts are left.
    """

    kind: str
    hosts: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    result: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """The result of a step.

    done: the host runs the wanted digest and is in service.
    failed: it does not; serves says whether the old one is in service again.
    unreachable: its state is not known.
    put_off: it became leader, and was not touched.
    refused: the permit was not given, and it was not touched.
    handed_over: this host leads now; without a host, none does.
    handover_failed: leadership is where it was.
    promoted, condemned: the canary's verdict, with the same words for each of the compared hosts.
    put_back, not_put_back: an updated host runs its old digest and is in service again, or is not.

    Events at any time:

    leader: this host leads; without a host, none does.
    out_of_service: a host fails that is not being updated.
    lock_lost: another rollout may change the fleet.
    """

    kind: str
    host: str = ""
    serves: bool = False
    words: str = ""


@dataclass(frozen=True)
class Rollout:
    """A rollout at one moment. The sets hold names of hosts."""

    policy: Policy
    hosts: tuple[str, ...]
    pending: tuple[str, ...]
    skipped: tuple[str, ...]
    serving: frozenset[str]
    updated: frozenset[str]
    leader: str = ""
    # Updated by the unfinished rollout that this one resumes.
    inherited: tuple[str, ...] = ()
    # Left out of service by that rollout.
    left_out: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    in_work: frozenset[str] = frozenset()
    work: str = ""
    # Those of in_work that were in service before.
    taken_out: frozenset[str] = frozenset()
    put_off: frozenset[str] = frozenset()
    restored: frozenset[str] = frozenset()
    batches_begun: int = 0
    handovers: int = 0
    handing_over: bool = False
    judged: bool = False
    condemned: bool = False
    lock_lost: bool = False
    unrestored: bool = False
    failures: tuple[str, ...] = field(default=())

    def advance(self) -> tuple[Step, Rollout]:
        """The next step, and the rollout in which it has begun."""
        if self.in_work or self.handing_over:
            return Step("wait", self._in_order(self.in_work)), self
        if self.failures:
            return self._after_a_failure()
        followers = self.followers()
        if self.to_be_judged():
            return self._judge()
        if followers:
            return self._update(self.batch(followers))
        if self.pending:
            return self._leader_last()
        return Step("end", result="succeeded", words=(self._count_of_done(),)), self

    def after(self, event: Event) -> Rollout:
        """The rollout after the event; ValueError for a result of a step that has not begun."""
        host = event.host
        if any(event.kind in answers for answers in ANSWERS.values()):
            asked = self.handing_over if event.kind in ANSWERS["hand_over"] else host in self.in_work
            if not asked or event.kind not in ANSWERS[self.work]:
                raise ValueError(f"{event.kind}: no such step has begun for {host or 'the fleet'}")
        if host and host not in self.hosts:
            raise ValueError(f"{event.kind}: {host} is not in the fleet")
        handler = getattr(self, f"_on_{event.kind}", None)
        if handler is None:
            raise ValueError(f"there is no event {event.kind}")
        rollout: Rollout = handler(event)
        return rollout

    # The rules.

    def followers(self) -> tuple[str, ...]:
        """The hosts to update before the leader; those out of service come first."""
        alone = len(self.hosts) == 1
        left = [host for host in self.pending if alone or host != self.leader]
        return tuple(sorted(left, key=lambda host: host in self.serving))

    def room(self) -> int:
        """How many hosts in service may be taken out of it now."""
        out_of_service = len(self.hosts) - len(self.serving)
        above_minimum = len(self.serving) - at_least(self.policy.min_in_service, len(self.hosts))
        return min(above_minimum, at_most(self.policy.max_unavailable, len(self.hosts)) - out_of_service)

    def batch(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """The next batch of them, as large as allowed; empty where no host may be taken out."""
        sizes = self.policy.batches
        size = at_most(sizes[min(self.batches_begun, len(sizes) - 1)], len(self.hosts))
        size = min(size, at_most(self.policy.max_unavailable, len(self.hosts)), self.canaries_left())
        room = max(self.room(), 0)
        chosen: list[str] = []
        for host in candidates:
            cost = 1 if host in self.serving else 0
            if len(chosen) < size and cost <= room:
                chosen.append(host)
                room -= cost
        return tuple(chosen)

    def canaries_left(self) -> int:
        """How many hosts may be updated before the verdict; without a verdict to come, any number."""
        if self.judged or self.failures or not is_set(self.policy.canary):
            return len(self.hosts)
        return at_most(self.policy.canary, len(self.hosts)) - len(self.updated & self.serving)

    def to_be_judged(self) -> bool:
        if self.judged or not is_set(self.policy.canary) or not self.pending:
            return False
        return self.canaries_left() <= 0 or not self.followers()

    def on_new_image(self) -> tuple[str, ...]:
        """Hosts that left their old digest in this rollout or the one that it resumes, in order."""
        return (*self.inherited, *self.done)

    def may_hand_over(self) -> bool:
        return self.handovers == 0

    def may_be_put_off(self, host: str) -> bool:
        return host not in self.put_off

    # Steps.

    def _update(self, batch: tuple[str, ...]) -> tuple[Step, Rollout]:
        if not batch:
            return self._fail(self.no_room()).advance()
        return Step("update", batch), replace(self, batches_begun=self.batches_begun + 1)._take_out("update", batch)

    def _judge(self) -> tuple[Step, Rollout]:
        canaries, others = self.updated & self.serving, self.serving - self.updated
        if not canaries or not others:
            missing = "updated" if not canaries else "other"
            return self._fail(f"The canary can't be judged: no {missing} host is in service.").advance()
        step = Step("judge", self._in_order(canaries | others), self._in_order(others))
        return step, replace(self, work="judge", judged=True, in_work=canaries | others)

    def _leader_last(self) -> tuple[Step, Rollout]:
        candidates = self._in_order((self.updated & self.serving) - {self.leader})
        if not self.may_hand_over():
            words = (
                f"{self.leader} leads again after the handover, and a rollout hands over only once: run it again later."
            )
            return self._fail(words).advance()
        if not candidates:
            return self._fail(f"{self.leader} leads, and no updated host is in service to take over.").advance()
        if not self.batch([self.leader]):  # Checked before the handover, which would be useless.
            return self._fail(self.no_room()).advance()
        step = Step("hand_over", (self.leader,), candidates)
        return step, replace(self, work="hand_over", handovers=self.handovers + 1, handing_over=True)

    def _after_a_failure(self) -> tuple[Step, Rollout]:
        words = list(self.failures)
        all_back = self.policy.on_failure == "rollback_all" or (self.condemned and self.policy.on_failure != "stop")
        updated = [host for host in reversed(self.on_new_image()) if host not in self.restored]
        left_out = [host for host in self.left_out if host in self.pending and host != self.leader]
        if self.policy.on_failure == "stop":
            left_out = []
        if self.lock_lost:
            all_back, left_out = False, []
        elif all_back and self.leader in updated and len(self.hosts) > 1:
            updated.remove(self.leader)
            words.append(f"{self.leader} leads and stays on the new image: a rollout hands over only once.")
        to_do = [*left_out, *(updated if all_back else [])]
        if to_do and not self.unrestored:
            batch = self.batch(to_do)
            if batch:
                return Step("put_back", batch), self._take_out("put_back", batch)
            words.append("No host can be taken out of service to be put back.")
        if left_out:
            words.append(f"Still out of service: {', '.join(left_out)}.")
        if all_back and updated:
            words.append(f"Still on the new image: {', '.join(updated)}.")
        elif updated and not all_back:
            words.append(f"On the new image: {', '.join(reversed(updated))}.")
        if self.pending:
            words.append(f"Not touched: {', '.join(self.pending)}.")
        return Step("end", result="failed", words=tuple(words)), self

    # Events.

    def _on_done(self, event: Event) -> Rollout:
        host = event.host
        rollout = self._back(host, serves=True)
        return replace(
            rollout,
            pending=_without(rollout.pending, host),
            updated=rollout.updated | {host},
            done=(*rollout.done, host),
        )

    def _on_failed(self, event: Event) -> Rollout:
        rollout = self._back(event.host, serves=event.serves)
        rollout = replace(rollout, pending=_without(rollout.pending, event.host))
        state = "Its previous image serves again." if event.serves else "It is out of service."
        return rollout._fail(f"{event.host} failed{_because(event)}. {state}")

    def _on_unreachable(self, event: Event) -> Rollout:
        rollout = self._back(event.host, serves=False)
        rollout = replace(rollout, pending=_without(rollout.pending, event.host))
        rollout = replace(rollout, unrestored=rollout.unrestored or event.host in rollout.on_new_image())
        return rollout._fail(f"{event.host} can't be reached{_because(event)}.")

    def _on_put_off(self, event: Event) -> Rollout:
        host = event.host
        rollout = replace(self._back(host, serves=host in self.taken_out), leader=host)
        if not self.may_be_put_off(host):
            return rollout._fail(f"{host} became the leader for the second time: leadership keeps moving.")
        return replace(
            rollout,
            put_off=rollout.put_off | {host},
            pending=(*_without(rollout.pending, host), host),
        )

    def _on_refused(self, event: Event) -> Rollout:
        rollout = self._back(event.host, serves=event.host in self.taken_out)
        return rollout._fail(f"{event.host} was not allowed to leave service{_because(event)}.")

    def _on_leader(self, event: Event) -> Rollout:
        rollout = replace(self, leader=event.host)
        return rollout if event.host or not self.policy.elects else rollout._fail("No gateway leads.")

    def _on_handed_over(self, event: Event) -> Rollout:
        rollout = replace(self, leader=event.host, handing_over=False)
        if event.host in ("", self.leader):
            return rollout._fail(f"{event.host or 'No gateway'} leads after the handover.")
        return rollout

    def _on_handover_failed(self, event: Event) -> Rollout:
        return replace(self, handing_over=False)._fail(f"{self.leader} did not hand over{_because(event)}.")

    def _on_promoted(self, event: Event) -> Rollout:
        return replace(self, in_work=self.in_work - {event.host})

    def _on_condemned(self, event: Event) -> Rollout:
        rollout = replace(self, in_work=self.in_work - {event.host}, condemned=True)
        words = f"The canary is not promoted{_because(event)}."
        return rollout if words in self.failures else rollout._fail(words)

    def _on_put_back(self, event: Event) -> Rollout:
        rollout = self._back(event.host, serves=True)
        return replace(
            rollout,
            pending=_without(rollout.pending, event.host),
            restored=rollout.restored | {event.host},
            updated=rollout.updated - {event.host},
        )

    def _on_not_put_back(self, event: Event) -> Rollout:
        rollout = replace(self._back(event.host, serves=event.serves), unrestored=True)
        return rollout._fail(f"{event.host} could not be put back{_because(event)}.")

    def _on_out_of_service(self, event: Event) -> Rollout:
        rollout = replace(self, serving=self.serving - {event.host}, taken_out=self.taken_out - {event.host})
        return rollout._fail(f"{event.host} went out of service{_because(event)}.")

    def _on_lock_lost(self, event: Event) -> Rollout:
        return replace(self, lock_lost=True)._fail(f"The lock on the fleet was lost{_because(event)}.")

    # Helpers.

    def _take_out(self, work: str, batch: tuple[str, ...]) -> Rollout:
        taken = frozenset(batch)
        return replace(self, work=work, in_work=taken, taken_out=taken & self.serving, serving=self.serving - taken)

    def _back(self, host: str, *, serves: bool) -> Rollout:
        return replace(
            self,
            in_work=self.in_work - {host},
            taken_out=self.taken_out - {host},
            serving=self.serving | {host} if serves else self.serving - {host},
        )

    def _fail(self, words: str) -> Rollout:
        return replace(self, failures=(*self.failures, words))

    def no_room(self) -> str:
        return (
            f"{len(self.serving)} of {len(self.hosts)} hosts are in service: with min_in_service "
            f"{self.policy.min_in_service} and max_unavailable {self.policy.max_unavailable} "
            "no host may be taken out of service."
        )

    def _count_of_done(self) -> str:
        return f"Updated: {len(self.done)}. Already on the image: {len(self.skipped)}."

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = frozenset(names)
        return tuple(host for host in self.hosts if host in wanted)


def planned_steps(rollout: Rollout) -> list[Step]:
    """All its steps if nothing fails, including the end: the plan to show."""
    steps: list[Step] = []
    while True:
        step, rollout = rollout.advance()
        steps.append(step)
        if step.kind == "end":
            return steps
        if step.kind == "hand_over":
            rollout = rollout.after(Event("handed_over", step.candidates[0]))
        for host in step.hosts if step.kind != "hand_over" else ():
            rollout = rollout.after(Event(ANSWERS[step.kind][0], host))


def replay(rollout: Rollout, events: Iterable[Event]) -> Step:
    """The next step after these events since the beginning; for callers that keep events, not a Rollout."""
    answers = {kind for kinds in ANSWERS.values() for kind in kinds}
    for event in events:
        # A result follows the begin of its step. Other events may come before a step begins, and change it.
        if event.kind in answers and not rollout.in_work and not rollout.handing_over:
            rollout = rollout.advance()[1]
        rollout = rollout.after(event)
    return rollout.advance()[0]


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


def _because(event: Event) -> str:
    return f": {event.words.rstrip('.')}" if event.words else ""
