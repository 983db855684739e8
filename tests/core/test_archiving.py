"""The archiver on a log in memory: what leaves can be had again, and everybody who starts knows the same."""

import random
from pathlib import Path

import pytest

from driver import Driver
from pto_client.archiver import Archiver, segments
from pto_core import snapshot
from pto_core.archive import SegmentDamaged, read_segment
from pto_core.reading import fold_message
from pto_core.snapshot import digest
from pto_core.state import State
from pto_memory import MemoryBlobStore, MemoryEventLog
from pto_ports.event_log import LogCorrupt, LogUnavailable, NotSettled, Outgoing
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import InstanceId, RunId, TaskId, digest_of
from pto_proto.plans import Plan, TaskSpec
from pto_runtime.beginning import begin, last_archived

PLAN = Plan(name="p", tasks=tuple(TaskSpec(id=TaskId(f"t{at}"), noop=True) for at in range(3)))


class Place:
    """A log in which runs end and epochs begin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MemoryEventLog()
        self.blobs = MemoryBlobStore()
        self.driver = Driver(PLAN)
        self.stored = 0
        self.runs = 0

    async def store(self) -> None:
        for data in self.driver.log[self.stored :]:
            self.stored += 1
            event = decode_event(data)
            await self.log.append([Outgoing(event.subject, data, f"w{random.random()}")])

    async def run_to_the_end(self) -> None:
        self.runs += 1
        self.driver.start(f"run-{self.runs:03d}")
        self.driver.drain()
        await self.store()

    async def start_a_run(self) -> None:
        self.runs += 1
        self.driver.start(f"run-{self.runs:03d}")
        self.driver.tick()
        await self.store()

    async def new_epoch(self) -> None:
        epoch = self.driver.state.epoch + 1
        entry = ev.SchedulerEpochStarted(
            at=self.driver.now, epoch=epoch, instance=InstanceId("s"), incarnation="i", schema_level=1
        )
        self.driver.write(None, None, entry)
        await self.store()

    def archiver(self) -> Archiver:
        return Archiver(self.log, self.blobs, self.folder, instance="archiver", now=7)

    async def archive(self) -> ev.LogArchived:
        found = await self.archiver().look()
        entry = await self.archiver().archive(found)
        # The driver counts its own log; what the archiver wrote takes a sequence there too.
        self.driver.write(None, None, entry)
        self.stored += 1
        return entry

    async def state_of_a_new_reader(self) -> State:
        start = await begin(self.log, self.blobs, await last_archived(self.log))
        reader = await self.log.read(after=start.seq)
        while not reader.caught_up:
            for recorded in await reader.next(0.1):
                fold_message(start.state, recorded.seq, recorded.subject, recorded.data)
        return start.state


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "archive")
    await place.run_to_the_end()
    await place.run_to_the_end()
    await place.new_epoch()
    return place


async def test_a_reader_that_starts_behind_the_archive_knows_the_same(place: Place) -> None:
    end = place.stored - 1
    entry = await place.archive()
    assert entry.sequence == end
    assert len(place.log.stored()) == 2, "the epoch and LogArchived are left"
    assert digest(await place.state_of_a_new_reader()) == digest(place.driver.state)
    await place.run_to_the_end()
    assert digest(await place.state_of_a_new_reader()) == digest(place.driver.state)


async def test_segments_follow_each_other_and_hold_every_message(place: Place) -> None:
    first = await place.archive()
    await place.run_to_the_end()
    await place.new_epoch()
    second = await place.archive()
    assert second.sequence > first.sequence
    files = list(segments(place.folder))
    assert [digest_of(path.read_bytes()) for path in files] == [first.segment, second.segment]
    kept = [data for path in files for _, _, data in read_segment(path.read_bytes().splitlines(keepends=True))]
    kept += [recorded.data for recorded in place.log.stored()]
    state = State()
    for seq, data in enumerate(kept, 1):
        fold_message(state, seq, "", data)
    assert digest(state) == digest(place.driver.state) == digest(await place.state_of_a_new_reader())
    assert not list(place.folder.glob("*.part"))


async def test_looking_changes_nothing(place: Place) -> None:
    before = len(place.log.stored())
    found = await place.archiver().look()
    assert (found.first, found.messages, found.head) == (1, before - 1, before)
    assert len(place.log.stored()) == before
    assert not place.folder.exists()
    assert (await place.archiver().look(before=1)).messages == 0


async def test_an_open_run_keeps_all_that_it_needs(place: Place) -> None:
    await place.start_a_run()
    accepted = place.driver.state.runs[RunId("run-003")].accepted_seq
    await place.new_epoch()
    found = await place.archiver().look()
    assert found.cut.seq == accepted - 1
    assert found.cut.held_by == "run run-003 is open"
    await place.archive()
    assert digest(await place.state_of_a_new_reader()) == digest(place.driver.state)


async def test_what_was_interrupted_before_the_purge_is_finished(place: Place) -> None:
    purge = place.log.purge

    async def away(up_to: int) -> None:
        raise LogUnavailable("away")

    place.log.purge = away  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await place.archive()
    place.log.purge = purge  # type: ignore[method-assign]
    assert place.log.stored()[0].seq == 1
    reader_state = await place.state_of_a_new_reader()
    sequence = await place.archiver().finish()
    assert place.log.stored()[0].seq == sequence + 1
    assert digest(await place.state_of_a_new_reader()) == digest(reader_state)


async def test_nothing_is_purged_that_was_not_announced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> int:
        raise NotSettled("no")

    monkeypatch.setattr(place.log, "append", refuse)
    with pytest.raises(LogUnavailable, match="nothing was purged"):
        await place.archive()
    assert place.log.stored()[0].seq == 1
    assert await place.archiver().finish() == 0


async def test_a_snapshot_of_another_version_stops_readers_until_it_is_made_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.archive()
    await place.run_to_the_end()
    await place.new_epoch()
    await place.archive()
    monkeypatch.setattr(snapshot, "FOLD_VERSION", 999)
    with pytest.raises(LogCorrupt, match="another version of the fold"):
        await place.state_of_a_new_reader()
    entry = await place.archiver().renew()
    place.driver.write(None, None, entry)
    assert digest(await place.state_of_a_new_reader()) == digest(place.driver.state)


async def test_a_missing_segment_is_told(place: Place) -> None:
    await place.archive()
    next(segments(place.folder)).unlink()
    with pytest.raises(SegmentDamaged, match="segments end at 0"):
        await place.archiver().renew()
