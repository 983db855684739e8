"""A run from request to end, by the pure core alone."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from driver import Driver, fail, succeed
from pto_core.decide import next_due
from pto_core.fold import evolve
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import (
    BudgetChangeRequested,
    PlanApproved,
    PlanRejected,
    RunCancelRequested,
    RunPauseRequested,
    RunResumeRequested,
)


def noop(name: str, *after: str, **fields: object) -> TaskSpec:
    return TaskSpec(id=TaskId(name), noop=True, depends_on=after, **fields)


DIAMOND = Plan(tasks=(noop("a"), noop("b", "a"), noop("c", "a"), noop("d", "b", "c")))


def states(driver: Driver, run: str = "run-one") -> dict[str, str]:
    return {task.spec.id: task.state.value for task in driver.state.runs[RunId(run)].tasks}


def test_a_run_goes_from_plan_to_merged_project() -> None:
    driver = Driver(DIAMOND)
    run = driver.state.runs[driver.start()]
    driver.drain()
    assert run.finished is not None
    assert run.finished.status == "succeeded"
    assert driver.order == ["_plan", "a", *sorted(driver.order[2:4]), "d", "_merge"]
    assert run.finished.tasks == {"succeeded": 4}
    assert not driver.state.active


def test_never_more_attempts_out_than_executors() -> None:
    driver = Driver(Plan(tasks=tuple(noop(f"t{i}") for i in range(50))))
    driver.start(max_executors=3)
    driver.drain()
    assert driver.max_out == {"run-one": 3}


def test_an_instance_never_has_more_than_its_capacity() -> None:
    driver = Driver(Plan(tasks=tuple(noop(f"t{i}") for i in range(20))), capacity=2)
    driver.start("run-one", max_executors=9)
    driver.start("run-two", max_executors=9)
    while driver.tick() or driver.act():
        assert sum(lane == "local" for lane, _, _ in driver.out) <= 2
    assert not driver.state.active


def test_slots_are_the_lowest_free_numbers() -> None:
    driver = Driver(Plan(tasks=tuple(noop(f"t{i}") for i in range(6))))
    driver.start(max_executors=3)
    slots: set[int] = set()
    while driver.tick() or driver.act():
        open_slots = [task.slot for task in driver.state.runs[RunId("run-one")].open.values()]
        assert len(open_slots) == len(set(open_slots))
        slots |= set(open_slots)
    assert slots == {0, 1, 2}


def test_the_longest_remaining_path_goes_first() -> None:
    tasks = (noop("short"), noop("long1"), noop("long2", "long1"), noop("heavy", estimate_s=10.0))
    driver = Driver(Plan(tasks=tasks))
    driver.start(max_executors=1)
    driver.drain()
    assert driver.order[1:-1] == ["heavy", "long1", "short", "long2"]


def test_runs_are_served_fairly() -> None:
    driver = Driver(Plan(tasks=tuple(noop(f"t{i}") for i in range(30))), capacity=4)
    driver.start("run-one", max_executors=30)
    driver.start("run-two", max_executors=30)
    for _ in range(30):
        driver.tick() or driver.act()
    served = [run for lane, run, _ in driver.out if lane == "local"]
    assert sorted(served) == ["run-one", "run-one", "run-two", "run-two"]


def test_a_failed_task_is_retried_with_growing_delays() -> None:
    driver = Driver(DIAMOND)
    driver.behaviours["b"] = [fail(), fail("timeout")]
    driver.start()
    driver.drain()
    run = driver.state.runs[RunId("run-one")]
    assert run.finished is not None
    assert run.finished.status == "succeeded"
    assert driver.order.count("b") == 3
    delays = [
        entry.due_at - entry.at
        for data in driver.log
        for entry in decode_event(data).entries
        if isinstance(entry, ev.TaskRetryScheduled)
    ]
    assert len(delays) == 2
    assert 4_000 <= delays[0] <= 5_000 < 8_000 <= delays[1] <= 10_000


def test_a_task_that_keeps_failing_takes_its_descendants_with_it() -> None:
    driver = Driver(DIAMOND)
    driver.behaviours["b"] = [fail()] * 9
    driver.start(max_retries=2)
    driver.drain()
    assert states(driver) == {"a": "succeeded", "b": "failed", "c": "succeeded", "d": "skipped"}
    assert driver.order.count("b") == 3
    finished = driver.state.runs[RunId("run-one")].finished
    assert finished is not None
    assert finished.status == "partial"


def test_nothing_starts_after_a_failure_when_told_to_stop() -> None:
    driver = Driver(Plan(tasks=(noop("a"), noop("b"), noop("c"))))
    driver.behaviours["a"] = [fail()]
    driver.start(max_retries=0, max_executors=1, on_failure="stop")
    driver.drain()
    assert states(driver) == {"a": "failed", "b": "skipped", "c": "skipped"}
    assert driver.state.runs[RunId("run-one")].phase.value == "failed"


def test_infrastructure_failures_burn_no_retry_but_have_a_bound() -> None:
    driver = Driver(Plan(tasks=(noop("a"),)))
    driver.behaviours["a"] = [fail("infra")] * 5
    driver.start("run-one", max_retries=0)
    driver.drain()
    assert states(driver) == {"a": "succeeded"}
    driver.behaviours["a"] = [fail("infra")] * 6
    driver.start("run-two", max_retries=0)
    driver.drain()
    assert states(driver, "run-two") == {"a": "failed"}


def test_a_capacity_failure_rests_the_lane_and_burns_nothing() -> None:
    driver = Driver(Plan(tasks=(noop("a"), noop("b"))))
    driver.behaviours["a"] = [fail("capacity")] * 20
    driver.start(max_retries=0, max_executors=1)
    driver.drain()
    assert states(driver) == {"a": "succeeded", "b": "succeeded"}
    kinds = [decode_event(data).kind for data in driver.log]
    assert kinds.count(ev.LanePaused) == kinds.count(ev.LaneResumed) == 20


def test_a_configuration_failure_pauses_the_run_until_resumed() -> None:
    driver = Driver(Plan(tasks=(noop("a"),)))
    driver.behaviours["a"] = [fail("config")]
    run = driver.start(max_retries=0)
    driver.drain()
    paused = driver.state.runs[run].paused
    assert paused is not None
    assert paused.kind == "config"
    driver.ask(RunResumeRequested(run=run))
    driver.drain()
    assert states(driver) == {"a": "succeeded"}


def test_cancelling_stops_what_runs_and_starts_nothing() -> None:
    driver = Driver(DIAMOND)
    run = driver.start()
    while "b" not in driver.order:
        driver.tick() or driver.act()
    driver.ask(RunCancelRequested(run=run))
    driver.tick()
    assert all(task.stopping for task in driver.state.runs[run].open.values())
    started = len(driver.order)
    cancelled = ev.TaskFinished(at=driver.now, task=TaskId("b"), attempt=1, instance="local-1", outcome="cancelled")
    for name in ("b", "c"):
        driver.behaviours[name] = [lambda ready, now: msgspec.structs.replace(cancelled, task=ready.task)]
    driver.drain()
    assert len(driver.order) == started
    assert driver.state.runs[run].phase.value == "cancelled"
    assert states(driver) == {"a": "succeeded", "b": "cancelled", "c": "cancelled", "d": "cancelled"}


def test_a_cancel_during_backoff_means_that_the_retry_never_starts() -> None:
    driver = Driver(Plan(tasks=(noop("a"),)))
    driver.behaviours["a"] = [fail()]
    run = driver.start()
    while not driver.state.runs[run].delayed:
        driver.tick() or driver.act()
    driver.ask(RunCancelRequested(run=run))
    driver.now += 10**9
    driver.drain()
    assert driver.order == ["_plan", "a"]
    assert driver.state.runs[run].phase.value == "cancelled"


def test_pause_hands_out_nothing_and_resume_goes_on() -> None:
    driver = Driver(DIAMOND)
    run = driver.start()
    driver.ask(RunPauseRequested(run=run))
    driver.drain()
    assert driver.order == []
    driver.ask(RunResumeRequested(run=run))
    driver.drain()
    assert driver.state.runs[run].phase.value == "succeeded"


def test_the_budget_can_change_while_the_run_goes_on() -> None:
    driver = Driver(Plan(tasks=tuple(noop(f"t{i}") for i in range(9))))
    run = driver.start(max_executors=1)
    while len(driver.order) < 3:
        driver.tick() or driver.act()
    driver.ask(BudgetChangeRequested(run=run, max_executors=4))
    driver.drain()
    assert driver.max_out[run] == 4


def test_a_plan_waits_for_approval_and_can_be_rejected() -> None:
    driver = Driver(DIAMOND)
    approved, rejected = driver.start("run-one", approve=True), driver.start("run-two", approve=True)
    driver.drain()
    assert driver.order == ["_plan", "_plan"]
    driver.ask(PlanApproved(run=approved, plan_digest="d"))
    driver.ask(PlanRejected(run=rejected, plan_digest="d"))
    driver.drain()
    assert driver.state.runs[approved].phase.value == "succeeded"
    assert driver.state.runs[rejected].phase.value == "cancelled"


def test_the_same_request_twice_is_one_run_and_another_content_is_refused() -> None:
    driver = Driver(DIAMOND)
    driver.start()
    before = len(driver.log)
    driver.start()
    assert len(driver.log) == before
    driver.start(max_executors=2)
    assert decode_event(driver.log[-1]).kind is ev.RequestRefused
    driver.drain()
    assert driver.state.runs[RunId("run-one")].max_executors == 5


def test_late_news_of_an_earlier_attempt_is_ignored() -> None:
    driver = Driver(Plan(tasks=(noop("a"),)))
    driver.behaviours["a"] = [fail()]
    run = driver.start()
    driver.drain()
    first = ev.TaskReady(at=1, task=TaskId("a"), attempt=1, instance="local-1", spec=noop("a"))
    driver.write("local", run, fail()(first, driver.now))
    assert states(driver) == {"a": "succeeded"}
    assert driver.state.runs[run].poisoned is None


def test_an_event_that_does_not_fit_quarantines_its_run_only() -> None:
    driver = Driver(DIAMOND)
    bad, good = driver.start("run-bad"), driver.start("run-good")
    driver.write("local", bad, ev.TaskStarted(at=1, task=TaskId("nowhere"), attempt=1, instance="local-1"))
    driver.drain()
    paused = driver.state.runs[bad].paused
    assert paused is not None
    assert (paused.kind, paused.sequence) == ("poisoned", 7)
    assert driver.state.runs[good].phase.value == "succeeded"


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    tasks = []
    for at in range(count):
        after = draw(st.lists(st.integers(0, at - 1), unique=True, max_size=3)) if at else []
        tasks.append(noop(f"t{at}", *(f"t{i}" for i in after)))
    return Plan(tasks=tuple(tasks))


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 4), st.integers(0, 2**16), st.data())
def test_any_plan_ends_and_folding_from_zero_or_twice_gives_the_same(
    plan: Plan, executors: int, seed: int, data: st.DataObject
) -> None:
    driver = Driver(plan, seed=seed)
    failures = [fail(), fail("infra"), fail("timeout"), succeed]
    for spec in plan.tasks:
        driver.behaviours[spec.id] = data.draw(st.lists(st.sampled_from(failures), max_size=3))
    run = driver.start(max_executors=executors, max_retries=1)
    driver.drain()
    live = driver.state.runs[run]
    assert live.finished is not None
    assert driver.max_out[run] <= executors
    position = {name: at for at, name in enumerate(driver.order)}
    for spec in plan.tasks:
        assert all(position[name] < position[spec.id] for name in spec.depends_on if spec.id in position)
    again = State()
    for _ in range(2):
        for seq, event in enumerate(driver.log, 1):
            evolve(again, seq, decode_event(event))
    assert again.runs[run].finished == live.finished
    assert [t.state for t in again.runs[run].tasks] == [t.state for t in live.tasks]
    assert again.lanes["local"].in_use == driver.state.lanes["local"].in_use
    assert set(again.lanes["local"].in_use.values()) <= {0}
    assert again.runs[run].poisoned is None


def test_a_run_without_a_plan_is_never_called_succeeded() -> None:
    driver = Driver(None)
    run = driver.start(requirement="something")
    driver.drain()
    finished = driver.state.runs[run].finished
    assert finished is not None
    assert finished.status == "failed"


def test_an_order_that_crosses_the_end_of_its_task_is_stopped_and_hurts_nobody() -> None:
    driver = Driver(Plan(tasks=(noop("a"), noop("b"), noop("c"))))
    driver.behaviours["a"] = [fail()]
    run = driver.start(max_retries=0, max_executors=1, on_failure="stop")
    while "a" not in driver.order:
        driver.tick() or driver.act()
    ready = ev.TaskReady(at=driver.now, task=TaskId("b"), attempt=1, instance="local-1", spec=noop("b"))
    driver.act()  # the failure of a: b and c are given up
    driver.write("local", run, ready)
    driver.tick()
    assert driver.state.runs[run].tasks[1].stopping
    cancelled = ev.TaskFinished(at=driver.now, task=TaskId("b"), attempt=1, instance="local-1", outcome="cancelled")
    driver.write("local", run, cancelled)
    driver.drain()
    assert driver.state.runs[run].poisoned is None
    assert states(driver) == {"a": "failed", "b": "cancelled", "c": "skipped"}
    assert driver.state.runs[run].phase.value == "failed"


def test_a_quarantined_run_frees_its_places_and_can_be_cancelled() -> None:
    driver = Driver(DIAMOND)
    run = driver.start()
    while "a" not in driver.order:
        driver.tick() or driver.act()
    driver.write("local", run, ev.TaskStarted(at=1, task=TaskId("nowhere"), attempt=1, instance="local-1"))
    driver.tick()
    driver.ask(RunCancelRequested(run=run))
    driver.tick()
    assert driver.state.runs[run].open[TaskId("a")].stopping
    driver.drain()
    assert driver.state.runs[run].phase.value == "cancelled"
    assert driver.state.lanes["local"].in_use == {"local-1": 0}


def test_many_failures_above_one_chain_cost_one_walk() -> None:
    roots = tuple(noop(f"r{i}") for i in range(300))
    chain = tuple(noop(f"c{i}", *((f"c{i - 1}",) if i else (spec.id for spec in roots))) for i in range(300))
    driver = Driver(Plan(tasks=(*roots, *chain)), capacity=1000)
    for spec in roots:
        driver.behaviours[spec.id] = [fail()]
    driver.start(max_retries=0, max_executors=1000)
    driver.drain()
    assert set(states(driver).values()) == {"failed", "skipped"}


def test_a_due_retry_that_has_no_room_waits_for_news_and_not_for_time() -> None:
    driver = Driver(Plan(tasks=(noop("a"), noop("b"))))
    driver.behaviours["a"] = [fail()]
    driver.behaviours["b"] = [lambda ready, now: None]
    driver.start(max_executors=1)
    while not (driver.state.runs[RunId("run-one")].delayed and "b" in driver.order):
        assert driver.tick() or driver.act()
    driver.now += 10**6
    assert driver.tick() == 0
    assert next_due(driver.state, driver.now) is None


def test_an_archived_run_is_forgotten_but_for_its_id() -> None:
    driver = Driver(DIAMOND)
    driver.start("run-one")
    driver.drain()
    driver.start("run-two")
    end = driver.state.runs[RunId("run-one")].finished_seq
    driver.write(None, None, ev.LogArchived(at=driver.now, sequence=end, segment="s"))
    driver.drain()
    assert list(driver.state.runs) == ["run-two"]
    assert driver.start("run-one") not in driver.state.runs, "the same request is still the same run"
    refused = driver.ask(RunCancelRequested(run=RunId("run-one")))
    assert refused is not None
    assert "was archived" in str(refused.entry.reasons[0])  # type: ignore[attr-defined]
    late = ev.TaskFinished(at=1, task=TaskId("a"), attempt=1, instance="local-1", outcome="succeeded")
    driver.write(Lane("local"), RunId("run-one"), late)
    assert list(driver.state.runs) == ["run-two"]
