"""What a run takes over of earlier ones, by the pure core alone."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from driver import Driver, fail, succeed
from pto_core.decide import decide
from pto_core.fold import evolve
from pto_core.plan_check import check_request
from pto_core.reuse import (
    differences,
    index_of,
    left_behind,
    may_cross,
    most_similar,
    parts_of,
    reused_tasks,
    shown_parts,
)
from pto_core.state import Run, State
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import Digest, RunId, TaskId, digest_of
from pto_proto.plans import Plan, Resources, TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.reuse import Reusable


def task(name: str, *after: str, **fields: object) -> TaskSpec:
    given = {"command": f"make {name}", "inputs": ("*.txt",), **fields}
    return TaskSpec(id=TaskId(name), depends_on=after, **given)  # type: ignore[arg-type]


def produce(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
    """The output depends on the key alone, as that of a real task should."""
    made = digest_of(ready.key.encode())
    return msgspec.structs.replace(succeed(ready, now), manifest=made, tree=digest_of(made.encode()))


def driver_of(plan: Plan) -> Driver:
    driver = Driver(plan, capacity=1000)
    driver.otherwise = produce
    return driver


def executed(driver: Driver, run: str, plan: Plan | None = None, **request: object) -> set[str]:
    """Run it to the end; which tasks were handed out."""
    driver.plan = plan or driver.plan
    driver.order.clear()
    driver.start(run, max_executors=50, **request)
    driver.drain()
    assert driver.state.runs[RunId(run)].finished is not None
    return {name for name in driver.order if not name.startswith("_")}


def run_of(driver: Driver, run: str) -> Run:
    return driver.state.runs[RunId(run)]


def look_up(driver: Driver, run: Run) -> dict[RunId, list[ev.TaskReused]]:
    return {run.id: reused_tasks(run, index_of(driver.state, run), 0)}


def states(driver: Driver, run: str) -> dict[str, str]:
    return {found.spec.id: found.state.value for found in run_of(driver, run).tasks}


def descendants(plan: Plan, *roots: str) -> set[str]:
    found = set(roots)
    for _ in plan.tasks:
        found |= {spec.id for spec in plan.tasks if found & set(spec.depends_on)}
    return found


CHAIN = Plan(tasks=(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("e")))


def test_everything_is_taken_over_when_nothing_changed() -> None:
    driver = driver_of(CHAIN)
    assert executed(driver, "run-one") == {"a", "b", "c", "d", "e"}
    assert executed(driver, "run-two", reuse=True) == set()
    assert set(states(driver, "run-two").values()) == {"reused"}
    finished = run_of(driver, "run-two").finished
    assert finished is not None
    assert (finished.status, finished.tasks) == ("succeeded", {"reused": 5})
    first, second = run_of(driver, "run-one"), run_of(driver, "run-two")
    assert [(t.key, t.manifest, t.tree) for t in first.tasks] == [(t.key, t.manifest, t.tree) for t in second.tasks]
    assert {entry.source_run for entry in second.reused.values()} == {"run-one"}


def test_without_being_asked_nothing_is_taken_over() -> None:
    driver = driver_of(CHAIN)
    executed(driver, "run-one")
    assert executed(driver, "run-two") == {"a", "b", "c", "d", "e"}


def test_a_changed_command_runs_exactly_its_descendants() -> None:
    driver = driver_of(CHAIN)
    executed(driver, "run-one")
    changed = Plan(tasks=tuple(task("c", "a", command="other") if spec.id == "c" else spec for spec in CHAIN.tasks))
    assert executed(driver, "run-two", changed, reuse=True) == {"c", "d"}


def test_a_changed_input_runs_exactly_the_tasks_that_see_it_and_their_descendants() -> None:
    driver = driver_of(CHAIN)
    driver.seen_inputs = ("1", "2", "3", "4", "5")
    executed(driver, "run-one")
    driver.seen_inputs = ("1", "9", "3", "4", "5")
    assert executed(driver, "run-two", reuse=True) == {"b", "d"}


def test_what_says_only_when_or_how_long_changes_nothing() -> None:
    driver = driver_of(CHAIN)
    executed(driver, "run-one")
    fields = {"retries": 9, "estimate_s": 3.0, "title": "A", "resources": Resources(time="5", memory="1G")}
    other = Plan(tasks=tuple(msgspec.structs.replace(spec, **fields) for spec in CHAIN.tasks))
    assert executed(driver, "run-two", other, reuse=True) == set()


def test_only_what_declares_all_that_it_reads_crosses_runs() -> None:
    tasks = (
        task("declared"), task("undeclared", inputs=()), task("passed", env=("HOME",)),
        task("agent", command="", agent="write", inputs=()), task("nothing", "declared", command="", noop=True, inputs=()),
    )  # fmt: skip
    driver = driver_of(Plan(tasks=tasks))
    executed(driver, "run-one")
    assert executed(driver, "run-two", reuse=True) == {"undeclared", "passed"}
    assert executed(driver, "run-three", resumes="run-two") == set()
    assert may_cross(tasks[1], ("data/*",))


def test_a_resumed_run_repeats_only_what_failed_and_what_was_skipped() -> None:
    tasks = [task(f"t{at}", *((f"t{at - 10}",) if at >= 10 else ()), inputs=()) for at in range(100)]
    plan = Plan(tasks=tuple(tasks))
    driver = driver_of(plan)
    for name in ("t3", "t47"):
        driver.behaviours[name] = [fail()]
    executed(driver, "run-one", max_retries=0)
    again = descendants(plan, "t3", "t47")
    assert {name for name, state in states(driver, "run-one").items() if state != "succeeded"} == again
    assert executed(driver, "run-two", resumes="run-one") == again
    assert states(driver, "run-two") == {spec.id: "succeeded" if spec.id in again else "reused" for spec in tasks}
    third = executed(driver, "run-three", resumes="run-two")
    assert third == set()
    sources = {name: entry.source_run for name, entry in run_of(driver, "run-three").reused.items()}
    assert sources == {spec.id: "run-two" if spec.id in again else "run-one" for spec in tasks}


def test_a_list_serves_a_log_that_knows_no_earlier_run() -> None:
    driver = driver_of(CHAIN)
    driver.behaviours["b"] = [fail()]
    executed(driver, "run-one", max_retries=0)
    other = driver_of(CHAIN)
    other.listed = left_behind(run_of(driver, "run-one"))
    assert executed(other, "run-two", resumes="run-one", reuse_digest=digest_of(b"list")) == {"b", "d"}
    assert other.state.runs[RunId("run-two")].reused[TaskId("a")].source_run == "run-one"
    other.listed = []
    # What came from somebody's list is good for that run only.
    assert executed(other, "run-three", reuse=True) == {"a", "b", "c", "d", "e"}


def test_a_plan_is_not_settled_before_it_is_known_what_is_reused() -> None:
    driver = driver_of(CHAIN)
    executed(driver, "run-one")
    driver.start("run-two", reuse=True)
    while run_of(driver, "run-two").plan is None:
        driver.tick() or driver.act()
    assert decide(driver.state, driver.now) == []
    driver.drain()
    assert run_of(driver, "run-two").finished is not None


def test_a_crash_between_the_entries_changes_nothing() -> None:
    driver = driver_of(CHAIN)
    executed(driver, "run-one")
    driver.start("run-two", reuse=True)
    while run_of(driver, "run-two").plan is None:
        driver.tick() or driver.act()
    run = run_of(driver, "run-two")
    decisions = decide(driver.state, driver.now, reused=look_up(driver, run))
    assert [type(entry) for _, _, entry in decisions] == [ev.TaskReused] * 5 + [ev.PlanSettled]
    driver.write(*decisions[0])
    driver.write(*decisions[0])
    driver.write(*decisions[1])
    left = decide(driver.state, driver.now, reused=look_up(driver, run))
    assert left == decisions[2:]
    driver.drain()
    assert set(states(driver, "run-two").values()) == {"reused"}
    again = State()
    for _ in range(2):
        for seq, data in enumerate(driver.log, 1):
            evolve(again, seq, decode_event(data))
    assert again.runs[run.id].finished == run.finished
    assert again.runs[run.id].counts == run.counts


def test_a_reuse_of_what_the_plan_does_not_have_quarantines_the_run() -> None:
    driver = driver_of(CHAIN)
    run = driver.start("run-one")
    driver.write(None, run, ev.TaskReused(at=1, plan_digest=Digest("d"), task=TaskId("nowhere"), key=Digest("k")))
    driver.write(None, run, ev.TaskReused(at=1, plan_digest=Digest("other"), task=TaskId("a"), key=Digest("k")))
    driver.drain()
    assert run_of(driver, "run-one").poisoned is not None


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    tasks = []
    for at in range(count):
        after = draw(st.lists(st.integers(0, at - 1), unique=True, max_size=3)) if at else []
        tasks.append(task(f"t{at}", *(f"t{i}" for i in after)))
    return Plan(tasks=tuple(tasks))


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(0, 2**16), st.data())
def test_the_order_of_the_tasks_does_not_matter(plan: Plan, seed: int, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from(plan.tasks)).id
    driver = driver_of(plan)
    executed(driver, "run-one")
    tasks = [msgspec.structs.replace(t, command="new") if t.id == changed else t for t in plan.tasks]
    random.Random(seed).shuffle(tasks)
    again = descendants(plan, changed)
    assert executed(driver, "run-two", Plan(tasks=tuple(tasks)), reuse=True) == again
    keys = {t.spec.id: t.key for t in run_of(driver, "run-one").tasks}
    assert {t.spec.id for t in run_of(driver, "run-two").tasks if t.key != keys[t.spec.id]} == again


# --- what is said about it -------------------------------------------------------------------------------------------


def test_what_changed_is_named() -> None:
    before = Plan(tasks=(task("fetch"), task("load", "fetch", checks=("true",))))
    driver = driver_of(before)
    driver.seen_inputs = ("1", "1")
    executed(driver, "run-one", requirement="")
    (_, earlier) = left_behind(run_of(driver, "run-one"))
    after = Plan(tasks=(task("fetch", command="x"), task("load", "fetch", "new", command="y"), task("new")))
    driver.seen_inputs = ("1", "2", "1")
    executed(driver, "run-two", after, reuse=True)
    said = differences(parts_of(run_of(driver, "run-two"), TaskId("load")), earlier)
    assert set(said) == {
        "its checks changed", "its command changed", "input files changed", "the output of `fetch` changed",
        "it depends on `new` now", "the rule for conflicts between its dependencies changed",
    }  # fmt: skip
    assert differences(parts_of(run_of(driver, "run-one"), TaskId("load")), earlier) == []


def test_the_most_similar_earlier_task_is_found() -> None:
    parts = {"command": Digest("a" * 64), "engine": Digest("b" * 64), "id": Digest("c" * 64)}
    far = Reusable(key=Digest("1"), run="r1", task=TaskId("t"), parts={"id": "c" * 16})
    near = msgspec.structs.replace(far, run="r2", parts=shown_parts({**parts, "command": Digest("d" * 64)}))
    assert most_similar(parts, [far, near]) is near
    assert differences(parts, near) == ["its command changed"]
    assert most_similar(parts, []) is None


# --- what may be asked for -------------------------------------------------------------------------------------------


def refusal(driver: Driver, **request: object) -> list[str]:
    decision = driver.ask(RunRequested(run=RunId("run-new"), plan=CHAIN, **request))  # type: ignore[arg-type]
    assert decision is not None
    return [str(reason) for reason in getattr(decision.entry, "reasons", ())]


def test_only_an_ended_run_that_is_known_can_be_resumed() -> None:
    driver = driver_of(CHAIN)
    driver.start("run-one")
    assert refusal(driver, resumes="run-zero") == [
        "resumes: there is no run 'run-zero' in this log; leave it out, or store a list of what it left behind"
    ]
    assert refusal(driver, resumes="run-one") == [
        "resumes: run run-one has not ended, it is planning; ask to resume it as it is"
    ]
    driver.drain()
    assert refusal(driver, resumes="run-one") == []
    assert refusal(driver, resumes="run-zero", reuse_digest=digest_of(b"list")) == [
        "run: this run id is taken by a run with other content; ask with a new id"
    ]


def test_a_resumed_run_brings_its_requirement_and_its_plan() -> None:
    request = RunRequested(run=RunId("run-new"), requirement="Build it", plan=CHAIN)
    assert [problem.where for problem in check_request(request)] == ["requirement"]
    assert check_request(msgspec.structs.replace(request, resumes="run-one")) == []
    assert [str(p) for p in check_request(msgspec.structs.replace(request, resumes="run-new", reuse_digest="x"))] == [
        "resumes: 'run-new' is not the id of an earlier run", "reuse_digest: 'x' is not a SHA-256 in lower-case hex",
    ]  # fmt: skip
