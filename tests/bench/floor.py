"""W2floor: what the broker and its client library alone take for the messages of one hop of a chain.

Two bare connections pass three messages per hop through the log, as scheduler and dispatcher do: an order there, then a
start and an end back. Nothing is decided, folded or run, so no hop of ours can take less on this machine.
"""

import asyncio
from collections.abc import AsyncIterator

from tests.chaos.sites import DISPATCHER, PASSWORD, SCHEDULER, Site

from pto_bus.session import Session, open_session
from pto_ports.event_log import LogReader, Outgoing
from pto_proto.ids import LANE_LOCAL
from pto_proto.subjects import lane_filter

from .meter import Meter, Record
from .options import SYNC, Options
from .running import fresh_folder
from .warm import described

READY, STARTED, FINISHED = (f"pto.task-{word}.{LANE_LOCAL}.run-floor" for word in ("ready", "started", "finished"))
PAYLOAD = b"x" * 400
"""About as long as an event with one entry."""


async def hops(options: Options) -> AsyncIterator[Record]:
    """The records of one chain per repeat."""
    async with fresh_folder() as folder:
        site = Site(folder, sync_interval=SYNC[options.sync])
        try:
            await site.set_up()
            decider = await open_session(site.url, user=SCHEDULER.name, password=PASSWORD)
            worker = await open_session(site.url, user=DISPATCHER.name, password=PASSWORD)
            try:
                news, orders = await decider.log.read(), await worker.log.read(subject=lane_filter(LANE_LOCAL))
                for repeat in range(options.repeats):
                    yield await _chain(decider, news, worker, orders, options, repeat)
            finally:
                await decider.close()
                await worker.close()
        finally:
            site.close()


async def _chain(
    decider: Session, news: LogReader, worker: Session, orders: LogReader, options: Options, repeat: int
) -> Record:
    n, meter = options.size(500), Meter()
    working = asyncio.create_task(_work(worker, orders, n, repeat))
    meter.start()
    for hop in range(n):
        order = asyncio.create_task(decider.log.append([Outgoing(READY, PAYLOAD, f"{repeat}.{hop}.0")]))
        await _until(news, FINISHED)
        await order
    meter.stop()
    await working
    named = {"peer": "jetstream-floor", "durable": "messages only", "rep": repeat}
    return described("W2", 1, options) | meter.record(n) | named


async def _work(session: Session, orders: LogReader, n: int, repeat: int) -> None:
    for hop in range(n):
        await _until(orders, READY)
        ids = (f"{repeat}.{hop}.1", f"{repeat}.{hop}.2")
        await session.log.append_each([Outgoing(STARTED, PAYLOAD, ids[0]), Outgoing(FINISHED, PAYLOAD, ids[1])])


async def _until(reader: LogReader, subject: str) -> None:
    while not any(recorded.subject == subject for recorded in await reader.next(5.0)):
        pass
