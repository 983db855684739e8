"""Who may change a run, and how much one requester may ask for."""

from typing import Any

import pytest

from pto_core.decide import Decision
from pto_core.fold import evolve
from pto_core.intake import Asked, answer, refuse
from pto_core.quotas import MINUTE_MS, USUAL, Counter, Quotas
from pto_core.snapshot import dump, load
from pto_core.state import State
from pto_proto import events as ev
from pto_proto import requests as rq
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import Digest, RunId
from pto_proto.plans import Plan, TaskSpec

RUN = RunId("run-one")
PLAN = Plan(tasks=tuple(TaskSpec(id=f"t{i}", noop=True) for i in range(3)))  # type: ignore[arg-type]
CHANGES: list[rq.Request] = [
    rq.RunCancelRequested(run=RUN),
    rq.RunPauseRequested(run=RUN),
    rq.RunResumeRequested(run=RUN),
    rq.BudgetChangeRequested(run=RUN, max_executors=9),
    rq.PlanApproved(run=RUN, plan_digest=Digest("d")),
    rq.PlanRejected(run=RUN, plan_digest=Digest("d")),
]


class Door:
    """A front door over a folded state."""

    def __init__(self, quotas: Quotas = USUAL) -> None:
        self.state = State()
        self.now = 10 * MINUTE_MS
        self.quotas = quotas
        self._seq = 0

    def ask(
        self, request: rq.Request, requester: str = "alice", *, tasks: int = 0, size: int = 100
    ) -> ev.AnswerEntry | None:
        """The answer, folded."""
        self._seq += 1
        asked: Any = Asked(
            seq=self._seq, request_id=f"q{self._seq}", requester=requester, size=size, request=request, task_count=tasks  # type: ignore[arg-type]
        )  # fmt: skip
        over = Counter(self.state, self.quotas, self.now).over(requester, size)
        decision = refuse(asked, self.now, [over]) if over else answer(self.state, asked, self.now, self.quotas)
        return None if decision is None else self.fold(decision)

    def fold(self, decision: Decision) -> ev.AnswerEntry:
        entry: Any = decision.entry
        event = Event(id=f"{self._seq}", source="s", kind=type(entry), lane=None, run=decision.run, entries=(entry,))
        evolve(self.state, self._seq, decode_event(encode_event(event)))
        return entry  # type: ignore[no-any-return]

    def start(self, run: str = RUN, requester: str = "alice", **more: Any) -> ev.AnswerEntry | None:
        return self.ask(rq.RunRequested(run=RunId(run), requirement="x"), requester, **more)


def reasons(entry: ev.AnswerEntry | None) -> str:
    assert isinstance(entry, ev.RequestRefused), entry
    return "; ".join(str(reason) for reason in entry.reasons)


@pytest.mark.parametrize("request_", CHANGES, ids=lambda request: type(request).__name__)
def test_nobody_but_its_requester_and_operators_changes_a_run(request_: rq.Request) -> None:
    door = Door()
    door.start()
    before = dump(door.state)
    for stranger in ("bob", "alice-2", "operators", "requester", "scheduler"):
        other = Door()
        other.state = load(before)
        refused = other.ask(request_, stranger)
        assert reasons(refused) == "requester: run run-one is alice's; only alice or an operator may change it"
        assert refused.requester == stranger  # type: ignore[union-attr]
        assert other.state.runs[RUN].paused is None
        assert other.state.runs[RUN].phase is door.state.runs[RUN].phase
    for entitled in ("alice", "operator", "operator-night"):
        other = Door()
        other.state = load(before)
        answered = other.ask(request_, entitled)
        assert answered is not None
        assert answered.requester == entitled
        assert "only alice" not in str(getattr(answered, "reasons", ""))


def test_a_run_of_before_requesters_were_recorded_is_anybody_s() -> None:
    door = Door()
    door.start(requester="")
    assert isinstance(door.ask(CHANGES[0], "bob"), ev.RunCancelling)


def test_asking_for_the_same_run_does_not_make_it_another_s() -> None:
    door = Door()
    door.start()
    assert door.start(requester="bob") is None
    assert door.state.runs[RUN].requester == "alice"
    assert "only alice" in reasons(door.ask(CHANGES[0], "bob"))


def test_requests_of_a_minute_are_counted_for_each_requester_and_begin_anew_with_the_next() -> None:
    door = Door(Quotas(requests_per_minute=3))
    door.now += 37_500
    for number in range(3):
        assert isinstance(door.start(f"run-a-{number}"), ev.RunAccepted)
    assert (
        reasons(door.start("run-a-3")) == "quota: alice may ask for 3 requests in a minute and has; ask again in 23 s"
    )
    assert "run-a-3" not in door.state.runs
    assert isinstance(door.start("run-b-0", "bob"), ev.RunAccepted)
    assert "quota" in reasons(door.ask(CHANGES[0]))
    for _ in range(5):
        assert isinstance(door.start(f"run-o-{len(door.state.runs)}", "operator"), ev.RunAccepted)
    door.now += 22_500
    assert isinstance(door.start("run-a-3"), ev.RunAccepted)
    assert door.state.asked == {"alice": 1}


def test_refusals_count_too() -> None:
    door = Door(Quotas(requests_per_minute=2))
    assert "there is no run" in reasons(door.ask(CHANGES[0]))
    assert "there is no run" in reasons(door.ask(CHANGES[0]))
    assert "quota" in reasons(door.start())


def test_bytes_of_a_minute_are_counted() -> None:
    door = Door(Quotas(bytes_per_minute=1_000))
    assert isinstance(door.start("run-a", size=600), ev.RunAccepted)
    assert reasons(door.start("run-b", size=600)).startswith(
        "quota: alice may ask for 1000 bytes of requests in a minute"
    )
    assert isinstance(door.start("run-c", "bob", size=600), ev.RunAccepted)


def test_what_one_tick_answers_counts_before_it_is_folded() -> None:
    counter = Counter(State(), Quotas(requests_per_minute=2), 0)
    assert [counter.over("alice", 1) is None for _ in range(3)] == [True, True, False]
    assert counter.over("bob", 1) is None


def test_a_plan_of_too_many_tasks_is_refused_with_the_number() -> None:
    door = Door(Quotas(tasks_per_run=2))
    request = rq.RunRequested(run=RUN, plan=PLAN)
    said = reasons(door.ask(request, tasks=3))
    assert said == "quota: the plan has 3 tasks and a run may have 2 here; split it, or ask an operator"
    assert isinstance(door.ask(request, tasks=2), ev.RunAccepted)
    edited = rq.PlanApproved(run=RUN, plan_digest=Digest("d"), plan=PLAN)
    assert "3 tasks" in reasons(door.ask(edited, tasks=3))


def test_what_was_counted_survives_a_snapshot() -> None:
    door = Door(Quotas(requests_per_minute=1))
    door.start()
    door.state = load(dump(door.state))
    assert door.state.asked == {"alice": 1}
    assert door.state.runs[RUN].requester == "alice"
    assert "quota" in reasons(door.start("run-two"))


def test_only_the_present_minute_is_kept() -> None:
    door = Door()
    for number in range(200):
        door.now += MINUTE_MS
        door.start(f"run-{number:03}", f"requester-{number}")
    assert len(door.state.asked) == len(door.state.asked_bytes) == 1
