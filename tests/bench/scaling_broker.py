"""What the broker and its clients pay per append, per message and per byte, measured on a real server that syncs always.

Four ways to write give four equations: small messages one at a time, a few and many in a batch, and large ones one at a
time. The stream has the readers it has in production: the scheduler's, a dispatcher's and the mirror.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.event_log import NatsEventLog
from pto_bus.topology import single_host_accounts
from pto_ports.event_log import LogReader, Outgoing
from pto_proto.ids import LANE_LOCAL
from pto_proto.subjects import lane_filter

from .scaling_costs import Rig, reports

PASSWORD = "for-tests"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KB = 1000
WAYS = ((200, 1, 1), (60, 2, 1), (40, 40, 1), (100, 1, 100))
"""Appends, messages in each, and tasks in each message."""
TRIES = 4
"""Of each way, in turns; the cheapest counts, because disturbances only ever add."""
SETTLE_S = 0.3
"""For the mirror and the readers to come along."""


class Way(NamedTuple):
    """One way to write, and what it cost in all."""

    appends: int
    batches: int
    """Appends of more than one message."""
    messages: int
    kilobytes: float
    server_us: float
    client_us: float
    """Of this process, which writes, and reads everything twice."""
    wall_us: float
    """Median time of one append, from its call to the acknowledgement."""


class Wire(NamedTuple):
    """Microseconds per append, more if it is an atomic batch, per message in it and per kilobyte of it."""

    append_us: float
    batch_us: float
    message_us: float
    kilobyte_us: float

    def of(self, messages: float, kilobytes: float) -> float:
        """Of one append."""
        batch_us = self.batch_us if messages > 1 else 0.0
        return self.append_us + batch_us + self.message_us * messages + self.kilobyte_us * kilobytes


class Bus(NamedTuple):
    """What goes over the wire costs."""

    server: Wire
    """CPU of the broker."""
    client: Wire
    """CPU of one writer and two readers in Python, decoding not included."""
    wait: Wire
    """Time until an append is acknowledged by one server that syncs always, alone on the broker."""


async def measure() -> Bus:
    """All of it; takes a few seconds."""
    # ``Broker.start`` wants the main thread.
    with tempfile.TemporaryDirectory(prefix="pto-scaling-") as folder:
        accounts = single_host_accounts(PASSWORD, (LANE_LOCAL,))
        with Broker.start(Path(folder) / "store", accounts) as broker:
            admin = await connect(broker.url, user="bootstrap", password=PASSWORD)
            await bootstrap(admin, accounts)
            await admin.close()
            ways = await _write_in_all_ways(broker)
            broker.kill()
    return Bus(
        _solve([way.server_us / way.appends for way in ways], ways),
        _solve([way.client_us / way.appends for way in ways], ways),
        _solve([way.wall_us for way in ways], ways),
    )


async def _write_in_all_ways(broker: Broker) -> list[Way]:
    server = child_named("nats-server")
    writer = await connect(broker.url, user="scheduler", password=PASSWORD)
    lane = await connect(broker.url, user="dispatcher-local", password=PASSWORD)
    log = NatsEventLog(writer)
    readers = [await log.read(), await NatsEventLog(lane).read(subject=lane_filter(LANE_LOCAL))]
    following = [asyncio.create_task(_follow(reader)) for reader in readers]
    small = _message(1)
    try:
        await _write(log, server, 50, [small])  # to warm up
        tried: list[list[Way]] = [[] for _ in WAYS]
        for _ in range(TRIES):
            for (count, size, tasks), found in zip(WAYS, tried, strict=True):
                batch = [_message(tasks)] * size
                found.append(await _write(log, server, count, batch))
        return [_cheapest(found) for found in tried]
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        for reader in readers:
            await reader.close()
        await writer.close()
        await lane.close()


def _cheapest(tries: list[Way]) -> Way:
    """The least that each of the costs was in any try."""
    return tries[0]._replace(
        server_us=min(way.server_us for way in tries),
        client_us=min(way.client_us for way in tries),
        wall_us=min(way.wall_us for way in tries),
    )


async def _follow(reader: LogReader) -> None:
    while True:
        await reader.next(1.0)


def _message(tasks: int) -> tuple[str, bytes]:
    """An event as the scheduler writes it when so many tasks ended: their ends have about the size of their orders."""
    rig = Rig(tasks, tasks)
    message = reports(rig.hand_out())[-1]
    return message.subject.replace("task-finished", "task-ready"), message.data


async def _write(log: NatsEventLog, server: int, appends: int, batch: list[tuple[str, bytes]]) -> Way:
    waits = []
    ids = _ids()
    server_s, client_s = cpu_s(server), time.process_time()
    for _ in range(appends):
        began = time.perf_counter()
        await log.append([Outgoing(subject, data, next(ids)) for subject, data in batch])
        waits.append(time.perf_counter() - began)
    await asyncio.sleep(SETTLE_S)
    return Way(
        appends, appends * (len(batch) > 1), appends * len(batch), appends * sum(len(data) for _, data in batch) / KB,
        (cpu_s(server) - server_s) * 1e6, (time.process_time() - client_s) * 1e6, median(waits) * 1e6,
    )  # fmt: skip


def _ids() -> Iterator[str]:
    number = time.time_ns()
    while True:
        number += 1
        yield f"1.{number}"


def _solve(per_append: list[float], ways: list[Way]) -> Wire:
    """The four unit costs behind four totals (Gauss); what comes out below zero is noise."""
    rows = [
        [1.0, way.batches / way.appends, way.messages / way.appends, way.kilobytes / way.appends, total]
        for way, total in zip(ways, per_append, strict=True)
    ]
    for column in range(4):
        pivot = max(rows[column:], key=lambda row: abs(row[column]))
        rows.remove(pivot)
        rows.insert(column, [value / pivot[column] for value in pivot])
        for at, row in enumerate(rows):
            if at != column:
                rows[at] = [value - row[column] * own for value, own in zip(row, rows[column], strict=True)]
    return Wire(*(max(0.0, row[4]) for row in rows))


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def child_named(name: str) -> int:
    """The process of this name that this process started."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (stat := path / "stat").exists():
            text = stat.read_text()
            if f"({name})" in text and int(text.rpartition(")")[2].split()[1]) == os.getpid():
                return int(path.name)
    raise LookupError(f"this process started no {name}")
