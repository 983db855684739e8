"""Drives the pure core without any input or output: a list as the log, dispatchers as functions."""

import random
from collections.abc import Callable

from pto_core.decide import Decision, decide, next_due
from pto_core.fold import evolve
from pto_core.intake import Asked, answer
from pto_core.money import FIRST_ESTIMATES, Estimates
from pto_core.reuse import index_of, reused_tasks, wants_reuse
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import InstanceId, Lane, RunId
from pto_proto.plans import Plan
from pto_proto.requests import AnyRequest, RunRequested
from pto_proto.reuse import Reusable

Behaviour = Callable[[ev.TaskReady, int], ev.TaskFinished | None]
"""What becomes of an attempt; None: it goes on for ever."""


def succeed(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
    return ev.TaskFinished(
        at=now, task=ready.task, attempt=ready.attempt, round=ready.round, instance=ready.instance, outcome="succeeded"
    )


def fail(failure: ev.FailureClass = "task") -> Behaviour:
    def finish(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        return ev.TaskFinished(
            at=now, task=ready.task, attempt=ready.attempt, round=ready.round, instance=ready.instance,
            outcome="failed", failure=failure, reason="it failed",
        )  # fmt: skip

    return finish


class Driver:
    """One system: ``tick`` decides once and lets the fakes act on what was decided."""

    def __init__(self, plan: Plan | None = None, *, capacity: int = 100, seed: int = 0) -> None:
        self.state = State()
        self.log: list[bytes] = []
        self.now = 1_000_000
        self.plan = plan
        self.seen_inputs: tuple[str, ...] = ()
        self.listed: list[Reusable] = []
        """What every run that asks for reuse names in its list."""
        self.behaviours: dict[str, list[Behaviour]] = {}
        self.otherwise: Behaviour = succeed
        self.estimates: Estimates = FIRST_ESTIMATES
        self.out: list[tuple[Lane, RunId, ev.TaskReady]] = []
        self.max_out: dict[RunId, int] = {}
        self.order: list[str] = []
        self.random = random.Random(seed)
        self.requests = 0
        self.write(
            None, None, ev.SchedulerEpochStarted(at=self.now, epoch=1, instance="s", incarnation="i", schema_level=1)
        )
        for lane, can_run in (
            ("planner", ("plan",)),
            ("consolidator", ("merge",)),
            ("local", ("noop", "command", "agent:simulated")),
        ):
            up = ev.DispatcherUp(
                at=self.now, instance=InstanceId(f"{lane}-1"), incarnation="1", capacity=capacity, can_run=can_run
            )
            self.write(Lane(lane), None, up)

    def write(self, lane: Lane | None, run: RunId | None, *entries: ev.Entry) -> None:
        event = Event(id=f"e{len(self.log)}", source="test", kind=type(entries[0]), lane=lane, run=run, entries=entries)
        data = encode_event(event)
        self.log.append(data)
        evolve(self.state, len(self.log), decode_event(data))

    def ask(self, request: AnyRequest) -> Decision | None:
        self.requests += 1
        decision = answer(
            self.state, Asked(seq=self.requests, request_id=f"q{self.requests}", request=request), self.now
        )
        if decision is not None:
            self.write(*decision)
        return decision

    def start(self, run: str = "run-one", **request: object) -> RunId:
        self.ask(RunRequested(run=RunId(run), name="test", plan=self.plan, **request))
        return RunId(run)

    def tick(self) -> int:
        """Decide, write, and put what was handed out among what is out; returns the number of decisions."""
        runs = [run for run in self.state.active.values() if wants_reuse(run)]
        reused = {run.id: reused_tasks(run, index_of(self.state, run, self.listed), self.now) for run in runs}
        decisions = decide(self.state, self.now, reused=reused, estimates=self.estimates)
        self.state.touched.clear()
        for lane, run, entry in decisions:
            self.write(lane, run, entry)
            if isinstance(entry, ev.TaskReady):
                self.out.append((lane, run, entry))
                self.order.append(entry.task)
                is_out = len(self.state.runs[run].open)
                self.max_out[run] = max(self.max_out.get(run, 0), is_out)
        return len(decisions)

    def act(self) -> bool:
        """Let one attempt that is out end; False if none can."""
        for at in self.random.sample(range(len(self.out)), len(self.out)):
            lane, run, ready = self.out[at]
            left = self.behaviours.get(ready.task, [])
            finished = (left[0] if left else self.otherwise)(ready, self.now)
            if finished is not None:
                if left:
                    left.pop(0)
                del self.out[at]
                self.finish(lane, run, ready, finished)
                return True
        return False

    def finish(self, lane: Lane, run: RunId, ready: ev.TaskReady, finished: ev.TaskFinished) -> None:
        identity = {"at": self.now, "task": ready.task, "attempt": ready.attempt, "round": ready.round}
        self.write(lane, run, ev.TaskStarted(**identity, instance=ready.instance))
        if finished.outcome == "succeeded" and ready.task == "_plan" and self.plan is not None:
            tasks, seen = self.plan.tasks, self.seen_inputs
            part = ev.TaskPlanned(at=self.now, plan_digest="d", part=0, parts=1, tasks=tasks, seen_inputs=seen)
            self.write(lane, run, part)
            planned = ev.PlanFinished(**identity, plan_digest="d", name="test", parts=1, task_count=len(tasks))
            self.write(lane, run, planned)
        if finished.outcome == "succeeded" and ready.task == "_merge":
            merged = ev.RunConsolidated(**identity, tree_digest="t", manifest="m", files=0, lines=0)
            self.write(lane, run, merged)
        self.write(lane, run, finished)

    def drain(self, limit: int = 100_000) -> None:
        """Go on until nothing more happens, jumping over waiting times."""
        for _ in range(limit):
            if self.tick() or self.act():
                continue
            due = next_due(self.state, self.now)
            if due is None:
                return
            self.now = max(self.now, due)
        raise AssertionError("the system does not come to rest")
