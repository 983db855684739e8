"""Fake executors: what really ran, when, and what they said about it, true or not.

Invariant: how an attempt ends depends on its task's behaviour and on how many of its failures the log holds; lies are
told only after the true end was reported.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from pto_ports.backend import LiveLine, Order, Report
from pto_proto import events as ev
from pto_proto.ids import MERGE_TASK, NO_DIGEST, InstanceId, digest_of
from pto_proto.results import CheckResult
from pto_proto.subjects import lane_filter

from .agents import bill, retry_after_s
from .plans import Ask
from .stories import Name

if TYPE_CHECKING:
    from .world import Process, World


@dataclass
class Work:
    """One attempt that runs on a host."""

    order: Order
    name: Name
    timer: asyncio.TimerHandle | None = None
    is_stopping: bool = False


@dataclass
class Host:
    """The machine of one dispatcher instance: it stays when the dispatcher dies."""

    running: dict[Name, Work] = field(default_factory=dict)
    ended: dict[Name, tuple[Order, tuple[ev.Entry, ...]]] = field(default_factory=dict)
    """Ends that are not in the log yet, as far as dispatchers said."""
    backend: "FakeBackend | None" = None


@dataclass
class Ledger:
    """What executors really did."""

    starts: dict[Name, list[tuple[float, str]]] = field(default_factory=dict)
    """Attempt -> (moment, incarnation) of each start of its work."""


def identity(order: Order, at: int) -> dict[str, Any]:
    """The fields that every entry about this attempt has."""
    ready = order.ready
    return {"at": at, "cause": order.seq, "task": ready.task, "attempt": ready.attempt, "round": ready.round}


def name_of(order: Order) -> Name:
    return (order.run, order.ready.task, order.ready.round, order.ready.attempt)


class FakeBackend:
    """The Backend port of one dispatcher process."""

    def __init__(
        self, world: "World", process: "Process", host: Host, abilities: tuple[str, ...], *, survives: bool
    ) -> None:
        """``survives``: whether attempts outlive their dispatcher and are found again."""
        self._world = world
        self._process = process
        self._life = process.life
        self._wire = process.wire
        self._host = host
        self._abilities = abilities
        self._random: Random = world.random
        self._report: Report | None = None
        self.instance = InstanceId(process.name)
        host.backend = self
        self._survives = survives
        if not survives:
            self._life.at_death.append(self._die)

    @property
    def is_listening(self) -> bool:
        """Whether its dispatcher lives and takes reports."""
        return not self._life.is_dead and self._report is not None

    @property
    def context(self) -> Context:
        return self._life.context

    def _later(self, delay: float, act: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        """On the host, which may outlive the dispatcher."""
        context = self._world.outside if self._survives else self._life.context
        return self._world.loop.call_later(delay, act, *args, context=context)

    def can_run(self) -> tuple[str, ...]:
        return self._abilities

    async def open(self, report: Report, live: LiveLine) -> None:
        self._report = report

    async def close(self) -> None:
        pass

    async def start(self, order: Order) -> None:
        world, name = self._world, name_of(order)
        self._check_start(order, name)
        world.ledger.starts.setdefault(name, []).append((world.loop.time(), self._life.incarnation))
        world.trace(f"{self.instance}: starts {name[1]}.{name[3]} of {name[0]}")
        work = self._host.running[name] = Work(order, name)
        behaviour = world.asks[order.run].behaviour(order.ready.task)
        took = self._random.uniform(*behaviour.duration_s)
        if self._random.random() < world.profile.manners.slow:
            took += self._random.choice((5.0, 12.0, 40.0))
        self._begin(work, took)

    def _begin(self, work: Work, took: float) -> None:
        order = work.order
        if self._random.random() < 0.9:
            self.say(order, ev.TaskStarted(**identity(order, self._world.clock.now_ms()), instance=self.instance))
        self._tell_of_earlier_round(order)
        work.timer = self._later(took, self._end, work, False)

    async def stop(self, order: Order, reason: str) -> bool:
        work = self._host.running.get(name_of(order))
        if work is None or work.is_stopping:
            return work is not None
        work.is_stopping = True
        assert work.timer is not None
        work.timer.cancel()
        slow = self._random.random() < self._world.profile.manners.dawdle
        took = self._random.choice((2.0, 15.0)) if slow else 0.01
        work.timer = self._later(took, self._end, work, True)
        return True

    async def sweep(self) -> None:
        pass

    def forget(self, order: Order) -> None:
        self._host.ended.pop(name_of(order), None)

    async def adopt(self, order: Order) -> bool:
        name = name_of(order)
        if name in self._host.ended:
            order, entries = self._host.ended[name]
            self.say(order, *entries)
            return True
        return name in self._host.running

    # --- one attempt ---

    def _check_start(self, order: Order, name: Name) -> None:
        """No attempt starts twice, nor after its dispatcher read that it must not."""
        world = self._world
        what = f"{name[1]}.{name[3]} of {name[0]} starts at {world.loop.time():.3f} in {self.instance}"
        if name in world.ledger.starts:
            world.complain(f"promise 2: {what}, and started before: {world.ledger.starts[name]}")
        attempt = world.judge.attempts.get(name)
        if attempt is None:
            world.complain(f"promise 4: {what}, and was never handed out")
            return
        if attempt.instance != self.instance:
            world.complain(f"promise 4: {what}, and was handed out to {attempt.instance}")
        read = self._wire.read_up_to.get(lane_filter(attempt.lane), 0)
        for seq in (attempt.stop_seq, attempt.end_seq):
            if 0 < seq <= read:
                world.complain(f"promise 4: {what}, which had read at {seq} that it must not")
        woke_at = self._life.hearing.woke_at
        if attempt.outcome == "lost" and world.stored_at[attempt.end_seq - 1] < woke_at:
            world.complain(f"promise 3: {what}, was given up at {attempt.end_seq} while its dispatcher slept")

    def _end(self, work: Work, is_stopped: bool) -> None:
        self._host.running.pop(work.name, None)
        order, now = work.order, self._world.clock.now_ms()
        base = identity(order, now)
        failure, entries = self._outcome(order, is_stopped), []
        if order.ready.task == MERGE_TASK and failure is None:
            entries.append(merged_by(self._world.asks[order.run], base))
        entries.append(self._finished(order, failure))
        self._tell(work.order, tuple(entries))

    def _tell(self, order: Order, entries: tuple[ev.Entry, ...]) -> None:
        backend = self._host.backend
        self._host.ended[name_of(order)] = (order, entries)
        if backend is not None and backend.is_listening:
            self._world.loop.call_soon(backend._tell_all, order, entries, context=backend.context)

    def _tell_all(self, order: Order, entries: tuple[ev.Entry, ...]) -> None:
        self.say(order, *entries)
        self._lie(order, entries)

    def _outcome(self, order: Order, is_stopped: bool) -> ev.FailureClass | None:
        if is_stopped:
            return "cancelled"
        if self._is_walled(order):
            return "capacity"
        story = self._world.judge.runs[order.run].story(order.ready.task)
        before = [a for a in story.attempts if a.ready_seq < order.seq]
        last_success = max([at for at, a in enumerate(before) if a.outcome == "succeeded"], default=-1)
        counted = sum(a.is_own and a.failure != "cancelled" for a in before[last_success + 1 :])
        behaviour = self._world.asks[order.run].behaviour(order.ready.task)
        failures = behaviour.failures if last_success < 0 else behaviour.again
        return failures[counted] if counted < len(failures) else None

    def _is_walled(self, order: Order) -> bool:
        return bool(order.ready.spec.agent) and self._world.loop.time() < self._world.wall_until_s

    def _finished(self, order: Order, failure: ev.FailureClass | None) -> ev.TaskFinished:
        base = identity(order, self._world.clock.now_ms())
        cost = bill(self._random, order.ready.reserved_usd)
        if failure is None:
            digest = output_of(self._world.asks[order.run], order.ready)
            return ev.TaskFinished(
                **base, instance=self.instance, outcome="succeeded", manifest=digest, tree=digest, cost_usd=cost
            )
        outcome: ev.Outcome = "cancelled" if failure == "cancelled" else "failed"
        return ev.TaskFinished(
            **base, instance=self.instance, outcome=outcome, failure=failure, reason=f"executor says {failure}",
            cost_usd=cost, retry_after_s=0.0 if self._is_walled(order) else retry_after_s(self._random, failure),
            **self._fault(order, failure),
        )  # fmt: skip

    def _fault(self, order: Order, failure: ev.FailureClass) -> dict[str, Any]:
        """What else the executor knows about this failure."""
        return {}

    def _die(self) -> None:
        """The attempts die with their dispatcher."""
        for work in self._host.running.values():
            if work.timer is not None:
                work.timer.cancel()
        self._host.running.clear()
        self._host.ended.clear()

    # --- lies ---

    def _lie(self, order: Order, entries: tuple[ev.Entry, ...]) -> None:
        manners, random, world = self._world.profile.manners, self._random, self._world
        ready = order.ready
        if random.random() < manners.twice:
            started = ev.TaskStarted(**identity(order, world.clock.now_ms()), instance=self.instance)
            self.say(order, started, *entries)
        if random.random() < manners.contradict:
            ends = (None, "task", "cancelled", "infra")
            self.say(order, self._finished(order, random.choice(ends)))
        if random.random() < manners.stale and ready.attempt > 1:
            fields = {"attempt": ready.attempt - 1}
            stale = self._finished(order, random.choice((None, "task")))
            self.say(order, ev.TaskFinished(**{**_fields(stale), **fields}))
        if random.random() < manners.late:
            again = self._finished(order, random.choice((None, "task")))
            world.loop.call_later(random.uniform(5.0, 60.0), self.say, order, again, context=self._life.context)
        if random.random() < manners.unheard:
            world.trace(f"{self.instance}: reports {ready.task}.{ready.attempt + 1}, which was never ordered")
            unheard = self._finished(order, None)
            self.say(order, ev.TaskFinished(**{**_fields(unheard), "attempt": ready.attempt + 1}))

    def _tell_of_earlier_round(self, order: Order) -> None:
        """The end of the round before comes once more while this one goes on."""
        manners, random, ready = self._world.profile.manners, self._random, order.ready
        if ready.round > 0 and random.random() < max(manners.stale, manners.late, manners.twice):
            old = self._finished(order, random.choice((None, None, "task")))
            self.say(order, ev.TaskFinished(**{**_fields(old), "round": ready.round - 1}))

    def say(self, order: Order, *entries: ev.Entry) -> None:
        assert self._report is not None
        self._report(order, *entries)


def output_of(ask: Ask, ready: ev.TaskReady) -> str:
    """What an attempt's outputs are named by: the same in every world for the same round and the same trees."""
    if ready.task.startswith("_"):
        return NO_DIGEST
    behaviour = ask.behaviour(ready.task)
    round_ = 0 if behaviour.is_steady else ready.round
    seen = () if behaviour.is_absorbing else ready.trees
    return digest_of(f"{ask.run}/{ready.task}/{round_}/{seen}".encode())


def merged_by(ask: Ask, base: dict[str, Any]) -> ev.RunConsolidated:
    """What the merge of this round says."""
    merged = ev.RunConsolidated(**base, tree_digest="t", manifest="m", files=0, lines=0)
    if base["round"] >= len(ask.reds):
        return merged
    culprit = ask.reds[base["round"]]
    red = CheckResult(command="check", passed=False, exit_code=1)
    return msgspec.structs.replace(merged, checks=(red,), culprit=culprit, evidence=f"{culprit} {base['round']}")


def _fields(entry: ev.TaskFinished) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}
