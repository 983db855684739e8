"""``pto-planner``: wires the planner to the broker. The only module of this service that names adapters."""

import asyncio
import os
from collections.abc import Callable

from pto_blobs.directory import DirectoryBlobStore
from pto_bus.errors import BusError
from pto_bus.session import open_session
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.live import LiveLines
from pto_engines.offer import Offer
from pto_planning.backend import PlannerBackend
from pto_proto.ids import LANE_PLANNER, InstanceId
from pto_runtime.clock import SystemClock
from pto_runtime.logs import get_logger
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, on_up: Callable[[], None] = lambda: None) -> None:
    """Plan until ``stop`` is set. Raises CannotServe, LogCorrupt, UnknownVersion."""
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    clock, instance, folder = SystemClock(), InstanceId(settings.instance), settings.blob_folder
    offer = Offer(os.environ, clock, settings, get_logger().info)
    backend = PlannerBackend(
        log=session.log,
        blobs=session.blobs if folder is None else DirectoryBlobStore(folder),
        clock=clock,
        instance=instance,
        engines=offer.planners(),
        missing=offer.missing,
    )
    dispatcher = Dispatcher(
        log=settings.observer.watch_log(session.log),
        backend=backend,
        clock=clock,
        live=LiveLines(LANE_PLANNER, session.live.send),
        channel=session.live,
        lane=LANE_PLANNER,
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
        await asyncio.to_thread(offer.close)
        await session.close()


def main() -> None:
    """Entry point of the console script."""
    run_service("planner", serve)
