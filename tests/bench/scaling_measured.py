"""The real system on a bag of null tasks, to compare the model with: rate by the log's own times, CPU per process.

Real broker (syncs always), real service processes, the requester's public interface. The rate is that between the first
order and the last end in the log, so planning and merging are not in it.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.asking import Requester, Watcher
from tests.chaos.plans import noop_plan
from tests.chaos.sites import DISPATCHER, SCHEDULER, SERVICES, Service, Site

from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import RunId
from pto_proto.subjects import run_filter

from .scaling_broker import TICKS_PER_S, child_named, cpu_s
from .scaling_model import Measured

CAPACITY = 1_000
"""Of the dispatcher."""
REPEATS = 3
PATIENCE_S = 120.0


async def measure(points: Sequence[tuple[int, int]]) -> list[Measured]:
    """For each (executors, tasks) the least disturbed of a few runs; one that warms up does not count."""
    with tempfile.TemporaryDirectory(prefix="pto-scaling-") as folder:
        site = Site(Path(folder))
        try:
            await site.set_up()
            site.start_all(tuple(_roomy(service) for service in SERVICES))
            requester = await Requester.open(site)
            watcher = Watcher(requester, site.check)
            watcher.begin()
            try:
                await _run(site, requester, watcher, CAPACITY, 100)
                found = []
                for executors, tasks in points:
                    runs = [await _run(site, requester, watcher, executors, tasks) for _ in range(REPEATS)]
                    found.append(min(runs, key=lambda run: run.other_cores))
                return found
            finally:
                await watcher.close()
                await requester.close()
        finally:
            site.close()


def _roomy(service: Service) -> Service:
    return Service(service.name, service.program, CAPACITY) if service is DISPATCHER else service


async def _run(site: Site, requester: Requester, watcher: Watcher, executors: int, tasks: int) -> Measured:
    pids = {name: running.process.pid for name, running in site.running.items()}
    pids |= {"broker": child_named("nats-server"), "requester": os.getpid()}
    run = f"run-{time.time_ns()}"
    before, all_before, began = {name: cpu_s(pid) for name, pid in pids.items()}, _all_cpu_s(), time.perf_counter()
    stored_before = _stored_bytes(site)
    await requester.run(run, noop_plan(tasks, 1), executors=executors)
    await watcher.until_finished(run, timeout_s=PATIENCE_S)
    own = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    other_cores = max(0.0, _all_cpu_s() - all_before - sum(own.values())) / (time.perf_counter() - began)
    spent = {name: seconds / tasks * 1e6 for name, seconds in own.items()}
    await asyncio.sleep(0.2)
    records = await requester.session.view.read_run(run_filter(RunId(run)))
    events = [decode_event(record.data) for record in records]
    orders = [
        entry.at for event in events if event.kind is ev.TaskReady for entry in event.entries if entry.task[0] != "_"
    ]
    ends = [
        entry.at for event in events if event.kind is ev.TaskFinished for entry in event.entries if entry.task[0] != "_"
    ]
    assert len(ends) == tasks, f"{len(ends)} of {tasks} tasks ended"
    seconds = max(1, max(ends) - min(orders)) / 1000
    size = sum(len(record.data) for record in records) / tasks
    scheduler, dispatcher, broker = (spent.pop(name) for name in (SCHEDULER.name, DISPATCHER.name, "broker"))
    others = sum(spent.values())
    disk = max(0, _stored_bytes(site) - stored_before) / tasks
    return Measured(executors, tasks, tasks / seconds, scheduler, dispatcher, broker, others, other_cores, size, disk)


def _stored_bytes(site: Site) -> int:
    return sum(path.stat().st_size for path in (site.folder / "store").rglob("*.blk"))


def _all_cpu_s() -> float:
    """CPU time that all processes of this machine have used so far: user, nice, system."""
    return sum(map(int, Path("/proc/stat").read_text().split()[1:4])) / TICKS_PER_S
