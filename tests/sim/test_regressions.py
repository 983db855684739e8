"""What the simulation found in the product, each with the seed that showed it first, and as small as it gets.

A seed means another world as soon as the drawing of worlds changes; so each finding is told here without one.
"""

import msgspec

from pto_core.decide import decide
from pto_core.fold import evolve
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import LANE_LOCAL, LANE_PLANNER, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested

RUN = RunId("run-001")
WORKER = InstanceId("local-1")


class Log:
    """A log that is folded as it is written."""

    def __init__(self) -> None:
        self.state = State()
        self.seq = 0

    def write(self, *entries: ev.Entry, lane: Lane | None = None, run: RunId | None = RUN) -> None:
        self.seq += 1
        event = Event(id=f"{self.seq}", source="t", kind=type(entries[0]), lane=lane, run=run, entries=entries)
        evolve(self.state, self.seq, event)

    def running(self, *tasks: str) -> "Log":
        """A run of these tasks, all handed out."""
        self.write(ev.DispatcherUp(at=1, instance=WORKER, incarnation="i", capacity=8), lane=LANE_LOCAL, run=None)
        self.write(ev.RunAccepted(at=1, content_digest="c", request=RunRequested(run=RUN)))
        specs = tuple(TaskSpec(id=TaskId(task), noop=True) for task in tasks)
        self.write(ev.TaskPlanned(at=1, plan_digest="d", part=0, parts=1, tasks=specs), lane=LANE_PLANNER)
        plan = ev.PlanFinished(at=1, task="_plan", attempt=1, plan_digest="d", name="", parts=1, task_count=len(specs))
        self.write(plan, lane=LANE_PLANNER)
        self.write(ev.PlanSettled(at=1, plan_digest="d"))
        self.write(
            *(ev.TaskReady(at=1, task=spec.id, attempt=1, instance=WORKER, spec=spec) for spec in specs),
            lane=LANE_LOCAL,
        )
        return self


def ended(task: str, attempt: int = 1, outcome: ev.Outcome = "succeeded") -> ev.TaskFinished:
    return ev.TaskFinished(at=2, task=TaskId(task), attempt=attempt, instance=WORKER, outcome=outcome)


def test_ends_beside_an_entry_that_does_not_fit_still_count() -> None:
    """Seed 2097: an end that shared its event with one of an attempt never ordered was lost, and the cancelled run
    waited for it for ever.
    """
    log = Log().running("a", "b")
    log.write(ev.RunCancelling(at=2))
    log.write(ended("a", outcome="cancelled"), ended("a", 2), ended("b", outcome="cancelled"), lane=LANE_LOCAL)
    assert not log.state.runs[RUN].open
    assert any(isinstance(decision.entry, ev.RunFinished) for decision in decide(log.state, 3))


def test_decisions_come_in_the_same_order_in_every_process() -> None:
    """Seed 30: the order of one tick's entries depended on how Python hashes names, so that the same state gave
    another tick in another process.
    """
    log = Log().running("a")
    names = [RunId(f"run-{number:03d}") for number in range(100, 120)]
    for name in names:
        log.write(ev.RunAccepted(at=2, content_digest="c", request=RunRequested(run=name)), run=name)
        log.write(ev.RunCancelling(at=2), run=name)
    found = [decision.run for decision in decide(log.state, 3) if isinstance(decision.entry, ev.RunFinished)]
    assert found == sorted(names)


def test_a_late_plan_may_cross_the_order_to_make_it_again() -> None:
    """A plan came from an attempt that had been given up, at the moment in which the next one was ordered: the order
    did not fit any more and poisoned the run.
    """
    log = Log()
    log.write(ev.DispatcherUp(at=1, instance=WORKER, incarnation="i", capacity=8), lane=LANE_PLANNER, run=None)
    log.write(ev.RunAccepted(at=1, content_digest="c", request=RunRequested(run=RUN)))
    plan = TaskId("_plan")
    order = ev.TaskReady(at=1, task=plan, attempt=1, instance=WORKER, spec=TaskSpec(id=plan))
    log.write(order, lane=LANE_PLANNER)
    log.write(ev.AttemptLost(at=2, task=plan, attempt=1, instance=WORKER), lane=LANE_PLANNER)
    log.write(ev.TaskRetryScheduled(at=2, task=plan, attempt=1, due_at=2, failure="infra"))
    specs = (TaskSpec(id=TaskId("a"), noop=True),)
    log.write(ev.TaskPlanned(at=3, plan_digest="d", part=0, parts=1, tasks=specs), lane=LANE_PLANNER)
    late = ev.PlanFinished(at=3, task="_plan", attempt=1, plan_digest="d", name="", parts=1, task_count=1)
    log.write(late, lane=LANE_PLANNER)
    log.write(msgspec.structs.replace(order, attempt=2), lane=LANE_PLANNER)
    log.write(ev.PlanSettled(at=3, plan_digest="d"))
    assert log.state.runs[RUN].poisoned is None
    stops = [d.entry for d in decide(log.state, 4) if isinstance(d.entry, ev.AttemptStopRequested)]
    assert [(stop.task, stop.attempt) for stop in stops] == [("_plan", 2)]
