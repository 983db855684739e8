"""Cancel in every state a run can be in, pause and resume: what starts, what is stopped, how it ends."""

from collections.abc import Callable

import pytest

from driver import Driver, fail
from pto_core.decide import decide
from pto_core.silence import Heard
from pto_core.transitions import RunPhase, TaskState
from pto_proto import events as ev
from pto_proto.ids import LANE_LOCAL, LANE_PLANNER, PLAN_TASK, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested, RunPauseRequested, RunResumeRequested

RUN = RunId("run-one")
PLAN = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True, depends_on=("a",))))


def driven(**request: object) -> Driver:
    driver = Driver(PLAN)
    driver.start(**request)
    return driver


def planning() -> Driver:
    driver = driven()
    driver.behaviours["_plan"] = [lambda ready, now: None]
    driver.tick()
    return driver


def planning_unstarted() -> Driver:
    return driven()


def awaiting_approval() -> Driver:
    driver = driven(approve=True)
    driver.drain()
    return driver


def ready_unstarted() -> Driver:
    driver = driven()
    driver.tick()
    driver.act()
    driver.tick()
    return driver


def running() -> Driver:
    driver = ready_unstarted()
    driver.behaviours["a"] = [lambda ready, now: None] * 1000
    driver.tick()
    (_, _, ready), *_ = driver.out
    started = ev.TaskStarted(at=driver.now, task=ready.task, attempt=1, instance=ready.instance)
    driver.write(LANE_LOCAL, RUN, started)
    return driver


def waiting_retry() -> Driver:
    driver = driven()
    driver.behaviours["a"] = [fail()]
    while driver.state.runs[RUN].task(TaskId("a")) is None or not driver.state.runs[RUN].delayed:
        assert driver.tick() or driver.act()
    return driver


def consolidating() -> Driver:
    driver = driven()
    driver.behaviours["_merge"] = [lambda ready, now: None] * 1000
    while driver.state.runs[RUN].phase is not RunPhase.CONSOLIDATING:
        assert driver.tick() or driver.act()
    driver.tick()
    return driver


def paused() -> Driver:
    driver = running()
    driver.ask(RunPauseRequested(run=RUN))
    return driver


STATES: tuple[Callable[[], Driver], ...] = (
    planning_unstarted, planning, awaiting_approval, ready_unstarted, running, waiting_retry, consolidating, paused,
)  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_cancel_stops_what_is_out_and_starts_nothing_more(state: Callable[[], Driver]) -> None:
    driver = state()
    run = driver.state.runs[RUN]
    asked_at = len(driver.log)
    driver.ask(RunCancelRequested(run=RUN))
    assert run.phase is RunPhase.CANCELLING
    out = set(run.open)
    driver.tick()
    assert {task.spec.id for task in run.open.values() if task.stopping} == out
    handed_out = len(driver.order)
    if out:
        assert run.finished is None, "cancelling lasts until every end is confirmed"
    for lane, name, ready in list(driver.out):
        stopped = ev.TaskFinished(
            at=driver.now, task=ready.task, attempt=ready.attempt, instance=ready.instance, outcome="cancelled", failure="cancelled"
        )  # fmt: skip
        driver.write(lane, name, stopped)
    driver.out.clear()
    driver.now += 600_000  # every backoff is over
    driver.drain()
    assert run.finished is not None
    assert run.finished.status == "cancelled"
    assert run.finished.unconfirmed == ()
    assert len(driver.order) == handed_out, f"started after the cancel at {asked_at}"
    assert all(task.state not in (TaskState.PLANNED, TaskState.WAITING_RETRY) for task in run.tasks)


def test_an_attempt_that_succeeds_while_it_is_being_stopped_counts_as_what_it_is() -> None:
    driver = running()
    run = driver.state.runs[RUN]
    driver.ask(RunCancelRequested(run=RUN))
    driver.tick()
    del driver.behaviours["a"]
    driver.drain()
    assert run.finished is not None
    assert (run.finished.status, run.finished.tasks) == ("cancelled", {"cancelled": 1, "succeeded": 1})


def test_a_cancelled_run_lists_what_nobody_confirmed_and_a_late_word_changes_nothing() -> None:
    driver = running()
    run = driver.state.runs[RUN]
    driver.ask(RunCancelRequested(run=RUN))
    driver.tick()
    heard = Heard({(LANE_LOCAL, InstanceId("local-1")): 29.0}, ())
    assert [type(decision.entry) for decision in decide(driver.state, driver.now, heard)] == [ev.AttemptUnknown]
    heard = Heard({(LANE_LOCAL, InstanceId("local-1")): 31.0}, ())
    (lost,) = decide(driver.state, driver.now, heard)
    driver.write(*lost)
    assert not run.open
    driver.tick()
    assert run.finished is not None
    assert run.finished.unconfirmed == ("a.1",)
    digest = run.finished.outcome_digest
    (lane, name, ready) = driver.out.pop()
    driver.write(
        lane, name, ev.TaskFinished(at=driver.now, task=ready.task, attempt=1, instance=ready.instance, outcome="succeeded")
    )  # fmt: skip
    assert not run.lost
    assert run.tasks[0].state is TaskState.CANCELLED
    assert run.finished.outcome_digest == digest


def test_a_cluster_never_loses_by_silence_but_a_cancelled_run_does_not_wait_for_ever() -> None:
    driver = Driver(PLAN)
    lane = "slurm-here"
    up = ev.DispatcherUp(at=1, instance=InstanceId("relay"), incarnation="1", capacity=9, can_run=("noop",))
    driver.write(lane, None, up)  # type: ignore[arg-type]
    driver.start(backend=lane)
    driver.behaviours["a"] = [lambda ready, now: None] * 1000
    while driver.tick() or driver.act():
        pass
    run = driver.state.runs[RUN]
    heard = Heard({(lane, InstanceId("relay")): 1e6}, ())  # type: ignore[dict-item]
    (unknown,) = decide(driver.state, driver.now, heard)
    assert isinstance(unknown.entry, ev.AttemptUnknown)
    driver.write(*unknown)
    assert decide(driver.state, driver.now, heard) == []
    driver.ask(RunCancelRequested(run=RUN))
    driver.tick()
    (finished,) = decide(driver.state, driver.now, heard)
    assert isinstance(finished.entry, ev.RunFinished)
    assert finished.entry.unconfirmed == ("a.1",)
    driver.write(*finished)
    assert run.ended
    assert run.finished is not None
    assert run.finished.tasks == {"cancelled": 2}


def test_pausing_twice_or_what_is_being_cancelled_is_refused_in_words() -> None:
    driver = running()
    driver.ask(RunPauseRequested(run=RUN, reason="lunch"))
    again = driver.ask(RunPauseRequested(run=RUN))
    assert again is not None
    assert "paused already: lunch" in str(again.entry.reasons[0])  # type: ignore[attr-defined]
    driver.ask(RunResumeRequested(run=RUN))
    driver.ask(RunCancelRequested(run=RUN))
    for request in (RunPauseRequested(run=RUN), RunCancelRequested(run=RUN)):
        refused = driver.ask(request)
        assert refused is not None
        assert "being cancelled" in str(refused.entry.reasons[0])  # type: ignore[attr-defined]


def test_a_container_is_lost_only_if_somebody_who_is_there_can_take_over() -> None:
    driver = Driver(PLAN)
    for name in ("d-1", "d-2"):
        up = ev.DispatcherUp(at=1, instance=InstanceId(name), incarnation="1", capacity=9, can_run=("noop",))
        driver.write(Lane("docker"), None, up)
    driver.start(backend="docker")
    driver.behaviours["a"] = [lambda ready, now: None] * 1000
    while driver.tick() or driver.act():
        pass
    (task,) = driver.state.runs[RUN].open.values()
    other = InstanceId("d-2" if task.instance == "d-1" else "d-1")
    silent = {(Lane("docker"), task.instance or InstanceId("")): 301.0}
    there = Heard(silent, {(Lane("docker"), other)})
    assert [type(decision.entry) for decision in decide(driver.state, driver.now, there)] == [ev.AttemptLost]
    gone = Heard(silent, set())
    assert [type(decision.entry) for decision in decide(driver.state, driver.now, gone)] == [ev.AttemptUnknown]
    driver.write(Lane("docker"), None, ev.DispatcherDraining(at=1, instance=other, incarnation="1"))
    assert [type(decision.entry) for decision in decide(driver.state, driver.now, there)] == [ev.AttemptUnknown]


def test_a_plan_from_an_attempt_that_was_given_up_is_a_plan() -> None:
    driver = planning()
    run = driver.state.runs[RUN]
    for attempt in range(1, 7):
        lost = ev.AttemptLost(at=driver.now, task=PLAN_TASK, attempt=attempt, instance=InstanceId("planner-1"))
        driver.write(LANE_PLANNER, RUN, lost)
        driver.tick()
        driver.now += 60_000
        driver.tick() if attempt < 6 else None
    planned = ev.TaskPlanned(at=driver.now, plan_digest="d", part=0, parts=1, tasks=PLAN.tasks)
    ended = ev.PlanFinished(at=driver.now, task=PLAN_TASK, attempt=1, plan_digest="d", name="p", parts=1, task_count=2)
    if run.ended:  # the end of planning was decided first
        assert run.finished is not None
        assert run.finished.unconfirmed == tuple(f"_plan.{n}" for n in range(1, 7))
        return
    driver.write(LANE_PLANNER, RUN, planned)
    driver.write(LANE_PLANNER, RUN, ended)
    driver.drain()
    assert run.poisoned is None


@pytest.mark.parametrize("settles_first", [True, False])
def test_nobody_plans_again_once_the_plan_is_settled(settles_first: bool) -> None:
    driver = planning()
    planned = ev.TaskPlanned(at=driver.now, plan_digest="d", part=0, parts=1, tasks=PLAN.tasks)
    ended = ev.PlanFinished(at=driver.now, task=PLAN_TASK, attempt=1, plan_digest="d", name="p", parts=1, task_count=2)
    gone = {"at": driver.now, "task": PLAN_TASK, "attempt": 1, "instance": InstanceId("planner-1")}
    driver.write(LANE_PLANNER, RUN, planned)
    driver.write(LANE_PLANNER, RUN, ended)
    if settles_first:
        driver.tick()
    driver.write(LANE_PLANNER, RUN, ev.TaskFinished(**gone, outcome="failed", failure="infra", reason="it went away"))
    driver.out.clear()
    driver.drain()
    assert driver.order.count("_plan") == 1
    assert driver.state.runs[RUN].phase.value == "succeeded"


def test_nothing_is_tried_again_once_a_failure_stopped_the_run() -> None:
    plan = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True, retries=3), TaskSpec(id=TaskId("b"), noop=True, retries=0)))
    driver = Driver(plan)
    driver.start(on_failure="stop")
    driver.behaviours = {"a": [fail()], "b": [fail()]}
    while len(driver.out) < 2 or driver.out[0][2].task == "_plan":
        assert driver.tick() or driver.act()
    for name in ("b", "a"):
        (at,) = [at for at, (_, _, ready) in enumerate(driver.out) if ready.task == name]
        lane, run, ready = driver.out.pop(at)
        finished = driver.behaviours[name][0](ready, driver.now)
        assert finished is not None
        driver.finish(lane, run, ready, finished)
    driver.drain()
    assert driver.order.count("a") == 1
