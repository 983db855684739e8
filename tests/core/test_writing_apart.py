"""Two agents of a run that may write the same files are never out at once, and nobody waits for ever."""

from hypothesis import given, settings
from hypothesis import strategies as st

from driver import Driver
from pto_core.scopes import overlap
from pto_proto import events as ev
from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec


def agent(name: str, *writes: str, **fields: object) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="do", writes=writes, **fields)


def run_and_watch(plan: Plan, executors: int = 8, seed: int = 0) -> tuple[Driver, int]:
    driver = Driver(plan, seed=seed)
    specs = {spec.id: spec for spec in plan.tasks}
    run = driver.start(max_executors=executors)
    most = 0
    while driver.tick() or driver.act():
        out = [specs[name] for name in driver.state.runs[run].open if name in specs and specs[name].agent]
        most = max(most, len(out))
        for at, one in enumerate(out):
            assert not any(overlap(one.writes, other.writes) for other in out[:at])
    assert driver.state.runs[run].phase.value == "succeeded"
    return driver, most


def test_agents_apart_run_at_once() -> None:
    assert run_and_watch(Plan(tasks=tuple(agent(f"a{at}", f"src/{at}/**") for at in range(6))))[1] == 6


def test_agents_that_may_write_anything_run_one_by_one() -> None:
    assert run_and_watch(Plan(tasks=tuple(agent(f"a{at}") for at in range(6))))[1] == 1


def test_commands_do_not_wait_for_scopes() -> None:
    commands = tuple(TaskSpec(id=TaskId(f"c{at}"), command="true") for at in range(5))
    driver, _ = run_and_watch(Plan(tasks=(*(agent(f"a{at}") for at in range(200)), *commands)))
    first = [name for name in driver.order if not name.startswith("_")][:6]
    assert sorted(first) == ["a0", "c0", "c1", "c2", "c3", "c4"]


def test_nobody_overtakes_for_ever() -> None:
    """``wide`` meets both chains of narrow agents, of which one is always out; it is the more urgent one."""
    narrow = [agent(f"{side}{at}", f"src/{side}/x") for at in range(20) for side in "lr"]
    wide = agent("wide", "src/**", estimate_s=100.0, depends_on=(TaskId("first"),))
    driver = Driver(Plan(tasks=(TaskSpec(id=TaskId("first"), noop=True), *narrow, wide)))
    run = driver.state.runs[driver.start(max_executors=3)]
    while not run.tasks or run.tasks[0].state.value != "succeeded":
        driver.tick() or driver.act()
    handed_out = len(driver.order)
    driver.drain()
    assert driver.order.index("wide") == handed_out


GLOBS = st.sampled_from(["src/a", "src/b", "src/*", "docs/**", "docs/x.md", "tests/t?.py", "tests/t1.py", "**/x.md"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(GLOBS, max_size=2), min_size=1, max_size=14), st.integers(1, 6), st.integers(0, 2**16))
def test_scopes_are_kept_apart_and_all_get_their_turn(scopes: list[list[str]], executors: int, seed: int) -> None:
    tasks = [agent(f"a{at}", *writes) for at, writes in enumerate(scopes)]
    tasks.append(TaskSpec(id=TaskId("c"), noop=True))
    run_and_watch(Plan(tasks=tuple(tasks)), executors, seed)


def test_a_retry_waits_for_scopes_too() -> None:
    driver = Driver(Plan(tasks=(agent("a", "src/x"), agent("b", "src/x"))))
    failed = ev.TaskFinished(at=0, task=TaskId("a"), attempt=1, instance="local-1", outcome="failed", failure="infra")
    driver.behaviours["a"] = [lambda ready, now: failed]
    run = driver.start(max_executors=2)
    driver.drain()
    assert driver.max_out[run] == 1
