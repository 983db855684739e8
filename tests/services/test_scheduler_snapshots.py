"""The scheduler's snapshots: a start from one, and what makes it drop one or refuse to start."""

import asyncio

import pytest

from pto_core.snapshot import digest
from pto_memory import MemoryEventLog, MemorySnapshotStore
from pto_ports.event_log import LogCorrupt, Outgoing
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.clock import SystemClock
from pto_scheduler import snapshots
from pto_scheduler.snapshots import Snapshots
from small_system import SmallSystem

PLAN = Plan(tasks=tuple(TaskSpec(id=TaskId(f"t{i}"), noop=True) for i in range(30)))


async def finished_log(store: MemorySnapshotStore, monkeypatch: pytest.MonkeyPatch) -> SmallSystem:
    """A log with one finished run, and the snapshot that its scheduler left in the end."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_AT_END", 1)
    system = SmallSystem()
    system.snapshots = store
    system.start_all()
    await system.ask(RunRequested(run=RunId("run-one"), plan=PLAN))
    await system.until(lambda view: view.finished)
    await system.stop_all()
    return system


async def test_a_start_from_a_snapshot_reads_only_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySnapshotStore()
    system = await finished_log(store, monkeypatch)
    state, reader, news = await Snapshots(store, system.log, SystemClock()).recall()
    assert state.seq > 0
    assert len(news) + len(await reader.next(0.01)) == len(await system.log.read_run(">")) - state.seq
    zero, _, _ = await Snapshots(None, system.log, SystemClock()).recall()
    assert zero.seq == 0
    system.services.clear()
    again = system.start_scheduler()
    await system.ask(RunRequested(run=RunId("run-two"), plan=PLAN))
    system.start_local()
    system.start_planner()
    await asyncio.sleep(0.3)
    fresh = SmallSystem(system.log)
    fresh.leases = system.leases
    other = fresh.start_scheduler("from-zero")
    await asyncio.sleep(0.2)
    assert "run-two" in again.state.runs
    assert digest(again.state) == digest(other.state)
    for each in (system, fresh):
        await each.stop_all()


async def test_a_snapshot_of_another_log_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySnapshotStore()
    system = await finished_log(store, monkeypatch)
    other = MemoryEventLog()
    for number, recorded in enumerate([system.log.stored()[0], *system.log.stored()]):
        await other.append([Outgoing(recorded.subject, recorded.data, str(number))])
    state, _, news = await Snapshots(store, other, SystemClock()).recall()
    assert (state.seq, news) == (0, [])


async def test_a_damaged_snapshot_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySnapshotStore()
    system = await finished_log(store, monkeypatch)
    data = await store.load()
    assert data is not None
    await store.save(data[:-1] + bytes([data[-1] ^ 1]))
    state, _, _ = await Snapshots(store, system.log, SystemClock()).recall()
    assert state.seq == 0


async def test_a_log_that_ends_before_its_snapshot_has_lost_events(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySnapshotStore()
    await finished_log(store, monkeypatch)
    with pytest.raises(LogCorrupt, match="lost the end"):
        await Snapshots(store, MemoryEventLog(), SystemClock()).recall()
