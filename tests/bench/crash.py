"""W7: kill -9 half-way, a start again after a moment; what is lost, what is done twice, and how soon work goes on.

Each task appends its name to a file, so what was really executed is counted outside the product. Invariant: a record
says how often every task was executed, by that file, and how every task ended, by the log.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from tests.chaos.asking import Requester, Watcher
from tests.chaos.plans import APPEND, TRACE
from tests.chaos.sites import DISPATCHER, SCHEDULER, Site

from pto_proto.plans import Plan, TaskSpec

from .asking import NotAsExpected, new_run
from .meter import Meter, Record
from .options import SYNC, Options
from .plans import name_of, noops
from .running import fresh_folder, services
from .shapes import bag
from .warm import described

TASKS = 1_000
EXECUTORS = 2
AWAY_S = 0.3
LOOK_S = 0.002
LIMIT_S = 120.0
BROKER = "broker"
EVERYTHING = "everything"
VICTIMS: dict[str, tuple[str, ...]] = {
    "scheduler": (SCHEDULER.name,),
    "dispatcher": (DISPATCHER.name,),
    BROKER: (BROKER,),
    EVERYTHING: (BROKER, *(service.name for service in services())),
}


class Trace:
    """The file to which the tasks append: a line has the task as its second word."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open()
        self._rest = ""
        self._executed: Counter[str] = Counter()

    def executed(self) -> Counter[str]:
        """Task -> how often, up to now."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        self._executed.update(line.split()[1] for line in lines)
        return self._executed

    async def wait(self, is_enough: Callable[[Counter[str]], bool], limit_s: float = LIMIT_S) -> bool:
        """Until what was executed is enough; False if it is not within the limit."""
        until = time.monotonic() + limit_s
        while not is_enough(self.executed()):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def wait_for(self, count: int, of: Callable[[Counter[str]], int] = Counter.total) -> None:
        """Until there are so many executions (``of=len``: tasks that ran). Raises NotAsExpected."""
        if not await self.wait(lambda executed: of(executed) >= count):
            raise NotAsExpected(f"{count} did not come within {LIMIT_S:g} s: {of(self.executed())}")


async def restarts(name: str, options: Options) -> AsyncIterator[Record]:
    """Kill this victim; one record per repeat."""
    for repeat in range(options.repeats):
        async with fresh_folder() as folder:
            yield {**await _one(folder, name, options), "rep": repeat}


async def _one(folder: Path, name: str, options: Options) -> Record:
    trace = Trace(folder / "trace")
    site = Site(folder, sync_interval=SYNC[options.sync])
    site.variables[TRACE] = str(folder / "trace")
    try:
        await site.set_up()
        site.start_all(services())
        requester = await Requester.open(site)
        watcher = Watcher(requester, site.check)
        watcher.begin()
        try:
            return await _story(site, requester, watcher, trace, name, options)
        finally:
            await watcher.close()
            await requester.close()
    finally:
        site.close()


async def _story(
    site: Site, requester: Requester, watcher: Watcher, trace: Trace, name: str, options: Options
) -> Record:
    victims = VICTIMS[name]
    n, run = options.size(TASKS, 20), str(new_run())
    plan = Plan(name="traces", tasks=tuple(TaskSpec(id=name_of(at), command=APPEND, env=(TRACE,)) for at in range(n)))
    first = str(new_run())
    await requester.run(first, noops(bag(1)), executors=1)
    await watcher.until_finished(first, timeout_s=LIMIT_S)
    meter = Meter()
    meter.start()
    await requester.run(run, plan, executors=EXECUTORS)
    await trace.wait_for(n // 2)
    half_s = meter.since_start()
    _kill(site, victims)
    await asyncio.sleep(AWAY_S)
    before, ran, restarted = trace.executed().total(), len(trace.executed()), time.perf_counter()
    _start(site, victims)
    await trace.wait_for(min(ran + 1, n), of=len)
    first_new_s = time.perf_counter() - restarted
    await watcher.until_finished(run, timeout_s=LIMIT_S)
    meter.stop()
    executed = trace.executed()
    known = watcher.succeeded[run]
    if watcher.finished[run] != "succeeded":
        raise NotAsExpected(f"after a kill -9 of {name} the run {watcher.finished[run]}")
    return described("W7", EXECUTORS, options) | meter.record(n) | {
        "variant": f"kill -9 {name}", "half_s": round(half_s, 3), "at_kill": before,
        "first_new_s": round(first_new_s, 3), "done_after_restart_s": round(time.perf_counter() - restarted, 3),
        "lost": n - min(len(executed), known), "repeated": executed.total() - len(executed),
    }  # fmt: skip


def _kill(site: Site, victims: Iterable[str]) -> None:
    for victim in victims:
        if victim == BROKER:
            site.broker.kill()
        else:
            site.kill(victim)


def _start(site: Site, victims: Iterable[str]) -> None:
    by_name = {service.name: service for service in services()}
    for victim in victims:
        if victim == BROKER:
            site.broker.restart()
        else:
            site.start(by_name[victim])
