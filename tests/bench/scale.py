"""The workloads about scale: long runs, many runs, long logs, more dispatchers."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import groupby

from tests.chaos.sites import PASSWORD, SCHEDULER, SECOND_DISPATCHER, Service, Site

from pto_bus.session import open_session
from pto_ports.event_log import MAX_BATCH, LogReader, Outgoing
from pto_proto.subjects import EPOCH_SUBJECT

from .asking import PATIENCE_S, Client, NotAsExpected
from .history import Written, history
from .meter import Meter, Record
from .options import SYNC, Options
from .plans import noops
from .running import CAPACITY, System, fresh_folder, running, services
from .shapes import bag, layered
from .warm import described, moments

SIZES = (1_000, 10_000, 100_000)
LAYERS = 20
RUNS_AT_ONCE = 1_000
TASKS_EACH = 10
EXECUTORS_EACH = 2
FINISHED_RUNS = 10_000
FINISHED_AT_ONCE = 500
PROBE = 10_000
"""Tasks of the run with which a state of the system is compared with another one."""
ENTRIES = 1_000_000
ENTRIES_PER_RUN = 10_000


async def sizes(options: Options) -> AsyncIterator[Record]:
    """S1: the same work per task in ever longer runs, as a bag and as layers."""
    async with running(options) as system:
        for full in SIZES:
            n = options.size(full, LAYERS * 3)
            for variant, shape in (("bag", bag(n)), ("layers", layered(n // LAYERS))):
                for repeat in range(options.repeats):
                    record = await _probe(system.client, "S1", variant, shape, options)
                    yield {**record, "rep": repeat}


async def many_runs(options: Options) -> AsyncIterator[Record]:
    """S2: many small runs at once."""
    runs = options.size(RUNS_AT_ONCE)
    async with running(options) as system:
        for repeat in range(options.repeats):
            meter = Meter()
            stories = await system.client.measure_many(
                noops(bag(TASKS_EACH)), runs=runs, executors=EXECUTORS_EACH, meter=meter
            )
            ends = sorted(story.finished_s for story in stories)
            yield described("S2", EXECUTORS_EACH, options) | meter.record(runs * TASKS_EACH) | {
                "variant": f"{runs} runs of {TASKS_EACH}", "rep": repeat, "runs": runs,
                "submitted_s": round(max(story.submitted_s for story in stories), 4),
                "median_end_s": round(ends[len(ends) // 2], 4), "run_finished_s": round(ends[-1], 4),
            }  # fmt: skip


async def after_many(options: Options) -> AsyncIterator[Record]:
    """S3: a run on a new log, and the same run after many others have ended."""
    runs = options.size(FINISHED_RUNS)
    async with running(options) as system:
        async for record in _probes(system, "S3", "0 runs before", options):
            yield record
        for at in range(0, runs, FINISHED_AT_ONCE):
            count = min(FINISHED_AT_ONCE, runs - at)
            await system.client.measure_many(noops(bag(1)), runs=count, executors=1, meter=Meter())
        async for record in _probes(system, "S3", f"{runs} runs before", options):
            yield record


async def dispatchers(options: Options) -> AsyncIterator[Record]:
    """S4: one dispatcher in the lane, and two."""
    shape = bag(options.size(100_000))
    for ensemble in (services(), (*services(), Service(SECOND_DISPATCHER.name, SECOND_DISPATCHER.program, CAPACITY))):
        count = len(ensemble) - len(services()) + 1
        async with running(options, ensemble) as system:
            for repeat in range(options.repeats):
                executors = CAPACITY * count
                record = await _probe(system.client, "S4", f"{count} per lane", shape, options, executors)
                yield {**record, "rep": repeat, "dispatchers": count}


async def long_log(options: Options) -> AsyncIterator[Record]:
    """S5: a scheduler's start on a long log, from zero and with its snapshot, and a run on top of it."""
    wanted = options.size(ENTRIES, 1_000)
    async with fresh_folder() as folder:
        site = Site(folder, sync_interval=SYNC[options.sync])
        try:
            await site.set_up()
            entries = await _fill(site, wanted)
            viewer = await open_session(site.url, user="viewer", password=PASSWORD)
            epochs = await viewer.view.read(subject=EPOCH_SUBJECT)
            for variant in ("from zero", "with its snapshot"):
                yield await _start_of_scheduler(site, epochs, variant, entries, options)
            await viewer.close()
            site.start_all(services())
            client = await Client.open(site.url)
            try:
                await client.measure(noops(bag(1)), executors=1, meter=Meter())
                async for record in _probes(System(site, client, 0.0), "S5", f"after {entries} entries", options):
                    yield record
            finally:
                await client.close()
        finally:
            site.close()


async def rebuild(options: Options) -> AsyncIterator[Record]:
    """The fold alone, in a process with nothing else in its memory."""
    words = ("-m", f"{__package__}.rebuild", "--entries", str(options.size(ENTRIES, 1_000)))
    for repeat in range(options.repeats):
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the rebuild ended with {process.returncode}")
        for line in out.splitlines():
            yield described("rebuild", 1, options) | json.loads(line) | {"rep": repeat}


async def _probes(system: System, name: str, variant: str, options: Options) -> AsyncIterator[Record]:
    for repeat in range(options.repeats):
        record = await _probe(system.client, name, variant, bag(options.size(PROBE)), options)
        yield {**record, "rep": repeat}


async def _probe(
    client: Client, name: str, variant: str, shape: list[list[int]], options: Options, executors: int = CAPACITY
) -> Record:
    meter = Meter()
    story = await client.measure(noops(shape), executors=executors, meter=meter)
    return described(name, executors, options) | meter.record(story.n) | moments(story) | {"variant": variant}


async def _fill(site: Site, entries: int) -> int:
    """Write a history with the accounts of those who would have; returns its entries."""
    accounts = ("scheduler", "planner", "dispatcher-local", "consolidator")
    sessions = {user: await open_session(site.url, user=user, password=PASSWORD) for user in accounts}
    count = 0
    try:
        events = history(entries, max(1, entries // ENTRIES_PER_RUN))
        for account, group in groupby(events, key=lambda event: event.account):
            part: list[Written] = list(group)
            count += sum(event.entries for event in part)
            for at in range(0, len(part), MAX_BATCH):
                batch = [Outgoing(event.subject, event.data, event.wire_id) for event in part[at : at + MAX_BATCH]]
                await sessions[account].log.append(batch)
    finally:
        for session in sessions.values():
            await session.close()
    return count


async def _start_of_scheduler(site: Site, epochs: LogReader, variant: str, entries: int, options: Options) -> Record:
    """From the process's start until it is known that it leads; then it is ended in order, which leaves a snapshot."""
    meter = Meter()
    meter.start()
    running_service = site.start(SCHEDULER)
    if not await epochs.next(PATIENCE_S):
        raise NotAsExpected(f"the scheduler did not lead within {PATIENCE_S:g} s")
    meter.stop()
    record = described("S5", 1, options) | meter.record(entries) | {"variant": f"start {variant}", "rep": 0}
    running_service.process.terminate()
    site.wait_exit(SCHEDULER.name)
    return record
