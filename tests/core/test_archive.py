"""What may leave a log, and segments that give back what they hold."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver import Driver
from pto_core.archive import SegmentDamaged, SegmentHead, find_cut, read_segment, segment_head, segment_line
from pto_core.reading import fold_message, run_of
from pto_core.snapshot import digest
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec

PLAN = Plan(name="p", tasks=(TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True)))


def new_epoch(driver: Driver) -> None:
    driver.write(
        None, None,
        ev.SchedulerEpochStarted(at=driver.now, epoch=driver.state.epoch + 1, instance=InstanceId("s"), incarnation="i", schema_level=1),
    )  # fmt: skip


@pytest.fixture
def driver() -> Driver:
    driver = Driver(PLAN)
    driver.start("run-one")
    driver.drain()
    return driver


def test_nothing_from_the_leaders_epoch_on_may_leave(driver: Driver) -> None:
    assert find_cut(driver.state).seq == 0
    end = len(driver.log)
    new_epoch(driver)
    cut = find_cut(driver.state)
    assert cut.seq == end
    assert "epoch" in cut.held_by


def test_nothing_from_an_open_runs_acceptance_on_may_leave(driver: Driver) -> None:
    driver.start("run-two")
    accepted = driver.state.runs[RunId("run-two")].accepted_seq
    new_epoch(driver)
    driver.start("run-three")
    cut = find_cut(driver.state)
    assert (cut.seq, cut.held_by) == (accepted - 1, "run run-two is open")


def test_what_is_recent_stays(driver: Driver) -> None:
    new_epoch(driver)
    assert find_cut(driver.state, first_recent=4).seq == 3
    assert find_cut(driver.state, first_recent=10_000).seq == len(driver.log) - 1


def segment(messages: list[bytes]) -> list[bytes]:
    head = segment_head(SegmentHead(stream="PTO", first=5, last=4 + len(messages)))
    return [head, *(segment_line(seq, "pto.x.y.z", data) for seq, data in enumerate(messages, 5))]


ANY = st.binary() | st.sampled_from(
    [b"", b"{}", b" {}", b"{}\n", b'{"a": 1}', b'"\\u2028"', b"[1 ,2]", b"\xff", b"null"]
)


@given(st.lists(ANY))
def test_a_segment_gives_back_every_byte(messages: list[bytes]) -> None:
    lines = segment(messages)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert list(read_segment(lines)) == [(seq, "pto.x.y.z", data) for seq, data in enumerate(messages, 5)]


def test_events_are_kept_readable(driver: Driver) -> None:
    for line, data in zip(segment(driver.log)[1:], driver.log, strict=True):
        assert data in line
        assert msgspec.json.decode(line)["data"]["specversion"] == "1.0"


def test_a_damaged_segment_is_told() -> None:
    lines = segment([b"{}", b"[]", b"1"])
    for damaged in (
        [],
        lines[1:],
        lines[:-1],
        [lines[0], *lines[2:]],
        [*lines[:2], b"{", *lines[3:]],
        [*lines, lines[-1]],
    ):
        with pytest.raises(SegmentDamaged):
            list(read_segment(damaged))
    broken = b'{"seq":5,"subject":"s","base64":"%s"}' % base64.b64encode(b"x")[:-1]
    with pytest.raises(SegmentDamaged):
        list(read_segment([segment_head(SegmentHead(stream="PTO", first=5, last=5)), broken]))


def test_messages_are_folded_as_the_scheduler_does(driver: Driver) -> None:
    state = State()
    for seq, data in enumerate(driver.log, 1):
        assert fold_message(state, seq, "pto.x.y.z", data) == f"e{seq - 1}"
    assert digest(state) == digest(driver.state)
    assert fold_message(state, len(driver.log) + 1, "pto.task-ready.local.run-two", b"{") == ""
    assert state.seq == len(driver.log) + 1


def test_an_unreadable_event_quarantines_its_run() -> None:
    driver = Driver(PLAN)
    driver.start("run-one")
    fold_message(driver.state, 99, "pto.task-ready.local.run-one", b"{")
    assert driver.state.runs[RunId("run-one")].poisoned is not None
    assert run_of("pto.task-ready.local.run-one") == "run-one"
    assert run_of("pto.task-ready.local._") is None
    assert run_of("something.else") is None
