"""``pto-consolidator``: wires the consolidator to the broker. The only module of this service that names adapters."""

import asyncio
from collections.abc import Callable

from pto_blobs.directory import DirectoryBlobStore
from pto_bus.errors import BusError
from pto_bus.session import open_session
from pto_consolidator.backend import ConsolidatorBackend
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.live import LiveLines
from pto_proto.ids import LANE_CONSOLIDATOR, InstanceId
from pto_runtime.clock import SystemClock
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, on_up: Callable[[], None] = lambda: None) -> None:
    """Merge until ``stop`` is set. Raises CannotServe, LogCorrupt, UnknownVersion."""
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    clock, instance, folder = SystemClock(), InstanceId(settings.instance), settings.blob_folder
    backend = ConsolidatorBackend(
        log=session.log,
        blobs=session.blobs if folder is None else DirectoryBlobStore(folder),
        clock=clock,
        instance=instance,
    )
    dispatcher = Dispatcher(
        log=settings.observer.watch_log(session.log),
        backend=backend,
        clock=clock,
        live=LiveLines(LANE_CONSOLIDATOR, session.live.send),
        channel=session.live,
        lane=LANE_CONSOLIDATOR,
        instance=instance,
        incarnation=new_incarnation(),
        capacity=settings.capacity,
        drain_s=settings.drain_s,
    )
    try:
        await dispatcher.run(stop, on_up=on_up)
    except BusError as error:
        raise CannotServe(str(error)) from error
    finally:
        await session.close()


def main() -> None:
    """Entry point of the console script."""
    run_service("consolidator", serve)
