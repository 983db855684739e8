"""A wall of refusals stops only what needs the model that refuses, costs nobody a retry, and ends by itself."""

import pytest

from driver import Driver, fail
from pto_core.decide import decide, next_due
from pto_core.limits import CAPACITY_PAUSE_CAP_MS, CAPACITY_PAUSE_MS, MAX_RETRY_AFTER_MS
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested, RunResumeRequested

WALL_MS = 14 * 60_000


def agent(name: str, **fields: object) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="do", writes=(f"src/{name}",), **fields)


def noop(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), noop=True, depends_on=after)


def refused(retry_after_s: float = 0.0):
    def finish(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        return ev.TaskFinished(
            at=now, task=ready.task, attempt=ready.attempt, instance=ready.instance, outcome="failed",
            failure="capacity", reason="the model is overloaded (529)", retry_after_s=retry_after_s,
        )  # fmt: skip

    return finish


def entries(driver: Driver, kind: type[ev.Entry]) -> list:
    return [entry for data in driver.log for entry in decode_event(data).entries if isinstance(entry, kind)]


def until_out(driver: Driver, count: int) -> None:
    while len([name for name in driver.order if not name.startswith("_")]) < count:
        driver.tick() or driver.act()


def test_the_model_rests_and_commands_of_the_lane_go_on() -> None:
    driver = Driver(Plan(tasks=(agent("a"), noop("b"), noop("c", "b"))))
    driver.behaviours["a"] = [refused(600.0)]
    run = driver.start(model="big", max_executors=3)
    driver.drain()
    (paused,) = entries(driver, ev.LanePaused)
    assert (paused.model, paused.until - paused.at) == ("big", 600_000)
    order = [name for name in driver.order if not name.startswith("_")]
    assert sorted(order) == ["a", "a", "b", "c"]
    assert order[-1] == "a"
    assert driver.state.runs[run].phase.value == "succeeded"


def test_another_model_is_not_stopped() -> None:
    driver = Driver(Plan(tasks=(agent("a"),)))
    driver.behaviours["a"] = [refused(600.0)]
    driver.start("run-one", model="big")
    until_out(driver, 1)
    driver.act()
    driver.tick()
    before = driver.now
    driver.start("run-two", model="small")
    while driver.tick() or driver.act():
        pass
    assert driver.state.runs[RunId("run-two")].ended
    assert not driver.state.runs[RunId("run-one")].ended
    assert driver.now == before


def test_of_several_answers_the_latest_time_counts() -> None:
    driver = Driver(Plan(tasks=tuple(agent(f"a{at}") for at in range(4))))
    for at, wait in enumerate((5.0, 90.0, 0.0, 20.0)):
        driver.behaviours[f"a{at}"] = [refused(wait)]
    run = driver.start(max_executors=4)
    until_out(driver, 4)
    began = driver.now
    while driver.out:
        driver.act()
        driver.tick()
    assert driver.state.lanes["local"].rests["simulated"].until == began + 90_000
    driver.drain()
    assert all(entry.at >= began + 90_000 for entry in entries(driver, ev.TaskReady) if entry.attempt == 2)
    assert driver.state.runs[run].phase.value == "succeeded"


def test_a_longer_wait_that_comes_while_the_rest_is_being_written_is_not_lost() -> None:
    """Seed 75 of the simulation: the failure lay between the decision and its event."""
    driver = Driver(Plan(tasks=(agent("a"), agent("b"))))
    driver.behaviours = {"a": [refused(5.0)], "b": [refused(90.0)]}
    driver.start(max_executors=2)
    until_out(driver, 2)
    began = driver.now
    out = {ready.task: (lane, run, ready) for lane, run, ready in driver.out}
    driver.out.clear()
    driver.finish(*out["a"], refused(5.0)(out["a"][2], began))
    decisions = decide(driver.state, began)
    driver.finish(*out["b"], refused(90.0)(out["b"][2], began))
    for lane, run, entry in decisions:
        driver.write(lane, run, entry)
    driver.behaviours.clear()
    driver.drain()
    assert all(entry.at >= began + 90_000 for entry in entries(driver, ev.TaskReady) if entry.attempt == 2)


def test_rests_in_a_row_grow_within_bounds_until_one_gets_through() -> None:
    driver = Driver(Plan(tasks=(agent("a"), agent("b"))))
    driver.behaviours["a"] = [refused()] * 6
    driver.start(max_executors=1)
    driver.drain()
    waits = [entry.until - entry.at for entry in entries(driver, ev.LanePaused)]
    assert waits == [min(CAPACITY_PAUSE_CAP_MS, CAPACITY_PAUSE_MS * 2**at) for at in range(6)]
    driver.behaviours["a"] = [refused()]
    driver.start("run-two", max_executors=1)
    driver.drain()
    assert entries(driver, ev.LanePaused)[-1].until - entries(driver, ev.LanePaused)[-1].at == CAPACITY_PAUSE_MS


@pytest.mark.parametrize("wait", [1e18, 1e300])
def test_no_answer_stops_a_model_for_days(wait: float) -> None:
    driver = Driver(Plan(tasks=(agent("a"),)))
    driver.behaviours["a"] = [refused(wait)]
    driver.start()
    driver.drain()
    (paused,) = entries(driver, ev.LanePaused)
    assert paused.until - paused.at <= MAX_RETRY_AFTER_MS


def test_a_wall_of_a_quarter_of_an_hour_costs_nothing_but_time() -> None:
    driver = Driver(Plan(tasks=(noop("before"), *(agent(f"a{at}", retries=0) for at in range(8)))))
    wall_ends = driver.now + WALL_MS
    done: list[str] = []

    def finish(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        if ready.spec.agent and now < wall_ends:
            return refused()(ready, now)
        done.append(ready.task)
        return ev.TaskFinished(at=now, task=ready.task, attempt=ready.attempt, instance="local-1", outcome="succeeded")

    driver.otherwise = finish
    run = driver.start(max_executors=8, max_retries=0)
    driver.drain()
    found = driver.state.runs[run]
    assert found.phase.value == "succeeded"
    assert all(task.burned == 0 for task in found.tasks)
    assert len(done) == len(set(done)) == 11
    assert wall_ends <= driver.now <= wall_ends + CAPACITY_PAUSE_CAP_MS
    assert next_due(driver.state, driver.now) is None


def test_fifty_wrong_keys_are_one_pause() -> None:
    driver = Driver(Plan(tasks=tuple(agent(f"a{at}") for at in range(50))))
    for at in range(50):
        driver.behaviours[f"a{at}"] = [fail("config")]
    run = driver.start(max_executors=50, max_retries=0)
    driver.drain()
    assert [entry.kind for entry in entries(driver, ev.RunPaused)] == ["config"]
    driver.ask(RunResumeRequested(run=run))
    driver.drain()
    assert driver.state.runs[run].phase.value == "succeeded"
    assert len(entries(driver, ev.RunPaused)) == 1
    assert max(driver.order.count(f"a{at}") for at in range(50)) == 2


def test_the_pause_says_what_to_mend() -> None:
    driver = Driver(Plan(tasks=(agent("a"),)))
    driver.behaviours["a"] = [
        lambda ready, now: ev.TaskFinished(
            at=now, task=ready.task, attempt=1, instance=ready.instance, outcome="failed", failure="config",
            reason="401 from the provider", hint="Set ANTHROPIC_API_KEY.",
        )
    ]  # fmt: skip
    driver.start()
    driver.drain()
    assert entries(driver, ev.RunPaused)[0].reason == "401 from the provider; Set ANTHROPIC_API_KEY."


def test_a_wrong_key_while_planning_pauses_too() -> None:
    driver = Driver(Plan(tasks=(agent("a"),)))
    driver.behaviours["_plan"] = [fail("config")]
    run = driver.start()
    driver.drain()
    assert [entry.kind for entry in entries(driver, ev.RunPaused)] == ["config"]
    driver.ask(RunResumeRequested(run=run))
    driver.drain()
    assert driver.state.runs[run].phase.value == "succeeded"
    assert driver.order.count("_plan") == 2


def test_a_planner_without_capacity_rests_its_model_in_its_own_lane() -> None:
    driver = Driver(Plan(tasks=(agent("a"),)))
    driver.behaviours["_plan"] = [refused(20.0)]
    driver.ask(RunRequested(run=RunId("run-one"), requirement="Build it", model="big"))
    driver.drain()
    assert driver.state.runs[RunId("run-one")].phase.value == "succeeded"
    assert driver.state.lanes["planner"].rests["big"].reason == "the model is overloaded (529)"
    assert "big" not in driver.state.lanes["local"].rests
