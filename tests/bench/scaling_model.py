"""A queueing model of scheduler, broker and dispatchers: what they wait for each other when every piece has its cost.

A plain heap of moments; no library is needed for five kinds of events. Batches are as in the product: whatever waits is
taken at once, one write of each service is under way, 100 tasks to an event. Only control costs time: what nodes need to
fetch files or to start processes is part of the task's length here.
"""

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

from pto_core.limits import MAX_HAND_OUT
from pto_dispatch.dispatcher import MAX_REPORTS
from pto_ports.event_log import MAX_EACH
from pto_proto.envelope import MAX_ENTRIES

from .scaling_broker import Bus, Wire
from .scaling_costs import Pure

US = 1e-6
KB = 1000
ORDER_SHARE = 0.5
"""Of a task's bytes in the log that its order has; its start and end share the rest."""


class Site(NamedTuple):
    """What is where."""

    nodes: int
    """Executors; each runs one task at a time."""
    lanes: int = 1
    per_lane: int = 1
    """Dispatcher instances that share a lane."""
    cores: int = 0
    """On which everything runs together; 0: every service has a core of its own."""
    replicas: int = 1
    is_one_run: bool = False
    """Whether all tasks are of one run: its orders go out one event at a time."""
    collect_s: float = 0.0
    """That a dispatcher waits for more to report before it writes; the product does not wait."""
    others_us: float = 0.0
    """CPU per task that others take on the shared cores: who looks on, who plans."""
    logs: int = 1
    """Streams with a scheduler each, over which runs and lanes are spread evenly."""


class Rest(NamedTuple):
    """CPU per task in microseconds that whole processes spend beyond what their pieces cost: plans, timers, threads."""

    scheduler_us: float = 0.0
    broker_us: float = 0.0
    dispatcher_us: float = 0.0


class Cost(NamedTuple):
    """Everything that is measured, and the two assumptions about replicas."""

    pure: Pure
    bus: Bus
    rest: Rest = Rest()
    replica_cpu: float = 0.5
    """CPU that the leading server spends for each further replica, as a share of its own; assumed."""
    replica_wait_us: float = 900.0
    """That a write of three replicas waits longer; measured with three servers on one machine, an upper bound."""


class Found(NamedTuple):
    """What came out, for one log of the site."""

    seconds: float
    rate: float
    """Tasks per second, of all logs together."""
    busy: float
    """Share of the nodes' time that is work."""
    scheduler: float
    broker: float
    dispatcher: float
    """Shares of the time that these are busy; of dispatchers the busiest."""
    tasks_per_tick: float


class Measured(NamedTuple):
    """One real run of null tasks, to compare with."""

    executors: int
    tasks: int
    rate: float
    """Tasks per second between the first order and the last end."""
    scheduler_us: float
    dispatcher_us: float
    broker_us: float
    others_us: float
    """CPU per task of the whole processes, from before the request to the end of the run; the others are planner,
    consolidator and the requester that looks on.
    """
    other_cores: float
    """Cores that processes outside the measurement used meanwhile."""
    task_bytes: float
    """Of the log per task, the whole run taken together."""
    disk_bytes: float
    """That the broker's store grew by per task: log and mirror, compressed as far as blocks were full."""


def simulate(site: Site, cost: Cost, task_s: float, tasks: int, seed: int = 1) -> Found:
    """Run so many tasks of about this length (half to one and a half of it) through one log of the site."""
    return _Simulation(site, cost, task_s, tasks, seed).run()


class _Cores:
    """Some cores that a queue of jobs waits for."""

    def __init__(self, simulation: "_Simulation", count: int) -> None:
        self._simulation, self._free = simulation, count
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()

    def work(self, seconds: float, then: Callable[[], None]) -> None:
        self._queue.append((seconds, then))
        self._go_on()

    def _go_on(self) -> None:
        while self._free and self._queue:
            seconds, then = self._queue.popleft()
            self._free -= 1
            self._simulation.after(seconds, lambda then=then: self._done(then))  # type: ignore[misc]

    def _done(self, then: Callable[[], None]) -> None:
        self._free += 1
        then()
        self._go_on()


class _Process:
    """Something that does one job after the other on its cores."""

    def __init__(self, cores: _Cores) -> None:
        self._cores = cores
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_working = False
        self.busy_s = 0.0

    def work(self, micros: float, then: Callable[[], None]) -> None:
        self._queue.append((micros * US, then))
        self._go_on()

    def _go_on(self) -> None:
        if self._is_working or not self._queue:
            return
        seconds, then = self._queue.popleft()
        self._is_working = True
        self.busy_s += seconds

        def done() -> None:
            self._is_working = False
            then()
            self._go_on()

        self._cores.work(seconds, done)


class _Dispatcher:
    """One instance: orders in, starts and ends out, one write under way."""

    def __init__(self, process: _Process) -> None:
        self.process = process
        self.orders = 0
        self.starts = 0
        self.ends = 0
        """To report."""
        self.is_reading = False
        self.is_writing = False


class _Simulation:
    def __init__(self, site: Site, cost: Cost, task_s: float, tasks: int, seed: int) -> None:
        self._site, self._cost, self._task_s = site, cost, task_s
        self._random = random.Random(seed)
        self._now = 0.0
        self._moments: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        shared = _Cores(self, site.cores) if site.cores else None
        self._scheduler, self._broker, self._others = (_Process(shared or _Cores(self, 1)) for _ in range(3))
        self._lanes = [
            [_Dispatcher(_Process(shared or _Cores(self, 1))) for _ in range(site.per_lane)]
            for _ in range(max(1, site.lanes // site.logs))
        ]
        self._slots = site.nodes // site.logs
        self._most = MAX_ENTRIES if site.is_one_run else MAX_HAND_OUT
        self._all = self._left = tasks
        self._out = 0
        self._ended = self._news = 0
        """Ends and entries that the scheduler has not read yet."""
        self._finished = self._ticks = self._turn = 0
        self._is_ticking = False
        self._done_at: list[float] = []

    def run(self) -> Found:
        self._tick()
        while self._moments:
            self._now, _, then = heappop(self._moments)
            then()
        assert self._finished == self._all, "the model lost tasks"
        # The first and the last tenth fill and empty the nodes; what lies between is the steady rate.
        start, end = self._done_at[self._all // 10], self._done_at[self._all * 9 // 10]
        between = bisect_right(self._done_at, end) - bisect_right(self._done_at, start)
        rate = between / max(1e-9, end - start)
        dispatchers = [one.process.busy_s for lane in self._lanes for one in lane]
        return Found(
            self._now, rate * self._site.logs, min(1.0, rate * self._task_s / self._slots), self._scheduler.busy_s / self._now,
            self._broker.busy_s / self._now, max(dispatchers) / self._now, self._all / max(1, self._ticks),
        )  # fmt: skip

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        self._number += 1
        heappush(self._moments, (self._now + seconds, self._number, then))

    # --- the scheduler ---

    def _tick(self) -> None:
        """Take what was reported, hand out what fits, write it, read it back."""
        ready = min(self._left, self._slots - self._out + self._ended, self._most)
        if self._is_ticking or (not ready and not self._news):
            return
        self._is_ticking = True
        self._out += ready - self._ended
        # The line counts a task once: a third for its order, and one for each of the two entries that it reports.
        pure = self._cost.pure
        micros = (
            pure.scheduler.of((ready + self._news) / 3)
            + pure.open_us * self._out
            + self._cost.rest.scheduler_us * ready
        )
        self._ended = self._news = 0
        self._left -= ready
        self._ticks += ready > 0
        shares = self._spread(ready)
        messages = sum(-(-share // MAX_ENTRIES) for share in shares)
        kilobytes = ready * self._bytes(ready) * ORDER_SHARE / KB
        client = self._cost.bus.client.of(messages, kilobytes) / 2 if ready else 0.0

        def stored() -> None:
            self._is_ticking = False
            for lane, share in zip(self._lanes, shares, strict=True):
                if share:
                    self._order(lane, share)
            self._tick()

        def decided() -> None:
            if ready:
                self._append(messages, kilobytes, 0, stored)
            else:
                stored()

        self._scheduler.work(micros + client, decided)

    def _spread(self, ready: int) -> list[int]:
        """Evenly over the lanes, beginning where it stopped."""
        lanes = len(self._lanes)
        each, more = divmod(ready, lanes)
        shares = [each + ((at - self._turn) % lanes < more) for at in range(lanes)]
        self._turn = (self._turn + more) % lanes
        return shares

    def _bytes(self, tasks: float) -> float:
        pure = self._cost.pure
        return pure.task_bytes + (pure.single_bytes - pure.task_bytes) / max(1.0, tasks / len(self._lanes))

    # --- the broker ---

    def _append(self, messages: float, kilobytes: float, tasks: int, then: Callable[[], None], parts: int = 1) -> None:
        further = self._site.replicas - 1
        bus = self._cost.bus
        micros = (parts * bus.server.of(messages / parts, kilobytes / parts) + self._cost.rest.broker_us * tasks) * (
            1 + self._cost.replica_cpu * further
        )
        # What the broker computes is part of what an append waits for; the rest is the disk and the way.
        wait = parts * _rest(bus.wait, bus.server, messages / parts, kilobytes / parts) + (
            self._cost.replica_wait_us if further else 0.0
        )
        self._broker.work(micros, lambda: self.after(wait * US, then))

    # --- dispatchers ---

    def _order(self, lane: list[_Dispatcher], share: int) -> None:
        each, more = divmod(share, len(lane))
        for at, one in enumerate(lane):
            own = each + (at < more)
            foreign = share - own
            if foreign:
                one.process.work(self._cost.pure.foreign.of(foreign), lambda: None)
            one.orders += own
            self._read(one)

    def _read(self, one: _Dispatcher) -> None:
        if one.is_reading or not one.orders:
            return
        one.is_reading = True
        orders, one.orders = one.orders, 0

        def started() -> None:
            one.is_reading = False
            one.starts += orders
            if self._task_s:
                for _ in range(orders):
                    self.after(self._task_s * (0.5 + self._random.random()), lambda: self._end(one))
            else:
                self._done_at += [self._now] * orders
                one.ends += orders
            self._report(one)
            self._read(one)

        one.process.work(self._cost.pure.dispatcher.of(orders) + self._cost.rest.dispatcher_us * orders, started)

    def _end(self, one: _Dispatcher) -> None:
        self._done_at.append(self._now)
        one.ends += 1
        self._report(one)

    def _report(self, one: _Dispatcher) -> None:
        if one.is_writing or not one.starts + one.ends:
            return
        one.is_writing = True
        self.after(self._site.collect_s, lambda: self._write_reports(one))

    def _write_reports(self, one: _Dispatcher) -> None:
        starts, ends = min(one.starts, MAX_REPORTS // 2), min(one.ends, MAX_REPORTS // 2)
        one.starts -= starts
        one.ends -= ends
        told = starts + ends
        kilobytes = told / 2 * self._bytes(told / 2 * len(self._lanes)) * (1 - ORDER_SHARE) / KB
        messages = -(-starts // MAX_ENTRIES) + -(-ends // MAX_ENTRIES)

        def stored() -> None:
            one.is_writing = False
            self._ended += ends
            self._news += told
            self._finished += ends
            self._others.work(ends * self._site.others_us, lambda: None)
            self._tick()
            self._report(one)

        # A few are stored each by itself, more of them as one batch.
        parts = messages if messages <= MAX_EACH else 1

        def sent() -> None:
            self._append(messages, kilobytes, ends, stored, parts)

        one.process.work(parts * self._cost.bus.client.of(messages / parts, kilobytes / parts) / 2, sent)


def _rest(wait: Wire, server: Wire, messages: float, kilobytes: float) -> float:
    return max(0.0, wait.of(messages, kilobytes) - server.of(messages, kilobytes))
