"""What readers see of one run: histories and figures from hand-made event lists."""

import pytest

from pto_core import measures
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import LANE_LOCAL, Digest, InstanceId, RunId, TaskId
from pto_proto.plans import Plan, Problem, TaskSpec
from pto_proto.requests import RunRequested

RUN = RunId("run-one")
HOST = InstanceId("local-1")
DIGEST = Digest("d" * 64)


def noop(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), noop=True, depends_on=tuple(map(TaskId, after)))


class Story:
    """Writes events of one run into a view."""

    def __init__(self, *tasks: TaskSpec, executors: int = 2) -> None:
        self.view = RunView()
        self.seq = 0
        self.tell(
            ev.RunAccepted(
                at=1000, content_digest=DIGEST, request=RunRequested(run=RUN, name="n", max_executors=executors)
            )
        )
        self.tell(ev.TaskPlanned(at=1100, plan_digest=DIGEST, part=0, parts=1, tasks=tasks))
        self.tell(
            ev.PlanFinished(
                at=1200,
                task=TaskId("_plan"),
                attempt=1,
                plan_digest=DIGEST,
                name="plan",
                parts=1,
                task_count=len(tasks),
            )
        )
        self.tell(ev.PlanSettled(at=1300, plan_digest=DIGEST))

    def tell(self, entry: ev.Entry, run: RunId = RUN) -> None:
        self.seq += 1
        self.view.apply(
            self.seq, Event(id=str(self.seq), source="t", kind=type(entry), lane=LANE_LOCAL, run=run, entries=(entry,))
        )

    def ready(self, task: str, at: int, attempt: int = 1, slot: int = 0) -> None:
        spec = noop(task)
        self.tell(ev.TaskReady(at=at, task=TaskId(task), attempt=attempt, instance=HOST, slot=slot, spec=spec))

    def started(self, task: str, at: int, attempt: int = 1) -> None:
        self.tell(ev.TaskStarted(at=at, task=TaskId(task), attempt=attempt, instance=HOST))

    def finished(self, task: str, at: int, took: float, outcome: ev.Outcome = "succeeded", attempt: int = 1) -> None:
        failure: ev.FailureClass | None = None if outcome == "succeeded" else "task"
        self.tell(
            ev.TaskFinished(
                at=at,
                task=TaskId(task),
                attempt=attempt,
                instance=HOST,
                outcome=outcome,
                failure=failure,
                duration_s=took,
                reason="" if outcome == "succeeded" else "exit code 1",
            )
        )

    def whole(self, task: str, start: int, end: int, slot: int = 0) -> None:
        self.ready(task, start, slot=slot)
        self.started(task, start)
        self.finished(task, end, (end - start) / 1000)


def test_history_of_a_retried_task_is_kept() -> None:
    story = Story(noop("a"))
    story.ready("a", 2000)
    story.started("a", 2010)
    story.finished("a", 2500, 0.49, "failed")
    story.tell(ev.TaskRetryScheduled(at=2500, task=TaskId("a"), attempt=1, due_at=7500, failure="task"))
    story.ready("a", 7500, attempt=2)
    first, second = story.view.attempts[TaskId("a")]
    assert (first.outcome, first.failure, first.reason, first.retry_at) == ("failed", "task", "exit code 1", 7500)
    assert second.is_out
    assert not second.is_running
    assert measures.retries(story.view) == 1


def test_the_same_fact_twice_changes_nothing() -> None:
    story = Story(noop("a"))
    story.whole("a", 2000, 3000)
    story.finished("a", 9000, 7.0, "failed")
    story.ready("a", 2000)
    (only,) = story.view.attempts[TaskId("a")]
    assert (only.outcome, only.finished_at) == ("succeeded", 3000)
    assert story.view.max_handed_out == 1


def test_a_lost_attempt_stays_lost_when_its_late_result_comes() -> None:
    story = Story(noop("a"))
    story.ready("a", 2000)
    story.tell(ev.AttemptUnknown(at=3000, task=TaskId("a"), attempt=1, instance=HOST))
    assert story.view.attempts[TaskId("a")][0].unknown
    story.tell(ev.AttemptLost(at=4000, task=TaskId("a"), attempt=1, instance=HOST, reason="silent"))
    story.finished("a", 5000, 3.0)
    (only,) = story.view.attempts[TaskId("a")]
    assert (only.outcome, only.reason, only.cost) == ("lost", "silent", 0.0)


def test_events_of_other_runs_are_ignored() -> None:
    story = Story(noop("a"))
    story.tell(ev.RunFinished(at=2000, status="failed", tasks={}), run=RunId("run-two"))
    assert story.view.finished is None


def test_a_refused_request_leaves_no_run() -> None:
    view = RunView()
    refused = ev.RequestRefused(at=1, request_id="q1", kind="RunRequested", reasons=(Problem(where="-m", what="is 0"),))
    view.apply(1, Event(id="1", source="t", kind=ev.RequestRefused, lane=None, run=RUN, entries=(refused,)))
    assert view.run is None
    assert view.refused == [refused]
    assert view.answers == {"q1": refused}


def test_figures_of_a_diamond() -> None:
    story = Story(noop("a"), noop("b", "a"), noop("c", "a"), noop("d", "b", "c"))
    story.whole("a", 2000, 3000)
    for task in "bc":
        story.ready(task, 3000)
        story.started(task, 3000)
    story.finished("b", 4000, 1.0)
    story.finished("c", 5000, 2.0)
    story.whole("d", 5000, 6000)
    assert measures.wall_s(story.view) == 4.0
    assert measures.serial_s(story.view) == 5.0
    assert measures.speed_up(story.view) == pytest.approx(1.25)
    assert measures.parallel_efficiency(story.view) == pytest.approx(0.625)
    assert measures.max_running(story.view) == 2
    assert story.view.max_handed_out == 2
    assert measures.critical_path(story.view) == [("a", 1.0), ("c", 2.0), ("d", 1.0)]
    assert measures.counts(story.view) == {"succeeded": 4}


def test_an_end_and_a_start_at_the_same_time_are_not_two_at_once() -> None:
    story = Story(noop("a"), noop("b"))
    story.whole("a", 2000, 3000)
    story.whole("b", 3000, 4000)
    assert measures.max_running(story.view) == 1


def test_a_run_without_any_start_has_no_figures() -> None:
    view = Story(noop("a")).view
    assert (measures.wall_s(view), measures.serial_s(view), measures.max_running(view)) == (0.0, 0.0, 0)
    assert measures.speed_up(view) is None
    assert measures.parallel_efficiency(view) is None
    assert measures.critical_path(view) == []


def test_the_plan_can_be_seen_before_and_after_it_is_settled() -> None:
    story = Story(noop("a"), noop("b", "a"))
    assert story.view.plan() == Plan(name="plan", tasks=(noop("a"), noop("b", "a")))
    assert RunView().plan() is None
