"""The auditor against a log in memory: states are compared at their own sequence, differences are named."""

import msgspec
import pytest

from pto_client.auditor import Auditor, missing_blobs
from pto_core.fold import evolve
from pto_core.snapshot import FOLD_VERSION, digests
from pto_core.state import State
from pto_memory import MemoryBlobStore, MemoryEventLog, MemoryLiveChannel, VirtualClock
from pto_ports.event_log import Outgoing
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import Digest, RunId
from pto_proto.live import StateShown
from pto_proto.manifests import Manifest
from pto_proto.requests import RunRequested
from pto_proto.subjects import AUDIT_SUBJECT, STATE_SUBJECT


class Place:
    """A log of a few accepted runs, and schedulers that have folded as far as they say."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.log = MemoryEventLog(clock=self.clock)
        self.channel = MemoryLiveChannel()
        self.messages: list[bytes] = []

    async def accept(self, count: int) -> None:
        for at in range(len(self.messages), len(self.messages) + count):
            run = RunId(f"run-{at:03d}")
            accepted = ev.RunAccepted(at=1, content_digest=Digest("c"), request=RunRequested(run=run))
            event = Event(id=f"e{at}", source="test", kind=ev.RunAccepted, lane=None, run=run, entries=(accepted,))
            self.messages.append(encode_event(event))
            await self.log.append([Outgoing(event.subject, self.messages[-1], event.id)])

    def folded(self, seq: int) -> State:
        state = State()
        for at, data in enumerate(self.messages[:seq], 1):
            evolve(state, at, decode_event(data))
        return state

    async def scheduler(self, name: str, state: State, **other: object) -> None:
        found = digests(state)
        fields = {"fold_version": FOLD_VERSION, "runs": found.runs, "digest": found.state, "seq": state.seq, **other}
        shown = msgspec.convert({"instance": name, "incarnation": "i", "role": "standby", **fields}, StateShown)

        async def answer() -> None:
            await self.channel.send(STATE_SUBJECT, msgspec.json.encode(shown))

        answers = answer()

        def on_question(subject: str, data: bytes) -> None:
            with pytest.raises(StopIteration):
                answers.send(None)

        await self.channel.listen(AUDIT_SUBJECT, on_question)

    async def audit(self) -> Auditor:
        auditor = Auditor(self.log, self.clock)

        async def work() -> None:
            await auditor.ask(self.channel)
            await auditor.fold()

        await self.clock.run(work())
        return auditor


@pytest.fixture
async def place() -> Place:
    place = Place()
    await place.accept(5)
    return place


async def test_states_are_compared_at_their_own_sequences(place: Place) -> None:
    for name, seq in (("scheduler", 5), ("scheduler-2", 3), ("scheduler-3", 0)):
        await place.scheduler(name, place.folded(seq))
    compared = (await place.audit()).compared
    assert [(item.shown.instance, item.shown.seq, item.agrees) for item in compared] == [
        ("scheduler-3", 0, True),
        ("scheduler-2", 3, True),
        ("scheduler", 5, True),
    ]


async def test_a_difference_is_named_by_its_run(place: Place) -> None:
    state = place.folded(5)
    state.runs[RunId("run-003")].max_executors = 99
    del state.runs[RunId("run-004")]
    state.active.pop(RunId("run-004"))
    await place.scheduler("scheduler", state)
    (item,) = (await place.audit()).compared
    assert not item.agrees
    assert item.differing == ("run-003", "run-004")


async def test_a_difference_beside_the_runs_is_seen(place: Place) -> None:
    state = place.folded(5)
    state.epoch = 9
    await place.scheduler("scheduler", state)
    (item,) = (await place.audit()).compared
    assert (item.agrees, item.differing, item.problem) == (False, (), "")


async def test_what_cannot_be_compared_says_why(place: Place) -> None:
    state = place.folded(5)
    await place.scheduler("old", state, fold_version=99)
    state.seq = 7
    await place.scheduler("ahead", state)
    compared = (await place.audit()).compared
    assert [item.problem for item in compared] == [
        f"it has version 99 of the fold, this command has {FOLD_VERSION}",
        "the log ends at sequence 5",
    ]


async def test_nobody_there_is_no_error(place: Place) -> None:
    auditor = await place.audit()
    assert auditor.compared == []
    assert auditor.audit.seq == 5
    assert auditor.audit.findings == []


async def test_nonsense_for_an_answer_is_ignored(place: Place) -> None:
    async def work() -> Auditor:
        auditor = Auditor(place.log, place.clock)
        await auditor.ask(place.channel)
        return auditor

    await place.channel.listen(AUDIT_SUBJECT, lambda subject, data: None)
    assert (await place.clock.run(work())).shown == []


async def test_missing_and_damaged_blobs_are_told() -> None:
    blobs = MemoryBlobStore()
    bundle = await blobs.put(b"bundle")
    good = await blobs.put(msgspec.json.encode(Manifest(bundle=bundle, files=())))
    torn = await blobs.put(msgspec.json.encode(Manifest(bundle=Digest("0" * 64), files=())))
    log = await blobs.put(b"log")
    named = {
        good: "run r, manifest of a", log: "run r, log of a", torn: "run r, manifest of b",
        Digest("1" * 64): "run r, log of b",
    }  # fmt: skip
    assert await missing_blobs(blobs, named) == [
        f"run r, manifest of b: blob {torn[:12]}, or one that it names, is not there",
        f"run r, log of b: blob {'1' * 12}, or one that it names, is not there",
    ]
    named[log] = "run r, manifest of a"
    assert f"run r, manifest of a: blob {log[:12]} is no manifest" in await missing_blobs(blobs, named)
