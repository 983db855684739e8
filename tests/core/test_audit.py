"""The audit: a log of the rules is without findings; each broken promise is found and named."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings

from driver import Driver
from pto_core.audit import CHECKS, Audit
from pto_core.outcome import outcome_digest
from pto_core.snapshot import digests
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested
from test_snapshot import HISTORIES

RUN = RunId("run-one")
LOCAL = Lane("local")
HOST = InstanceId("local-1")


def audited(log: list[bytes]) -> Audit:
    audit = Audit()
    for seq, data in enumerate(log, 1):
        audit.take(seq, "pto.task-ready.local.run-one", data)
    audit.finish()
    return audit


def found(log: list[bytes]) -> list[str]:
    findings = audited(log).findings
    assert {finding.check for finding in findings} <= set(CHECKS)
    return [finding.check for finding in findings]


@settings(max_examples=20, deadline=None)
@given(HISTORIES)
def test_what_the_rules_make_is_without_findings_and_folds_to_the_live_state(driver: Driver) -> None:
    audit = audited(driver.log)
    assert audit.findings == []
    assert digests(audit.state) == digests(driver.state)


@pytest.fixture
def driver() -> Driver:
    """Two tasks, one after the other, of a run with one executor, and all is done."""
    tasks = (TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True, depends_on=(TaskId("a"),)))
    driver = Driver(Plan(name="plan", tasks=tasks))
    driver.start(max_executors=1)
    driver.drain()
    return driver


def ready(task: str, attempt: int = 1) -> ev.TaskReady:
    return ev.TaskReady(at=1, task=TaskId(task), attempt=attempt, instance=HOST, spec=TaskSpec(id=TaskId(task)))


def ended(task: str, attempt: int = 1, manifest: str = "") -> ev.TaskFinished:
    return ev.TaskFinished(
        at=1, task=TaskId(task), attempt=attempt, instance=HOST, outcome="succeeded", manifest=Digest(manifest)
    )


def message(*entries: ev.Entry, source: str = "test", name: str = "new", run: RunId | None = RUN) -> bytes:
    return encode_event(Event(id=name, source=source, kind=type(entries[0]), lane=LOCAL, run=run, entries=entries))


def place(log: list[bytes], kind: type[ev.Entry], task: str = "") -> int:
    for at, data in enumerate(log):
        event = decode_event(data)
        if event.kind is kind and (not task or any(entry.task == task for entry in event.entries)):
            return at
    raise AssertionError(kind)


def test_the_undisturbed_log_is_fine(driver: Driver) -> None:
    audit = audited(driver.log)
    assert audit.findings == []
    assert (audit.attempts, audit.repeats, audit.late) == (4, 0, 0)
    assert audit.books[RUN].most_out == 1


Tamper = Callable[[list[bytes]], None]


def hand_out_b_first(log: list[bytes]) -> None:
    log.insert(place(log, ev.TaskReady, "a"), log.pop(place(log, ev.TaskReady, "b")))


def hand_out_again(log: list[bytes]) -> None:
    log.insert(place(log, ev.TaskFinished, "a") + 1, message(ready("a")))


def hand_out_after_the_end(log: list[bytes]) -> None:
    log.append(message(ready("a", 2)))


def hand_out_after_cancelling(log: list[bytes]) -> None:
    log.insert(place(log, ev.TaskReady, "b"), message(ev.RunCancelling(at=1)))


def lose_a_result(log: list[bytes]) -> None:
    del log[place(log, ev.TaskFinished, "a")]


def end_what_never_began(log: list[bytes]) -> None:
    log.insert(place(log, ev.RunExecuted), message(ended("a", 7)))


def succeed_twice(log: list[bytes]) -> None:
    at = place(log, ev.TaskFinished, "a") + 1
    log[at:at] = [message(ready("a", 2)), message(ended("a", 2, "f" * 64), name="again")]


def another_outcome(log: list[bytes]) -> None:
    at = place(log, ev.RunFinished)
    entry = ev.RunFinished(at=1, status="succeeded", tasks={"succeeded": 2}, outcome_digest=Digest("f" * 64))
    log[at] = message(entry)


def end_again_as_failed(log: list[bytes]) -> None:
    log.append(message(ev.RunFinished(at=1, status="failed", tasks={})))


def a_run_nobody_accepted(log: list[bytes]) -> None:
    log.append(message(ready("a"), run=RunId("run-other")))


def garbage(log: list[bytes]) -> None:
    log[place(log, ev.TaskStarted)] = b"{"


def an_old_epoch(log: list[bytes]) -> None:
    for number in (1, 2):
        epoch = ev.SchedulerEpochStarted(at=1, epoch=number, instance=HOST, incarnation="x", schema_level=1)
        log.append(message(epoch, source="scheduler/s", name=f"{number}.x.0", run=None))
    log.append(message(ev.LaneResumed(at=1), source="scheduler/s", name="1.9.0", run=None))


def an_epoch_twice(log: list[bytes]) -> None:
    for number in (5, 5):
        epoch = ev.SchedulerEpochStarted(at=1, epoch=number, instance=HOST, incarnation="x", schema_level=1)
        log.append(message(epoch, source="scheduler/s", name=f"{number}.x.0", run=None))


@pytest.mark.parametrize(
    ("tamper", "checks"),
    [
        (hand_out_b_first, {"dependencies", "executors"}),
        (hand_out_again, {"hand-outs"}),
        (hand_out_after_the_end, {"hand-outs"}),
        (hand_out_after_cancelling, {"hand-outs"}),
        (lose_a_result, {"dependencies", "executors", "outcomes"}),
        (end_what_never_began, {"results"}),
        (succeed_twice, {"results"}),
        (another_outcome, {"outcomes"}),
        (end_again_as_failed, {"outcomes"}),
        (a_run_nobody_accepted, {"events"}),
        (garbage, {"events"}),
        (an_old_epoch, {"epochs"}),
        (an_epoch_twice, {"epochs"}),
    ],
)
def test_a_broken_promise_is_found(driver: Driver, tamper: Tamper, checks: set[str]) -> None:
    log = list(driver.log)
    tamper(log)
    assert checks <= set(found(log))


def test_the_same_message_twice_is_no_finding(driver: Driver) -> None:
    log = [data for data in driver.log for _ in range(2)]
    audit = audited(log)
    assert audit.findings == []
    assert audit.repeats == 4
    assert audit.late == 4


def test_a_gap_is_found(driver: Driver) -> None:
    audit = Audit()
    for seq, data in enumerate(driver.log, 1):
        audit.take(seq + (seq > 5), "", data)
    assert [finding.what for finding in audit.findings] == ["sequence 5 is followed by 7"]


def test_attempts_that_are_lost_do_not_count(driver: Driver) -> None:
    log = list(driver.log)
    at = place(log, ev.TaskFinished, "a")
    lost = ev.AttemptLost(at=1, task=TaskId("a"), attempt=1, instance=HOST)
    again = msgspec.structs.replace(decode_event(log[place(log, ev.TaskReady, "a")]).entries[0], attempt=2)
    late = log.pop(at)
    log[at:at] = [message(lost), message(again), late, message(ended("a", 2), name="second")]
    audit = audited(log)
    assert [finding.check for finding in audit.findings] == []
    assert audit.late == 1


def test_blobs_that_successes_name_are_listed(driver: Driver) -> None:
    log = list(driver.log)
    log[place(log, ev.TaskFinished, "a")] = message(ended("a", 1, "a" * 64))
    named = audited(log).blobs()
    assert named[Digest("a" * 64)] == "run run-one, manifest of a"
    assert named[Digest("m")] == "run run-one, list of the merged files"


def test_what_is_taken_over_names_its_blobs_and_needs_what_is_before_it(driver: Driver) -> None:
    log = list(driver.log)
    entry = ev.TaskReused(at=1, plan_digest=Digest("d"), task=TaskId("b"), key=Digest("k"), manifest=Digest("f" * 64))
    settled = place(log, ev.PlanSettled)
    log.insert(settled, message(entry))
    del log[settled + 2 :]
    audit = audited(log)
    assert audit.blobs()[Digest("f" * 64)] == "run run-one, manifest of b"
    assert [finding.what for finding in audit.findings] == [
        "task b was taken over, but a, which it depends on, was not"
    ]
    log.insert(settled, message(msgspec.structs.replace(entry, task=TaskId("a"), manifest=Digest(""))))
    assert audited(log).findings == []


@pytest.mark.parametrize(("unconfirmed", "is_fine"), [(("a.1",), True), ((), False)])
def test_an_end_that_comes_while_the_run_gives_up_waiting_for_it_is_fine(
    unconfirmed: tuple[str, ...], is_fine: bool
) -> None:
    driver = Driver(Plan(name="plan", tasks=(TaskSpec(id=TaskId("a"), noop=True),)))
    driver.start()
    while not any(ready.task == "a" for _, _, ready in driver.out):
        if not driver.tick():
            driver.act()
    driver.ask(RunCancelRequested(run=RUN))
    decided = outcome_digest(driver.state.runs[RUN], "cancelled")
    driver.write(LOCAL, RUN, ended("a", 1, "f" * 64))
    end = ev.RunFinished(
        at=driver.now, status="cancelled", tasks={"cancelled": 1}, outcome_digest=decided, unconfirmed=unconfirmed
    )
    driver.write(None, RUN, end)
    assert (found(driver.log) == []) == is_fine


def test_an_end_that_comes_after_its_run_was_archived_is_no_finding(driver: Driver) -> None:
    driver.write(None, None, ev.LogArchived(at=1, sequence=len(driver.log), segment=Digest("0" * 64)))
    assert RUN in driver.state.archived
    driver.write(LOCAL, RUN, ev.TaskFinished(at=1, task=TaskId("a"), attempt=1, instance=HOST, outcome="succeeded"))
    assert found(driver.log) == []
