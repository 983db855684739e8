"""``orchestrator explain RUN TASK``: one sentence about the state, what changed, what is waited for, the attempts."""

import json
from pathlib import Path
from typing import Any

import pytest

from pto_cli.commands.explain import _about, _lines
from pto_cli.event_lines import event_lines
from pto_cli.explanation import Known, attempt_line, state_sentence, waits_for, why_it_runs
from pto_cli.render import end_lines
from pto_client.log_lines import log_lines
from pto_core.reuse import left_behind
from pto_core.state import LaneState, Run, Task
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.results import CheckResult
from pto_proto.reuse import Reusable
from test_remote_runs import Site, site  # noqa: F401 - a fixture
from typing_in import Cli, runs, write

NOW = 100_000
LOCAL = Lane("local")


def task(name: str, *after: str, **fields: object) -> TaskSpec:
    given = {"command": f"make {name}", "inputs": ("*.txt",), **fields}
    return TaskSpec(id=TaskId(name), depends_on=after, **given)  # type: ignore[arg-type]


class Story:
    """A run told event by event."""

    def __init__(self, *tasks: TaskSpec, run: str = "run-two", **request: object) -> None:
        self.view = RunView()
        self.run_id = RunId(run)
        request = {"max_executors": 1, **request}
        asked = RunRequested(run=self.run_id, requirement="x", **request)  # type: ignore[arg-type]
        self.tell(ev.RunAccepted(at=1, content_digest=Digest("c"), request=asked))
        self.tell(ev.TaskPlanned(at=2, plan_digest=Digest("d"), part=0, parts=1, tasks=tasks))
        planned = ev.PlanFinished(
            at=2, task=TaskId("_plan"), attempt=1, plan_digest=Digest("d"), name="n", parts=1, task_count=len(tasks)
        )
        self.tell(planned)

    def tell(self, entry: ev.Entry, lane: Lane | None = None) -> "Story":
        event = Event(id="e", source="s", kind=type(entry), lane=lane, run=self.run_id, entries=(entry,))
        self.view.apply(self.view.state.seq + 1, event)
        return self

    def reuse(self, name: str, source: str = "run-one") -> "Story":
        entry = ev.TaskReused(at=3, plan_digest=Digest("d"), task=TaskId(name), key=Digest("k"), tree=Digest(f"tree of {name}"), source_run=source, source_task=TaskId(name))  # fmt: skip
        return self.tell(entry)

    def settle(self) -> "Story":
        return self.tell(ev.PlanSettled(at=4, plan_digest=Digest("d")))

    def hand_out(self, name: str, attempt: int = 1) -> "Story":
        spec = self.task(name).spec
        ready = ev.TaskReady(
            at=NOW - 10_000, task=TaskId(name), attempt=attempt, instance=InstanceId("local-1"), spec=spec, key=Digest(f"key of {name}")
        )  # fmt: skip
        return self.tell(ready, LOCAL)

    def end(self, name: str, attempt: int = 1, **fields: Any) -> "Story":
        given = {"outcome": "succeeded", "tree": Digest(f"tree of {name}"), **fields}
        finished = ev.TaskFinished(at=NOW, task=TaskId(name), attempt=attempt, instance=InstanceId("local-1"), **given)
        return self.tell(finished, LOCAL)

    @property
    def run(self) -> Run:
        assert self.view.run is not None
        return self.view.run

    def task(self, name: str) -> Task:
        found = self.run.task(TaskId(name))
        assert found is not None
        return found

    def why(self, name: str, *earlier: Reusable) -> str | None:
        mine = [known for known in earlier if known.task == name]
        return why_it_runs(self.run, self.task(name), Known(now=NOW, earlier=mine))

    def what(self, name: str) -> str:
        return state_sentence(self.view, self.task(name), Known(now=NOW))

    def waits(self, name: str, **known: Any) -> list[str]:
        return waits_for(self.run, self.task(name), Known(now=NOW, **known))


FETCH, LOAD = task("fetch"), task("load", "fetch")


def earlier(*tasks: TaskSpec) -> list[Reusable]:
    story = Story(*tasks, run="run-one").settle()
    for spec in tasks:
        story.hand_out(spec.id).end(spec.id)
    return left_behind(story.run)


def test_why_it_ran_is_one_clause() -> None:
    before = earlier(FETCH, LOAD)
    assert "did not ask to take over earlier work" in str(Story(FETCH).settle().why("fetch"))
    assert Story(FETCH, reuse=True).settle().why("fetch") == "no earlier run has finished a task with this id"
    assert Story(FETCH, resumes="run-one").settle().why("fetch") == "it had not succeeded in run run-one"
    changed = Story(task("fetch", command="new"), LOAD, reuse=True).settle().hand_out("fetch").end("fetch", tree="new")
    assert changed.why("fetch", *before) == "its command changed since run run-one"
    assert changed.why("load", *before) == "the output of `fetch` changed since run run-one"
    undeclared = Story(task("fetch", inputs=()), task("env", env=("HOME",)), reuse=True).settle()
    assert "without declared `inputs`" in str(undeclared.why("fetch", *before))
    assert "environment variables" in str(undeclared.why("env", *before))
    other = Story(task("fetch", command="", agent="do", checks=("true",)), reuse=True).settle().why("fetch", *before)
    assert other == (
        "its instructions changed, its checks changed, its command changed, the engine changed and the requirement "
        "changed since run run-one"
    )


def test_what_is_not_known_yet_is_not_called_a_change() -> None:
    before = earlier(FETCH, LOAD)
    story = Story(FETCH, LOAD, reuse=True).settle()
    assert story.why("load", *before) == "it depends on `fetch`, which had to run"
    story.hand_out("fetch").end("fetch")
    assert str(story.why("load", *before)).endswith("what came of that is the same as in run run-one")
    assert story.why("fetch", *before) == "its outputs of run run-one are not stored any more"
    bare = [Reusable(key=Digest("k"), run="run-one", task=TaskId("fetch"))]
    assert "not kept for runs of this size" in str(story.why("fetch", *bare))


def test_the_state_is_one_sentence() -> None:
    story = Story(FETCH, LOAD, task("other"), task("late", "load"), reuse=True, max_retries=1).reuse("fetch").settle()
    assert story.what("fetch") == (
        "reused: the outputs of task fetch of run run-one were taken over, nothing was executed"
    )
    assert story.why("fetch") is None
    assert story.what("other") == "has not been started yet"
    story.hand_out("load")
    assert story.what("load") == "attempt 1 was handed out 10 s ago and has not started, in slot 0 at local-1"
    story.end("load", outcome="failed", failure="task", reason="no", exit_code=3, duration_s=1.5)
    assert story.what("load") == "attempt 1 failed (task): no; it is tried again"
    (attempt,) = story.view.attempts[TaskId("load")]
    assert attempt_line(attempt) == "attempt 1: failed (task) after 1.5 s, exit code 3: no"
    story.hand_out("load", 2).end("load", 2, outcome="failed", failure="task", reason="no")
    assert story.what("load") == "failed for good after 2 attempts: no"
    assert story.what("late") == "skipped, because `load` did not succeed"
    assert story.waits("late") == []
    story.hand_out("other").end("other")
    assert story.what("other") == "succeeded at attempt 1"


def test_rounds_and_their_evidence_are_told() -> None:
    story = Story(task("a", agent="write", command="", inputs=()), task("b", "a")).settle()
    for name in ("a", "b"):
        story.hand_out(name).end(name)
    merge = {"at": 60_000, "task": TaskId("_merge"), "attempt": 1}
    spec = TaskSpec(id=TaskId("_merge"))
    story.tell(ev.RunExecuted(at=60_000))
    story.tell(ev.TaskReady(**merge, instance=InstanceId("c"), spec=spec), Lane("consolidator"))
    red = CheckResult(command="pytest", passed=False, exit_code=1, tail=("1 failed",))
    merged = ev.RunConsolidated(
        **merge, tree_digest=Digest("t"), manifest=Digest("m"), files=1, lines=1, checks=(red,), culprit=TaskId("a"),
        evidence="The check `pytest` ended with exit code 1.\n1 failed", merged_builds=2,
    )  # fmt: skip
    story.tell(merged, Lane("consolidator"))
    assert "    traced to a; `orchestrator explain run-two a` tells its rounds" in list(end_lines(story.view))
    story.tell(ev.TaskFinished(**merge, instance=InstanceId("c"), outcome="succeeded"), Lane("consolidator"))
    reopened = ev.TaskReopened(at=61_000, task=TaskId("a"), attempt=1, round=1, evidence=merged.evidence)
    story.tell(reopened)
    a = story.task("a")
    assert state_sentence(story.view, a, Known(now=NOW)) == "has to run once more, because the merged project was red"
    event = Event(id="e", source="s", kind=ev.TaskReopened, lane=None, run=story.run_id, entries=(reopened,))
    assert [line[8:].strip() for line in event_lines(story.view, event)] == [
        "a is reopened, round 1", "The check `pytest` ended with exit code 1.", "1 failed",
    ]  # fmt: skip
    assert "a is reopened for round 1: The check" in next(iter(log_lines([(1, event)])))
    about = _about(story.view, a, Known(now=NOW))
    assert about["reopened"] == [{"round": 1, "evidence": merged.evidence}]
    assert "    1 failed" in _lines(about)
    ready = {"at": 62_000, "task": TaskId("a"), "attempt": 1, "round": 1, "instance": InstanceId("local-1")}
    story.tell(ev.TaskReady(**ready, spec=a.spec), LOCAL)
    story.tell(ev.TaskFinished(**ready, outcome="succeeded", tree=Digest("new"), duration_s=1.0), LOCAL)
    assert state_sentence(story.view, a, Known(now=NOW)) == "succeeded at attempt 1 of round 1"
    last = story.view.last(TaskId("a"))
    assert last is not None
    assert attempt_line(last).startswith("attempt 1 of round 1: succeeded")
    changed = state_sentence(story.view, story.task("b"), Known(now=NOW))
    assert changed == "has to run once more, because what it depends on has changed"


def test_everything_that_is_waited_for_is_named() -> None:
    story = Story(FETCH, LOAD, task("other")).settle()
    lane = LaneState()
    assert story.waits("load") == ["`fetch` (planned)"]
    assert story.waits("fetch", lane=lane) == ["a dispatcher of lane local that can run it; there is none"]
    lane.rest("").begin("the site is full", NOW + 5_000, NOW)
    assert story.waits("fetch", lane=lane) == ["lane local, which rests for 5.0 s: the site is full"]
    assert story.waits("fetch", lane=lane, is_idle=True) == ["somebody to host the run: `orchestrator resume run-two`"]
    story.hand_out("fetch")
    assert story.waits("fetch") == []
    assert story.waits("other") == ["a free executor: all 1 are busy"]
    story.tell(ev.RunPaused(at=NOW, kind="asked", reason="lunch"))
    assert story.waits("load") == [
        "the run, which is paused (asked): lunch; `orchestrator resume run-two` lifts that", "`fetch` (ready)",
    ]  # fmt: skip
    story.end("fetch", outcome="failed", failure="task", reason="no")
    due = ev.TaskRetryScheduled(at=NOW, task=TaskId("fetch"), attempt=1, due_at=NOW + 3_000, failure="task")
    story.tell(due).tell(ev.RunResumed(at=NOW))
    assert story.waits("fetch") == ["its retry, which is due in 3.0 s"]
    story.tell(ev.RunCancelling(at=NOW))
    assert story.waits("load") == []


PLAN = """\
name: Two
tasks:
- {id: a, command: "mkdir -p src; cat a.in > src/a.txt", inputs: a.in, outputs: src/a.txt}
- {id: b, command: "cp src/a.txt src/b.txt; exit 3", inputs: a.in, depends_on: a, outputs: src/b.txt, retries: 0}
"""


@pytest.mark.slow
def test_it_works_on_runs_of_this_machine(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.in").write_text("1")
    plan = write(tmp_path, PLAN)
    cli("run", "--plan", plan, "-q", code=1)
    (tmp_path / "a.in").write_text("2")
    cli("run", "--plan", plan, "-q", "--reuse", code=1)
    first, second = (row["run"] for row in runs(cli))
    assert f"ran because input files changed since run {first}" in cli("explain", second, "a").stdout
    assert "attempt 1: failed (task) after" in cli("explain", second, "b").stdout
    cli("resume", second, "-q", code=1)
    third = runs(cli)[-1]["run"]
    about = json.loads(cli("explain", third, "a", "--json").stdout)
    assert (about["state"], about["reused_from"]) == ("reused", {"run": second, "task": "a"})
    assert json.loads(cli("explain", third, "b", "--json").stdout)["attempts"][0]["exit_code"] == 3
    assert "has no task 'c'" in cli("explain", third, "c", code=2).stderr


@pytest.mark.slow
def test_it_works_at_a_broker(site: Site) -> None:  # noqa: F811
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "a.in").write_text("1")
    plan = write(site.folder, PLAN)
    site.cli("run", "--plan", plan, "-q", "-o", "o1", code=1)
    (first,) = [json.loads(line)["run"] for line in site.cli("list", "--json").stdout.splitlines()]
    write(site.folder, PLAN.replace("a.in >", "a.in a.in >"))
    site.cli("run", "--plan", plan, "-q", "-o", "o2", "--reuse", code=1)
    second = [json.loads(line)["run"] for line in site.cli("list", "--json").stdout.splitlines()][-1]
    assert f"ran because its command changed since run {first}" in site.cli("explain", second, "a").stdout
