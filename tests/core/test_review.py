"""A plan that waits for a person: approved, rejected, or replaced by an edited one that the planner writes down."""

from typing import Any

import msgspec
import pytest

from driver import Driver, fail
from pto_core.decide import Decision
from pto_core.fold import evolve
from pto_core.intake import Asked, answer
from pto_core.plan_check import check_approval
from pto_core.snapshot import dump, load
from pto_core.state import State
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import EDIT_TASK, LANE_PLANNER, Digest, RunId, TaskId, digest_of
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import (
    AnyRequest,
    PlanApproved,
    PlanRejected,
    RunCancelRequested,
    RunPauseRequested,
    RunResumeRequested,
)

RUN = RunId("run-one")
PLAN = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True, depends_on=("a",))))
EDITED = Plan(name="mine", tasks=(TaskSpec(id=TaskId("c"), noop=True), TaskSpec(id=TaskId("d"), noop=True)))
APPROVED = PlanApproved(run=RUN, plan_digest=Digest("d"))
EDIT = PlanApproved(run=RUN, plan_digest=Digest("d"), plan=EDITED)
REJECTED = PlanRejected(run=RUN, plan_digest=Digest("d"), reason="too many tasks")


class Review(Driver):
    """A system with one run whose plan waits; its planner writes edited plans down."""

    def __init__(self) -> None:
        super().__init__(PLAN)
        up = ev.DispatcherUp(at=self.now, instance="planner-1", incarnation="1", capacity=9, can_run=("plan", "edit"))
        self.write(LANE_PLANNER, None, up)
        self.start(approve=True)
        self.drain()

    @property
    def run(self) -> Any:
        return self.state.runs[RUN]

    def say(self, request: AnyRequest) -> ev.Entry:
        """What the scheduler's front door makes of it."""
        self.requests += 1
        edited, problems = check_approval(request, request.plan) if isinstance(request, PlanApproved) else (None, [])
        digest = digest_of(msgspec.json.encode(edited)) if edited is not None and not problems else ""
        asked = Asked(
            seq=self.requests, request_id=f"q{self.requests}", request=request, problems=tuple(problems), edited=digest
        )
        decision = answer(self.state, asked, self.now)
        assert isinstance(decision, Decision)
        self.write(*decision)
        return decision.entry

    def finish(self, lane: Any, run: Any, ready: ev.TaskReady, finished: ev.TaskFinished) -> None:
        if ready.task == EDIT_TASK and finished.outcome == "succeeded":
            self.write_down(ready.attempt)
        super().finish(lane, run, ready, finished)

    def write_down(self, attempt: int = 1) -> None:
        digest = digest_of(msgspec.json.encode(EDITED))
        part = ev.TaskPlanned(at=self.now, plan_digest=digest, part=0, parts=1, tasks=EDITED.tasks)
        end = ev.PlanFinished(
            at=self.now, task=EDIT_TASK, attempt=attempt, plan_digest=digest, name="mine", parts=1, task_count=2
        )
        self.write(LANE_PLANNER, RUN, end)
        self.write(LANE_PLANNER, RUN, part)

    def kinds(self) -> list[str]:
        return [decode_event(data).kind.__name__ for data in self.log]


def reasons(entry: ev.Entry) -> str:
    assert isinstance(entry, ev.RequestRefused)
    return "; ".join(map(str, entry.reasons))


def test_nothing_of_the_plan_starts_before_a_person_answers() -> None:
    review = Review()
    assert (review.run.phase, review.order) == (RunPhase.AWAITING_APPROVAL, ["_plan"])
    assert isinstance(review.say(APPROVED), ev.PlanSettled)
    review.drain()
    assert review.run.phase is RunPhase.SUCCEEDED
    assert review.order == ["_plan", "a", "b", "_merge"]


def test_an_edited_plan_is_written_down_by_the_planner_and_runs_instead() -> None:
    review = Review()
    entry = review.say(EDIT)
    assert isinstance(entry, ev.PlanEditAccepted)
    assert review.run.phase is RunPhase.AWAITING_APPROVAL
    review.drain()
    assert sorted(review.order) == ["_edit", "_merge", "_plan", "c", "d"]
    assert review.run.phase is RunPhase.SUCCEEDED
    settled = [decode_event(data).entries[0] for data in review.log if b"PlanSettled" in data]
    assert [(one.decision, one.request_id) for one in settled] == [("edited", entry.request_id)]
    assert [task.spec.id for task in review.run.tasks] == ["c", "d"]


def test_a_rejected_plan_ends_the_run_as_cancelled_and_says_why() -> None:
    review = Review()
    review.say(REJECTED)
    review.drain()
    assert review.run.phase is RunPhase.CANCELLED
    assert review.run.finished.reason == "the plan was rejected: too many tasks"
    assert review.order == ["_plan"]


def test_an_edit_that_changes_nothing_is_an_approval() -> None:
    review = Review()
    decision = answer(review.state, Asked(seq=2, request_id="q", request=APPROVED, edited=Digest("d")), review.now)
    assert decision is not None
    assert decision.entry.decision == "approved"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (PlanApproved(run=RUN, plan_digest=Digest("e")), "plan_digest: another plan waits for approval: d, not 'e'"),
        (PlanRejected(run=RUN, plan_digest=Digest("e")), "plan_digest: another plan waits for approval: d, not 'e'"),
        (
            PlanApproved(
                run=RUN, plan_digest=Digest("d"),
                plan=Plan(tasks=(TaskSpec(id=TaskId("a"), depends_on=("x", "a")), TaskSpec(id=TaskId("a"), noop=True))),
            ),
            "plan.tasks[0].depends_on[1]: task 'a' waits for itself; plan.tasks[1].id: 'a' is already the id of "
            "tasks[0]; give each task its own; plan.tasks[0]: ",
        ),
        (
            PlanApproved(run=RUN, plan_digest=Digest("d"), plan=EDITED, edited_digest=Digest("f" * 64)),
            "plan: and edited_digest are given; give one of them",
        ),
        (
            PlanApproved(run=RUN, plan_digest=Digest("d"), edited_digest=Digest("f")),
            "edited_digest: 'f' is not a SHA-256 in lower-case hex",
        ),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_refused_and_the_plan_waits_on(request_: AnyRequest, said: str) -> None:
    review = Review()
    assert reasons(review.say(request_)).startswith(said)
    review.drain()
    assert review.run.phase is RunPhase.AWAITING_APPROVAL
    assert review.order == ["_plan"]


@pytest.mark.parametrize("first", [APPROVED, EDIT, REJECTED], ids=["approved", "edited", "rejected"])
@pytest.mark.parametrize("second", [APPROVED, EDIT, REJECTED], ids=["approve", "edit", "reject"])
def test_the_second_answer_is_refused(first: AnyRequest, second: AnyRequest) -> None:
    review = Review()
    review.say(first)
    said = reasons(review.say(second))
    assert "does not wait for approval" in said or "was edited already" in said
    review.drain()
    assert review.run.ended
    assert reasons(review.say(second)).startswith("run: run run-one has ended as ")


def test_an_answer_before_the_plan_is_there_is_refused() -> None:
    driver = Driver(PLAN)
    driver.start(approve=True)
    decision = driver.ask(APPROVED)
    assert decision is not None
    assert "run run-one does not wait for approval; it is planning" in reasons(decision.entry)


def test_cancel_while_an_edited_plan_is_written_down() -> None:
    review = Review()
    review.say(EDIT)
    review.tick()
    review.say(RunCancelRequested(run=RUN))
    review.drain()
    assert review.run.phase is RunPhase.CANCELLED
    assert review.order == ["_plan", "_edit"]


def test_a_paused_run_can_be_approved_and_starts_when_it_is_resumed() -> None:
    review = Review()
    review.say(RunPauseRequested(run=RUN))
    review.say(EDIT)
    review.drain()
    assert review.order == ["_plan"]
    review.say(RunResumeRequested(run=RUN))
    review.drain()
    assert review.run.phase is RunPhase.SUCCEEDED


def test_an_edited_plan_that_cannot_be_written_down_fails_the_run() -> None:
    review = Review()
    review.behaviours["_edit"] = [fail("infra")] * 6
    review.say(EDIT)
    review.drain()
    assert review.run.phase is RunPhase.FAILED
    assert review.run.finished.reason == "no edited plan: it failed"


def test_an_edited_plan_of_a_lost_attempt_still_counts() -> None:
    review = Review()
    review.behaviours["_edit"] = [lambda ready, now: None]
    review.say(EDIT)
    review.tick()
    lost = ev.AttemptLost(at=review.now, task=EDIT_TASK, attempt=1, instance="planner-1", reason="silence")
    review.write(LANE_PLANNER, RUN, lost)
    review.write_down()
    review.drain()
    assert [task.spec.id for task in review.run.tasks] == ["c", "d"]


def test_an_edited_plan_that_nobody_asked_for_poisons_the_run() -> None:
    review = Review()
    review.write_down()
    assert review.run.poisoned is not None
    assert "nobody edited it" in review.run.poisoned[1]


def test_every_event_twice_and_a_restart_after_each_come_to_the_same() -> None:
    review = Review()
    review.say(EDIT)
    review.drain()
    state = State()
    for seq, data in enumerate(review.log, 1):
        for _ in range(2):
            evolve(state, seq, decode_event(data))
        state = load(dump(state))
    assert dump(state) == dump(review.state)


def test_nobody_writes_an_edited_plan_down_again_once_it_is_settled() -> None:
    review = Review()
    review.behaviours["_edit"] = [lambda ready, now: None]
    review.say(EDIT)
    review.tick()
    review.write_down()
    review.tick()
    assert review.run.settled
    ready = next(ready for _, _, ready in review.out if ready.task == EDIT_TASK)
    review.write(LANE_PLANNER, RUN, fail("infra")(ready, review.now))
    review.drain()
    assert review.run.phase is RunPhase.SUCCEEDED
    assert review.order.count("_edit") == 1


def test_nobody_plans_again_while_a_person_looks_at_the_plan() -> None:
    driver = Driver(PLAN)
    driver.behaviours["_plan"] = [lambda ready, now: None]
    driver.start(approve=True)
    driver.tick()
    identity = {"at": driver.now, "task": TaskId("_plan"), "attempt": 1}
    driver.write(
        LANE_PLANNER, RUN, ev.TaskPlanned(at=driver.now, plan_digest=Digest("d"), part=0, parts=1, tasks=PLAN.tasks)
    )
    driver.write(
        LANE_PLANNER, RUN, ev.PlanFinished(**identity, plan_digest=Digest("d"), name="p", parts=1, task_count=2)
    )
    driver.write(LANE_PLANNER, RUN, ev.AttemptLost(**identity, instance="planner-1"))
    driver.now += 10**6
    driver.out.clear()
    driver.drain()
    assert driver.state.runs[RUN].phase is RunPhase.AWAITING_APPROVAL
    assert driver.order.count("_plan") == 1
