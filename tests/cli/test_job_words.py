"""Jobs are shown in the words of their backend, and lanes that take nothing with why."""

import pytest

from pto_cli.absent import absent_lanes, lane_lines
from pto_cli.event_lines import event_lines
from pto_cli.explanation import Known, attempt_line, state_sentence
from pto_cli.render import slot_rows, status_lines
from pto_core.fold import evolve
from pto_core.state import State
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested

LANE, INSTANCE, A = Lane("slurm-x"), InstanceId("dispatcher-slurm-x"), TaskId("a")


class Told:
    """A run with one task that is out."""

    def __init__(self) -> None:
        self.view = RunView()
        self.lines: list[str] = []
        asked = RunRequested(run=RunId("run-one"), requirement="x", backend=LANE)
        spec = TaskSpec(id=A, command="true")
        self.tell(ev.RunAccepted(at=1, content_digest=Digest("c"), request=asked))
        self.tell(ev.TaskPlanned(at=2, plan_digest=Digest("d"), part=0, parts=1, tasks=(spec,)))
        self.tell(ev.PlanFinished(
            at=2, task=TaskId("_plan"), attempt=1, plan_digest=Digest("d"), name="n", parts=1, task_count=1
        ))  # fmt: skip
        self.tell(ev.PlanSettled(at=3, plan_digest=Digest("d"), decision="not-asked"))
        self.tell(ev.TaskReady(at=4, task=A, attempt=1, instance=INSTANCE, spec=spec))

    def tell(self, entry: ev.Entry) -> None:
        event = Event(id="e", source="s", kind=type(entry), lane=LANE, run=RunId("run-one"), entries=(entry,))
        self.view.apply(self.view.state.seq + 1, event)
        self.lines += event_lines(self.view, event)

    def job(self, state: str, detail: str = "", at: int = 5) -> None:
        self.tell(ev.JobStateChanged(
            at=at, task=A, attempt=1, instance=INSTANCE, state=state, job="4711", detail=detail
        ))  # fmt: skip


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_job_that_waits_is_shown_with_its_reason(told: Told) -> None:
    told.job("PENDING", "Resources\x1b[2J")
    words = "job 4711 PENDING (Resources [2J)"
    assert told.lines[-1].endswith("a: attempt 1, job 4711, is PENDING (Resources [2J)")
    assert [row[1] for row in slot_rows(told.view, 10)] == [f"a: {words}"]
    assert any(line.endswith(words) for line in status_lines(told.view, 10))
    assert attempt_line(told.view.attempts[A][0]) == f"attempt 1: handed out in slot 0, {words}"
    task = told.view.run.task(A) if told.view.run is not None else None
    assert task is not None
    assert state_sentence(told.view, task, Known(now=10)).endswith(f"at {INSTANCE}: {words}")


def test_the_last_word_counts_and_an_ended_attempt_has_none(told: Told) -> None:
    told.job("PENDING", "Resources")
    told.job("RUNNING", at=6)
    assert [row[1] for row in slot_rows(told.view, 10)] == ["a: job 4711 RUNNING"]
    told.tell(ev.TaskFinished(at=7, task=A, attempt=1, instance=INSTANCE, outcome="succeeded", duration_s=0.1))
    assert "4711" not in "\n".join([*status_lines(told.view, 10), attempt_line(told.view.attempts[A][0])])


def test_a_start_that_is_told_again_after_a_take_over_is_no_news(told: Told) -> None:
    for at in (5, 9):
        told.tell(ev.TaskStarted(at=at, task=A, attempt=1, instance=INSTANCE, job="4711"))
    assert [line for line in told.lines if "a started" in line] == ["00:00.0  a started in slot 0"]


def lane(*entries: ev.Entry) -> State:
    state = State()
    for seq, entry in enumerate(entries, 1):
        evolve(state, seq, Event(id="e", source="s", kind=type(entry), lane=LANE, run=None, entries=(entry,)))
    return state


UP = ev.DispatcherUp(at=1, instance=INSTANCE, incarnation="i", capacity=1, can_run=("command",))


def test_a_lane_that_rests_is_told_with_its_reason_and_an_absent_one_as_such() -> None:
    rests = lane(UP, ev.LanePaused(at=2, reason="the engine does not answer", until=30_000)).lanes
    assert absent_lanes(rests) == []
    assert list(lane_lines(rests, 10_000).values()) == [
        "lane slurm-x takes nothing for now, and is tried again in 20 s: the engine does not answer",
    ]
    assert set(lane_lines(rests, 10_000)) == set(lane_lines(rests, 20_000)), "how long it lasts is no news"
    absent = {LANE: State().lane(LANE)}
    assert absent_lanes(absent) == [LANE]
    assert list(lane_lines(absent, 0).values()) == ["waits for a dispatcher of lane slurm-x; none is up"]
    assert lane_lines(lane(UP).lanes, 0) == {}
