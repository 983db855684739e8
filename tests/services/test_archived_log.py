"""A system goes on on a log of which the beginning was archived."""

from pathlib import Path

import pytest

from pto_client.archiver import Archiver
from pto_core.reading import fold_message
from pto_core.snapshot import digest
from pto_core.state import State
from pto_memory import MemorySnapshotStore
from pto_ports.event_log import Recorded
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_scheduler import snapshots
from small_system import SmallSystem

PLAN = Plan(tasks=tuple(TaskSpec(id=TaskId(f"t{at}"), noop=True) for at in range(5)))


async def finish(system: SmallSystem, run: str) -> None:
    system.start_all()
    await system.ask(RunRequested(run=RunId(run), plan=PLAN))
    await system.until(lambda view: view.finished, run=RunId(run))
    await system.stop_all()
    system.services.clear()


def folded(messages: list[Recorded]) -> State:
    state = State()
    for recorded in messages:
        fold_message(state, recorded.seq, recorded.subject, recorded.data)
    return state


@pytest.mark.parametrize("with_old_snapshot", [False, True])
async def test_a_scheduler_starts_behind_the_archive_and_knows_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_old_snapshot: bool
) -> None:
    system = SmallSystem()
    if with_old_snapshot:
        monkeypatch.setattr(snapshots, "SNAPSHOT_AT_END", 1)
        system.snapshots = MemorySnapshotStore()
    await finish(system, "run-one")
    await finish(system, "run-two")
    whole = system.log.stored()
    archiver = Archiver(system.log, system.blobs, tmp_path, instance="archiver", now=1)
    found = await archiver.look()
    assert "epoch" in found.cut.held_by
    entry = await archiver.archive(found)
    assert system.log.stored()[0].seq == entry.sequence + 1
    await finish(system, "run-three")
    scheduler = system.start_scheduler()
    await system.until(lambda view: view.finished, run=RunId("run-three"))
    await system.stop_all()
    everything = [*whole, *system.log.stored(after=len(whole))]
    assert digest(folded(everything)) == digest(scheduler.state)
    assert [(run.id, str(run.phase)) for run in scheduler.state.runs.values()] == [
        ("run-two", "succeeded"),
        ("run-three", "succeeded"),
    ], "the end of run-two is behind the leader's epoch and stayed"
    assert set(scheduler.state.archived) == {"run-one"}


async def test_a_snapshot_from_before_the_archives_end_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_AT_END", 1)
    system, store = SmallSystem(), MemorySnapshotStore()
    system.snapshots = store
    await finish(system, "run-one")
    old = await store.load()
    assert old is not None
    await finish(system, "run-two")
    archiver = Archiver(system.log, system.blobs, tmp_path, instance="archiver", now=1)
    entry = await archiver.archive(await archiver.look())
    await store.save(old)
    state, reader, _ = await snapshots.Snapshots(store, system.log, system.clock, system.blobs).recall()
    assert state.seq == entry.sequence
    assert (await reader.next(1))[0].seq == entry.sequence + 1
