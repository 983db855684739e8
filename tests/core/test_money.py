"""What a run may cost: nothing is handed out that its limit does not leave, and nothing unknown counts as nothing."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driver import Driver
from pto_core.money import MILLION, Money
from pto_core.plan_check import check_request
from pto_core.snapshot import digest, dump, load
from pto_core.state import Run
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import BudgetChangeRequested, RunCancelRequested, RunRequested, RunResumeRequested

RUN = RunId("run-one")


def agents(count: int, **fields: object) -> Plan:
    return Plan(
        tasks=tuple(TaskSpec(id=TaskId(f"a{at}"), agent="do", writes=(f"src/{at}",), **fields) for at in range(count))
    )


def costs(usd: float | None, outcome: ev.Outcome = "succeeded", failure: ev.FailureClass | None = None):
    def finish(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        return ev.TaskFinished(
            at=now, task=ready.task, attempt=ready.attempt, instance=ready.instance, outcome=outcome, failure=failure,
            cost_usd=usd if ready.reserved_usd else 0.0,
        )  # fmt: skip

    return finish


def driver_of(plan: Plan, usd: float | None = 0.1, first: float = 0.5) -> Driver:
    driver = Driver(plan)
    driver.estimates = {"simulated": first}
    driver.otherwise = costs(usd)
    return driver


def run_of(driver: Driver) -> Run:
    return driver.state.runs[RUN]


def pauses(driver: Driver) -> list[ev.RunPaused]:
    return [entry for data in driver.log for entry in decode_event(data).entries if isinstance(entry, ev.RunPaused)]


def test_fan_out_stays_below_the_limit() -> None:
    driver = driver_of(agents(10))
    driver.start(max_executors=10, max_cost_usd=1.6)
    driver.tick(), driver.act(), driver.tick()
    driver.tick()
    assert len(run_of(driver).open) == 3
    assert run_of(driver).money.reserved == 1_500_000


def test_what_attempts_really_cost_makes_room_for_the_next_ones() -> None:
    driver = driver_of(agents(10))
    driver.start(max_executors=10, max_cost_usd=1.6)
    driver.drain()
    assert run_of(driver).phase.value == "succeeded"
    assert run_of(driver).money.spent == 10 * 100_000
    assert not pauses(driver)


def test_the_limit_pauses_the_run_once_and_says_how_to_go_on() -> None:
    driver = driver_of(agents(10), usd=0.5)
    driver.start(max_executors=3, max_cost_usd=2.2)
    driver.drain()
    (paused,) = pauses(driver)
    assert paused.kind == "budget"
    assert paused.reason == (
        "$2.00 spent, $0.00 reserved; the next attempt may cost $0.50, which the limit of $2.20 does not leave;"
        " finished work is kept; go on with `orchestrator resume run-one --max-cost USD`"
    )
    assert sum(task.state.value == "succeeded" for task in run_of(driver).tasks) == 4
    driver.ask(RunResumeRequested(run=RUN))
    driver.drain()
    assert len(pauses(driver)) == 2, "without more money it has to ask again"
    driver.ask(BudgetChangeRequested(run=RUN, max_cost_usd=5.0))
    driver.ask(RunResumeRequested(run=RUN))
    driver.drain()
    assert run_of(driver).phase.value == "succeeded"
    assert run_of(driver).max_executors == 3
    assert max(driver.order.count(f"a{at}") for at in range(10)) == 1


def test_planning_is_paid_for_too() -> None:
    driver = driver_of(agents(1), usd=0.3)
    driver.ask(RunRequested(run=RUN, requirement="Build it", max_cost_usd=0.4))
    driver.drain()
    assert pauses(driver)
    assert not driver.order
    driver.ask(BudgetChangeRequested(run=RUN, max_cost_usd=1.0))
    driver.ask(RunResumeRequested(run=RUN))
    driver.drain()
    assert run_of(driver).money.spent == 600_000


def test_a_plan_that_came_along_costs_nothing_and_commands_go_on_without_money() -> None:
    tasks = (*agents(1).tasks, TaskSpec(id=TaskId("c"), noop=True))
    driver = driver_of(Plan(tasks=tasks))
    driver.start(max_cost_usd=0.1)
    driver.drain()
    assert driver.order[:1] == ["_plan"]
    assert pauses(driver)
    assert run_of(driver).money.spent == 0


def test_unknown_costs_count_as_what_was_set_aside() -> None:
    driver = driver_of(agents(4), usd=None)
    driver.start(max_cost_usd=1.2)
    driver.drain()
    money = run_of(driver).money
    assert (money.spent, money.unknown, money.unknown_count, money.reserved) == (1_000_000, 1_000_000, 2, 0)
    assert "(the cost of 2 attempts is unknown and counted as $1.00)" in pauses(driver)[0].reason


def test_a_lost_attempt_stands_as_spent_whatever_it_says_later() -> None:
    driver = driver_of(agents(1))
    driver.start(max_executors=1)
    while "a0" not in driver.order:
        driver.tick() or driver.act()
    lane, run, ready = driver.out.pop()
    driver.write(lane, run, ev.AttemptLost(at=driver.now, task=ready.task, attempt=1, instance=ready.instance))
    driver.finish(lane, run, ready, costs(0.01)(ready, driver.now))
    money = run_of(driver).money
    assert (money.spent, money.unknown, money.reserved) == (500_000, 500_000, 0)
    driver.drain()
    assert run_of(driver).money.spent == 600_000


def test_a_cancelled_run_keeps_the_account_of_what_nobody_confirmed() -> None:
    driver = driver_of(agents(2))
    driver.start()
    while len(driver.order) < 3:
        driver.tick() or driver.act()
    driver.ask(RunCancelRequested(run=RUN))
    driver.tick()
    driver.write(None, RUN, ev.RunFinished(at=driver.now, status="cancelled", tasks={}))
    money = run_of(driver).money
    assert (money.spent, money.unknown_count, money.reserved) == (1_000_000, 2, 0)


def test_the_mean_of_what_did_its_work_is_the_next_estimate() -> None:
    money = Money()
    money.learn("agent", 0, "failed", "capacity")
    money.learn("agent", None, "succeeded", None)
    money.learn("agent", 10, "cancelled", None)
    assert money.estimate("agent", 7) == 7
    money.learn("agent", 2_000, "succeeded", None)
    money.learn("agent", 4_001, "failed", "task")
    assert money.estimate("agent", 7) == 3_001
    assert money.estimate("plan", 7) == 7
    cheap = Money()
    cheap.learn("agent", 1, "succeeded", None)
    assert cheap.estimate("agent", 7) == 1_000, "a paid model is never assumed to cost nothing"
    assert cheap.estimate("agent", 0) == 1


def test_simulated_work_costs_nothing_and_sets_nothing_aside() -> None:
    driver = Driver(agents(3))
    driver.start(max_cost_usd=0.000001)
    driver.drain()
    entries = [entry for data in driver.log for entry in decode_event(data).entries]
    assert {entry.reserved_usd for entry in entries if isinstance(entry, ev.TaskReady)} == {0.0}
    assert run_of(driver).phase.value == "succeeded"
    assert (run_of(driver).money.spent, run_of(driver).money.unknown_count) == (0, 0)


def test_the_account_survives_a_snapshot() -> None:
    driver = driver_of(agents(3))
    driver.start(max_executors=2, max_cost_usd=9.0)
    while len(driver.order) < 3:
        driver.tick() or driver.act()
    assert run_of(driver).money.reserved
    again = load(dump(driver.state))
    assert digest(again) == digest(driver.state)
    assert again.runs[RUN].money.reserved == run_of(driver).money.reserved


@pytest.mark.parametrize("usd", [0.0, -1.0, 1e300, float("nan"), float("inf")])
def test_a_limit_that_is_no_sum_is_refused(usd: float) -> None:
    (problem,) = check_request(RunRequested(run=RUN, plan=agents(1), max_cost_usd=usd))
    assert problem.where == "max_cost_usd"
    driver = driver_of(agents(1))
    driver.start()
    decision = driver.ask(BudgetChangeRequested(run=RUN, max_cost_usd=usd))
    assert decision is not None
    assert isinstance(decision.entry, ev.RequestRefused)


def test_a_change_of_nothing_is_refused() -> None:
    driver = driver_of(agents(1))
    driver.start()
    decision = driver.ask(BudgetChangeRequested(run=RUN))
    assert decision is not None
    assert isinstance(decision.entry, ev.RequestRefused)


@pytest.mark.parametrize("usd", [-5.0, 1e300])
def test_a_cost_that_cannot_be_is_unknown(usd: float) -> None:
    driver = driver_of(agents(1))
    driver.start()
    while "a0" not in driver.order:
        driver.tick() or driver.act()
    lane, run, ready = driver.out.pop()
    ended = msgspec.structs.replace(costs(0.0)(ready, driver.now), cost_usd=usd)
    event = decode_event(driver.log[-1])
    assert event.run == RUN
    driver.write(Lane("local"), run, ended)
    assert lane == "local"
    assert run_of(driver).money.unknown_count == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 0.6)), min_size=1, max_size=12),
    st.floats(0.01, 4.0),
    st.integers(1, 5),
    st.integers(0, 2**16),
)
def test_never_more_is_handed_out_than_the_limit_allows(
    bills: list[float | None], limit: float, executors: int, seed: int
) -> None:
    driver = Driver(agents(len(bills)), seed=seed)
    driver.estimates = {"simulated": 0.4}
    left = iter(bills)
    driver.otherwise = lambda ready, now: costs(next(left, 0.1) if ready.reserved_usd else 0.0)(ready, now)
    driver.start(max_executors=executors, max_cost_usd=limit)
    driver.drain()
    spent, out = 0.0, {}
    for data in driver.log:
        for entry in decode_event(data).entries:
            if isinstance(entry, ev.TaskReady):
                out[entry.task] = entry.reserved_usd
                if entry.reserved_usd:
                    assert spent + sum(out.values()) <= limit + 1e-5
            elif isinstance(entry, ev.TaskFinished):
                reserved = out.pop(entry.task)
                spent += reserved if entry.cost_usd is None else entry.cost_usd
    run = run_of(driver)
    assert run.ended or (run.paused is not None and run.paused.kind == "budget")
    assert abs(run.money.spent / MILLION - spent) < 1e-4
    assert run.money.reserved == 0
