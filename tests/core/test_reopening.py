"""Reopening: a red merged tree that was traced to a task gives it another round, and what depends on it only if it must."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver import Behaviour, Driver, fail, succeed
from pto_core.audit import Audit
from pto_core.limits import MAX_ROUNDS
from pto_core.snapshot import digests, dump, load
from pto_core.state import Run
from pto_core.transitions import RunPhase
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import Digest, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested, RunPauseRequested, RunResumeRequested
from pto_proto.results import CheckResult

RUN = RunId("run-one")
LOCAL, CONSOLIDATOR = Lane("local"), Lane("consolidator")
RED = CheckResult(command="pytest", passed=False, exit_code=1)


def agent(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="write it", depends_on=tuple(map(TaskId, after)))


def command(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), command="make", depends_on=tuple(map(TaskId, after)))


class Reds(Driver):
    """Merges are red as ``culprits`` says, one after the other; outputs follow from the version and what was seen."""

    def __init__(self, *specs: TaskSpec, culprits: tuple[str, ...] = (), changes: bool = True, **request: Any) -> None:
        super().__init__(Plan(name="plan", tasks=specs))
        self.culprits = list(culprits)
        self.changes = changes
        self.absorbing: set[str] = set()
        """Tasks that make the same whatever they see."""
        self.otherwise = self.make
        self.readies: list[ev.TaskReady] = []
        self.run_id = self.start(**request)

    def make(self, ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        version = f"{ready.task}{ready.round if self.changes else 0}"
        seen = "" if ready.task in self.absorbing else ",".join(ready.trees)
        tree = Digest(f"{version}({seen})")
        return msgspec.structs.replace(succeed(ready, now), manifest=tree, tree=tree)

    def finish(self, lane: Lane, run: RunId, ready: ev.TaskReady, finished: ev.TaskFinished) -> None:
        self.readies.append(ready)
        if ready.task != "_merge" or finished.outcome != "succeeded" or not self.culprits:
            super().finish(lane, run, ready, finished)
            return
        merged = ev.RunConsolidated(
            at=self.now, task=ready.task, attempt=ready.attempt, round=ready.round, tree_digest=Digest("t"),
            manifest=Digest("m"), files=0, lines=0, checks=(RED,), culprit=TaskId(self.culprits.pop(0)),
            evidence="pytest ended with exit code 1", merged_builds=2,
        )  # fmt: skip
        self.write(lane, run, merged)
        self.write(lane, run, finished)

    @property
    def run(self) -> Run:
        return self.state.runs[self.run_id]

    @property
    def ran(self) -> list[str]:
        """What was executed after the first merge."""
        names = [ready.task for ready in self.readies]
        return names[names.index(TaskId("_merge")) + 1 :]

    def states(self) -> dict[str, str]:
        return {task.spec.id: task.state.value for task in self.run.tasks}

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1_000):
            if condition():
                return
            self.tick() or self.act()
        raise AssertionError("it does not get there")

    def until_reopened(self, task: str, *, out: bool = False) -> None:
        """Until the task waits for its next round; ``out``: until its first attempt of that is out."""
        self.until(lambda: task in self.run.reopened)
        if out:
            self.tick()
            assert task in self.run.open


def folded(driver: Driver) -> Audit:
    audit = Audit()
    for seq, data in enumerate(driver.log, 1):
        audit.take(seq, "", data)
    audit.finish()
    return audit


def end(driver: Reds) -> ev.RunFinished:
    """Drain, look that nothing is out of order, and say how the run ended."""
    driver.drain()
    audit = folded(driver)
    assert audit.findings == []
    assert digests(audit.state) == digests(driver.state)
    run = driver.run
    assert (run.unended, run.open, run.review, run.revoked) == (0, {}, {}, {})
    assert sum(run.counts.values()) == len(run.tasks)
    assert run.finished is not None
    return run.finished


CHAIN = (agent("a"), agent("b", "a"), agent("c", "b"), agent("other"))


def test_a_reopened_task_runs_again_with_the_evidence_and_another_key() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    assert end(driver).status == "succeeded"
    assert driver.ran == ["b", "c", "_merge"]
    first, second = (ready for ready in driver.readies if ready.task == "b")
    assert (first.round, first.attempt, first.evidence) == (0, 1, "")
    assert (second.round, second.attempt, second.evidence) == (1, 1, "pytest ended with exit code 1")
    assert first.key != second.key


def test_what_depends_on_it_is_left_alone_when_its_output_is_the_same() -> None:
    driver = Reds(*CHAIN, culprits=("a",), changes=False)
    driver.until(lambda: "a" in driver.run.reopened)
    keys = {task.spec.id: task.key for task in driver.run.tasks}
    assert end(driver).status == "succeeded"
    assert driver.ran == ["a", "_merge"]
    assert {name for name, key in keys.items() if driver.run.tasks[driver.run.index[TaskId(name)]].key != key} == {"a"}


def test_a_change_goes_down_as_far_as_it_changes_anything() -> None:
    driver = Reds(*CHAIN, agent("d", "c"), culprits=("a",))
    driver.absorbing = {"c"}
    end(driver)
    assert driver.ran == ["a", "b", "c", "_merge"]


def test_a_task_runs_again_once_all_that_it_waits_for_is_settled() -> None:
    driver = Reds(agent("a"), agent("b", "a"), agent("c", "b"), agent("d", "c", "a"), culprits=("a",), max_executors=4)
    end(driver)
    assert driver.ran == ["a", "b", "c", "d", "_merge"]
    last = [ready for ready in driver.readies if ready.task == "d"][-1]
    assert (last.round, last.attempt) == (0, 2)
    assert last.trees == (driver.run.tasks[2].tree, driver.run.tasks[0].tree)


def test_the_third_red_merge_ends_the_run_as_partial_with_the_check_named() -> None:
    driver = Reds(*CHAIN, culprits=("b",) * 9)
    finished = end(driver)
    assert (finished.status, finished.tasks) == ("partial", {"succeeded": 4})
    assert "`pytest` (exit code 1), traced to b, which was reopened 2 times" in finished.reason
    assert [ready.round for ready in driver.readies if ready.task == "_merge"] == [0, 1, 2]
    assert len(driver.culprits) == 9 - 1 - MAX_ROUNDS


def test_each_task_has_rounds_of_its_own() -> None:
    driver = Reds(*CHAIN, culprits=("b", "a", "b", "a", "c"))
    assert end(driver).status == "succeeded"
    assert [(task.round) for task in driver.run.tasks] == [2, 2, 1, 0]


def test_retries_start_afresh_in_each_round() -> None:
    driver = Reds(*CHAIN, culprits=("b",), max_retries=1)
    driver.behaviours = {"b": [fail(), driver.make, fail("timeout")]}
    assert end(driver).status == "succeeded"
    assert [(r.round, r.attempt) for r in driver.readies if r.task == "b"] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_a_task_that_fails_in_its_new_round_ends_the_run_as_partial_and_keeps_what_was_built_on_it() -> None:
    driver = Reds(*CHAIN, culprits=("b", "b"), max_retries=0)
    driver.behaviours = {"b": [driver.make, fail()]}
    finished = end(driver)
    assert finished.status == "partial"
    assert driver.states() == {"a": "succeeded", "b": "failed", "c": "succeeded", "other": "succeeded"}
    assert driver.ran == ["b", "_merge"]


def test_what_saw_a_change_and_cannot_run_again_is_not_done() -> None:
    driver = Reds(*CHAIN, agent("d", "c"), culprits=("a",), max_retries=0)
    driver.behaviours = {"b": [driver.make, fail()]}
    assert end(driver).status == "partial"
    assert driver.states() == {"a": "succeeded", "b": "failed", "c": "skipped", "other": "succeeded", "d": "skipped"}


def test_the_first_failure_stops_what_would_run_again() -> None:
    specs = (agent("a"), agent("b", "a"), agent("c", "a"), agent("d", "c"), agent("e", "b"))
    driver = Reds(*specs, culprits=("a",), max_retries=0, on_failure="stop", max_executors=1)
    driver.behaviours = {"b": [driver.make, fail()], "c": [driver.make, fail()]}
    assert end(driver).status == "partial"
    assert sorted(driver.states().values()) == ["failed", "skipped", "skipped", "skipped", "succeeded"]


def test_a_command_is_not_reopened() -> None:
    driver = Reds(agent("a"), command("b", "a"), culprits=("b",))
    finished = end(driver)
    assert (finished.status, driver.ran) == ("partial", [])


def test_a_run_that_lacks_something_reopens_nothing() -> None:
    driver = Reds(*CHAIN, culprits=("a",), max_retries=0)
    driver.behaviours = {"other": [fail()]}
    assert end(driver).status == "partial"
    assert driver.ran == []


@pytest.mark.parametrize("is_out", [False, True])
def test_a_cancelled_run_ends_although_a_task_is_reopened(is_out: bool) -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until_reopened("b", out=is_out)
    driver.ask(RunCancelRequested(run=RUN))
    if is_out:
        driver.behaviours = {"b": [fail("cancelled")]}
    driver.drain()
    assert driver.run.finished is not None
    assert driver.run.finished.status == "cancelled"
    assert driver.states()["b"] == "cancelled"
    assert folded(driver).findings == []


def test_a_change_that_comes_while_the_run_is_cancelled_starts_nothing() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until_reopened("b", out=True)
    driver.ask(RunCancelRequested(run=RUN))
    driver.drain()
    assert driver.run.phase is RunPhase.CANCELLED
    assert driver.run.finished is not None
    assert driver.run.finished.tasks == {"succeeded": 4}
    assert folded(driver).findings == []


def test_a_paused_run_reopens_and_hands_out_only_when_it_goes_on() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until(lambda: driver.run.phase is RunPhase.CONSOLIDATING)
    driver.ask(RunPauseRequested(run=RUN))
    driver.until(lambda: not (driver.tick() or driver.act()))
    before = len(driver.readies)
    driver.ask(RunResumeRequested(run=RUN))
    assert end(driver).status == "succeeded"
    assert len(driver.readies) > before
    assert driver.ran == ["b", "c", "_merge"]


def test_the_word_of_an_earlier_round_changes_nothing() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until_reopened("b", out=True)
    old = next(ready for ready in driver.readies if ready.task == "b")
    late = msgspec.structs.replace(driver.make(old, driver.now), manifest=Digest("late"), tree=Digest("late"))
    before = digests(driver.state).runs[RUN]
    driver.write(LOCAL, RUN, late)
    driver.write(LOCAL, RUN, msgspec.structs.replace(late, outcome="failed", failure="task"))
    merge = next(ready for ready in driver.readies if ready.task == "_merge")
    driver.write(CONSOLIDATOR, RUN, succeed(merge, driver.now))
    assert digests(driver.state).runs[RUN] == before
    assert end(driver).status == "succeeded"


def test_the_same_reopening_again_changes_nothing() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until_reopened("b")
    entry = driver.run.reopened[TaskId("b")]
    driver.write(None, RUN, entry)
    driver.tick()
    driver.write(None, RUN, entry)
    assert end(driver).status == "succeeded"
    assert driver.ran == ["b", "c", "_merge"]


def test_a_lost_attempt_of_a_later_round_is_retried_in_that_round_and_named_with_it() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until_reopened("b", out=True)
    lost = driver.out[0][2]
    driver.out.clear()
    identity = {"at": driver.now, "task": lost.task, "attempt": lost.attempt, "round": lost.round}
    driver.write(LOCAL, RUN, ev.AttemptLost(**identity, instance=lost.instance, reason="gone"))
    assert [attempt.label for attempt in driver.run.lost] == ["b.1.r1"]
    driver.write(LOCAL, RUN, driver.make(lost, driver.now))
    assert end(driver).status == "succeeded"
    assert [(r.round, r.attempt) for r in driver.readies if r.task == "b"] == [(0, 1), (1, 2)]


@pytest.mark.parametrize(("task", "round_"), [("b", 2), ("a", 1), ("nobody", 1)])
def test_a_reopening_that_no_merged_tree_asks_for_quarantines_the_run(task: str, round_: int) -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    driver.until(lambda: driver.run.system[TaskId("_merge")].state.value == "succeeded")
    driver.write(None, RUN, ev.TaskReopened(at=driver.now, task=TaskId(task), attempt=1, round=round_))
    assert driver.run.poisoned is not None


def test_a_snapshot_taken_between_rounds_goes_on_the_same_way() -> None:
    driver = Reds(*CHAIN, culprits=("a",))
    driver.until_reopened("a")
    assert driver.run.review == {"b": False, "c": False}
    driver.state = load(dump(driver.state))
    driver.state.touched.add(RUN)
    assert end(driver).status == "succeeded"


def test_a_reused_task_that_is_reopened_is_not_taken_over_any_more() -> None:
    driver = Reds(*CHAIN)
    driver.drain()
    driver.culprits = ["a"]
    first = len(driver.readies)
    driver.run_id = driver.start("run-two", reuse=True)
    finished = end(driver)
    assert finished.status == "succeeded"
    assert [ready.task for ready in driver.readies[first:]] == ["_plan", "_merge", "a", "b", "c", "_merge"]
    assert driver.states() == {"a": "succeeded", "b": "succeeded", "c": "succeeded", "other": "reused"}
    assert set(driver.run.reused) == {"other"}


def test_a_view_tells_rounds_and_evidence() -> None:
    driver = Reds(*CHAIN, culprits=("b",))
    end(driver)
    view = RunView()
    for seq, data in enumerate(driver.log, 1):
        view.apply(seq, decode_event(data))
    assert [(e.task, e.round, e.evidence) for e in view.reopened] == [("b", 1, "pytest ended with exit code 1")]
    assert [(a.round, a.attempt) for a in view.attempts[TaskId("b")]] == [(0, 1), (1, 1)]
    assert view.consolidated is not None
    assert view.consolidated.round == 1


@st.composite
def histories(draw: st.DrawFn) -> Reds:
    """Random graphs of agents and commands, merges that are red in any order, and attempts that fail."""
    count = draw(st.integers(2, 8))
    specs = []
    for number in range(count):
        after = [f"t{other}" for other in range(number) if draw(st.booleans())]
        specs.append((agent if draw(st.integers(0, 3)) else command)(f"t{number}", *after))
    names = st.sampled_from([spec.id for spec in specs])
    culprits = tuple(draw(st.lists(names, max_size=6)))
    stop = draw(st.sampled_from(["continue", "continue", "stop"]))
    driver = Reds(*specs, culprits=culprits, changes=draw(st.booleans()), max_retries=1, on_failure=stop)
    driver.absorbing = set(draw(st.lists(names, max_size=3)))
    kinds: list[Behaviour] = [driver.make, driver.make, driver.make, fail(), fail("infra")]
    driver.behaviours = {spec.id: draw(st.lists(st.sampled_from(kinds), max_size=6)) for spec in specs}
    return driver


@given(histories())
def test_in_the_end_nothing_is_done_that_saw_something_else_than_its_dependencies_made(driver: Reds) -> None:
    end(driver)
    run = driver.run
    given_up = next(reversed(run.reopened), None)
    for task in run.tasks:
        before = [run.tasks[run.index[name]] for name in task.spec.depends_on]
        if task.state.value != "succeeded" or any(other.spec.id == given_up and not other.tree for other in before):
            continue
        last = [ready for ready in driver.readies if ready.task == task.spec.id][-1]
        assert set(last.trees) == {other.tree for other in before if other.tree}
    assert all(task.round <= MAX_ROUNDS for task in run.tasks)
