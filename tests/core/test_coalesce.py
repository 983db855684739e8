"""From entries to messages."""

from pto_core.coalesce import coalesce
from pto_core.decide import Decision
from pto_proto import events as ev
from pto_proto.envelope import MAX_EVENT_BYTES, decode_event
from pto_proto.ids import Lane, RunId, TaskId

LOCAL = Lane("local")


def started(task: str, run: str = "run-one") -> Decision:
    return Decision(LOCAL, RunId(run), ev.TaskStarted(at=1, task=TaskId(task), attempt=1, instance="local-1"))


def finished(task: str, reason: str = "") -> Decision:
    entry = ev.TaskFinished(
        at=2, task=TaskId(task), attempt=1, instance="local-1", outcome="failed", failure="task", reason=reason
    )
    return Decision(LOCAL, RunId("run-one"), entry)


def test_entries_of_one_kind_lane_and_run_share_an_event_and_keep_their_order() -> None:
    messages = coalesce([started("a"), finished("a"), started("b"), started("c", "run-two")], prefix="7.1", source="s")
    assert [message.wire_id for message in messages] == ["7.1.0", "7.1.1", "7.1.2"]
    events = [decode_event(message.data) for message in messages]
    assert [(event.kind, event.run, [e.task for e in event.entries]) for event in events] == [
        (ev.TaskStarted, "run-one", ["a", "b"]),
        (ev.TaskFinished, "run-one", ["a"]),
        (ev.TaskStarted, "run-two", ["c"]),
    ]


def test_an_event_has_at_most_100_entries_and_256_kb() -> None:
    many = coalesce([started(f"t{i}") for i in range(250)], prefix="p", source="s")
    assert [len(message.event.entries) for message in many] == [100, 100, 50]
    big = coalesce([finished(f"t{i}", "x" * 100_000) for i in range(7)], prefix="p", source="s")
    assert all(len(message.data) <= MAX_EVENT_BYTES for message in big)
    assert [e.task for message in big for e in message.event.entries] == [f"t{i}" for i in range(7)]


def test_the_same_entries_give_the_same_bytes() -> None:
    decisions = [started("a"), finished("b")]
    assert coalesce(decisions, prefix="p", source="s") == coalesce(decisions, prefix="p", source="s")
