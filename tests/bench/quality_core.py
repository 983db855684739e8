"""One plan through the real core in virtual time: fold, decide, coalesce and encode as the scheduler does them.

Tasks take exactly as long as the instance says; nothing else takes time. So what comes out is the quality of the order
alone, and it is the same on every machine.
"""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from pto_core.coalesce import coalesce
from pto_core.decide import Decision, decide
from pto_core.fold import evolve
from pto_core.intake import Asked, answer
from pto_core.state import State
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import PLAN_TASK, InstanceId, Lane, RunId
from pto_proto.plans import Plan
from pto_proto.requests import RunRequested

from .quality_shapes import Instance, plan_of, position_of

RUN = RunId("quality")
LANES = {"planner": ("plan",), "consolidator": ("merge",), "local": ("noop",)}


class Span(NamedTuple):
    """When one task ran, in ms since the first hand-out."""

    task: int
    slot: int
    start_ms: int
    end_ms: int


class Schedule(NamedTuple):
    """What the core made of a plan."""

    spans: tuple[Span, ...]
    makespan_ms: int


def schedule(workflow: Instance, executors: int, estimates_s: Sequence[float | None]) -> Schedule:
    """Run the plan with these estimates (not the true run times) on this many executors."""
    return _System(plan_of(workflow, estimates_s), executors).run([piece.runtime_ms for piece in workflow.pieces])


def exact(workflow: Instance) -> list[float | None]:
    """Estimates that are all true."""
    return [piece.runtime_ms / 1000 for piece in workflow.pieces]


class _System:
    """The core with a list as its log and a heap of ends as its dispatchers."""

    def __init__(self, plan: Plan, executors: int) -> None:
        self._plan = plan
        self._state = State()
        self._now = 0
        self._seq = 0
        self._ends: list[tuple[int, int, Lane, ev.TaskReady]] = []
        self._spans: list[Span] = []
        epoch = ev.SchedulerEpochStarted(at=0, epoch=1, instance="s", incarnation="i", schema_level=ev.SCHEMA_LEVEL)
        self._write([Decision(None, None, epoch)])
        for lane, can_run in LANES.items():
            up = ev.DispatcherUp(
                at=0, instance=InstanceId(lane), incarnation="1", capacity=max(2, executors), can_run=can_run
            )
            self._write([Decision(Lane(lane), None, up)])
        request = RunRequested(run=RUN, name=plan.name, plan=plan, max_executors=executors)
        accepted = answer(self._state, Asked(seq=1, request_id="q", request=request), 0)
        assert accepted is not None
        self._write([accepted])

    def run(self, runtimes_ms: Sequence[int]) -> Schedule:
        state = self._state
        while state.active:
            while decisions := decide(state, self._now):
                state.touched.clear()
                self._write(decisions)
                for lane, _, entry in decisions:
                    if isinstance(entry, ev.TaskReady):
                        self._start(lane or Lane("_"), entry, runtimes_ms)
            if not self._ends:
                break
            self._now = self._ends[0][0]
            ended = []
            while self._ends and self._ends[0][0] == self._now:
                _, _, lane, ready = heappop(self._ends)
                ended += self._end(lane, ready)
            self._write(ended)
        run = state.runs[RUN]
        assert run.phase is RunPhase.SUCCEEDED, f"the run ended as {run.phase.value}"
        return Schedule(tuple(self._spans), max(span.end_ms for span in self._spans))

    def _start(self, lane: Lane, ready: ev.TaskReady, runtimes_ms: Sequence[int]) -> None:
        end = self._now
        if lane == "local":
            position = position_of(ready.task)
            end += runtimes_ms[position]
            self._spans.append(Span(position, ready.slot, self._now, end))
        self._seq += 1
        heappush(self._ends, (end, self._seq, lane, ready))

    def _end(self, lane: Lane, ready: ev.TaskReady) -> Iterator[Decision]:
        what = {"at": self._now, "task": ready.task, "attempt": ready.attempt}
        if ready.task == PLAN_TASK:
            tasks = self._plan.tasks
            yield Decision(lane, RUN, ev.TaskPlanned(at=self._now, plan_digest="d", part=0, parts=1, tasks=tasks))
            planned = ev.PlanFinished(**what, plan_digest="d", name="q", parts=1, task_count=len(tasks))
            yield Decision(lane, RUN, planned)
        elif lane == "consolidator":
            yield Decision(lane, RUN, ev.RunConsolidated(**what, tree_digest="t", manifest="m", files=0, lines=0))
        yield Decision(lane, RUN, ev.TaskFinished(**what, instance=ready.instance, outcome="succeeded"))

    def _write(self, decisions: Sequence[Decision]) -> None:
        for message in coalesce(decisions, prefix=str(self._state.seq), source="quality"):
            evolve(self._state, self._state.seq + 1, decode_event(message.data))
