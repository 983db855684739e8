"""Money and tokens as people and programs see them: per attempt, task and run, and unknown where nobody knows."""

from pto_cli.event_lines import event_lines
from pto_cli.explanation import attempt_line
from pto_cli.render import money_line, status_lines
from pto_client.summary import summarize
from pto_core.state import Instance, LaneState
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import Digest, InstanceId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.results import Usage
from test_explain import LOCAL, NOW, Story

USAGE = Usage(input_tokens=1_200, output_tokens=300)


def agent(name: str, *writes: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="do it", writes=writes)


class Paid(Story):
    """A run whose agents cost money."""

    def hand_out(self, name: str, attempt: int = 1) -> "Paid":
        ready = ev.TaskReady(
            at=NOW - 10_000, task=TaskId(name), attempt=attempt, instance=InstanceId("local-1"),
            spec=self.task(name).spec, key=Digest("k"), reserved_usd=0.5, model="big",
        )  # fmt: skip
        self.tell(ready, LOCAL)
        return self


def story() -> Paid:
    """One bill is known, one is not, one attempt was lost, one is out."""
    told = Paid(*(agent(name, f"src/{name}") for name in "abcd"), max_executors=4, max_cost_usd=5.0, engine="api")
    told.settle()
    for name in "abcd":
        told.hand_out(name)
    told.end("a", cost_usd=0.25, usage=USAGE).end("b", cost_usd=None, usage=USAGE)
    told.tell(ev.AttemptLost(at=NOW, task=TaskId("c"), attempt=1, instance=InstanceId("local-1"), reason="gone"), LOCAL)
    return told


def test_status_shows_money_and_tokens_and_what_is_unknown() -> None:
    lines = status_lines(story().view, NOW)
    money = "$1.25 spent (the cost of 2 attempts is unknown and counted as $1.00), $0.50 reserved of at most $5.00, 3,000 tokens"
    assert money in lines
    rows = {line.split()[0]: line for line in lines if line[:2] in ("a ", "b ", "c ", "d ")}
    assert "$0.25, 1,500 tokens" in rows["a"]
    assert "unknown, 1,500 tokens" in rows["b"]
    assert "unknown" in rows["c"]
    assert "up to $0.50" in rows["d"]


def test_a_run_that_costs_nothing_does_not_speak_of_money() -> None:
    told = Story(agent("a", "src/a")).settle().hand_out("a").end("a")
    assert money_line(told.view) == ""
    assert not any("$" in line or "cost" in line for line in status_lines(told.view, NOW))


def test_the_summary_never_takes_unknown_for_nothing() -> None:
    found = summarize(story().view)
    assert (found.cost_usd, found.known_cost_usd, found.unknown_costs, found.max_cost_usd) == (None, 0.25, 2, 5.0)
    assert found.usage == Usage(input_tokens=2_400, output_tokens=600)
    tasks = {task.id: task for task in found.tasks}
    assert [tasks[name].cost_usd for name in "abcd"] == [0.25, None, None, None]
    assert tasks["a"].usage == USAGE
    assert (tasks["a"].attempts[0].model, tasks["a"].attempts[0].reserved_usd) == ("big", 0.5)


def test_an_attempt_that_nobody_confirmed_is_unknown_in_the_end() -> None:
    told = Paid(agent("a")).settle().hand_out("a")
    told.tell(ev.RunCancelling(at=NOW)).tell(ev.RunFinished(at=NOW, status="cancelled", tasks={"cancelled": 1}))
    found = summarize(told.view)
    assert (found.cost_usd, found.unknown_costs) == (None, 1)


def test_lines_of_ends_and_attempts_name_the_bill() -> None:
    told = story()
    a, b = (told.view.attempts[TaskId(name)][0] for name in "ab")
    assert "($0.25, 1,500 tokens)" in attempt_line(a)
    assert "(unknown, 1,500 tokens)" in attempt_line(b)
    said = []
    for name, cost in (("a", 0.25), ("b", None)):
        end = ev.TaskFinished(
            at=NOW, task=TaskId(name), attempt=1, instance=InstanceId("i"), outcome="succeeded", cost_usd=cost
        )
        event = Event(id="e", source="s", kind=ev.TaskFinished, lane=LOCAL, run=told.run_id, entries=(end,))
        said += list(event_lines(told.view, event))
    assert "a succeeded after 0.0 s, $0.25 [" in said[0]
    assert "b succeeded after 0.0 s, at an unknown cost [" in said[1]


def test_what_an_agent_waits_for_is_named() -> None:
    told = Paid(
        agent("a", "src/*"), agent("b", "src/x.py"), agent("c"), agent("d", "docs/x"), max_executors=4, model="big"
    ).settle()
    told.hand_out("a")
    lane = LaneState()
    lane.instances[InstanceId("i")] = Instance("1", 4, ("agent:simulated",))
    assert told.waits("b", lane=lane) == ["the end of `a`, which may write the same files: it may write src/x.py"]
    (anything,) = told.waits("c", lane=lane)
    assert anything.endswith("it may write anything, because it declares no `writes`")
    assert told.waits("d", lane=lane) == []
    lane.rest("big").begin("529", NOW + 60_000, NOW)
    assert told.waits("d", lane=lane) == ["model big in lane local, which rests for 1:00: 529"]
    told.tell(ev.BudgetChanged(at=NOW, max_executors=4, max_cost_usd=0.6))
    told.end("a", cost_usd=0.5)
    assert told.waits("d") == ["money: $0.50 spent of at most $0.60, and it may cost $0.50"]
