"""``pto-dispatcher-slurm``: wires the dispatcher of a SLURM site; the only module of this service to name adapters."""

import asyncio
import os
from collections.abc import Callable

from pto_blobs.directory import DirectoryBlobStore
from pto_bus.errors import BusError
from pto_bus.session import open_session
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.live import LiveLines
from pto_engines.offer import Offer
from pto_proto.ids import InstanceId, Lane
from pto_runtime.clock import SystemClock
from pto_runtime.logs import get_logger
from pto_runtime.patience import PatientBlobStore
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.house import HouseTaken, unusable
from pto_slurm_lane.lane import lane_settings


async def serve(settings: Settings, stop: asyncio.Event, on_up: Callable[[], None] = lambda: None) -> None:
    """Run tasks as jobs until ``stop`` is set. Raises CannotServe, LogCorrupt, UnknownVersion."""
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    clock, instance, folder = SystemClock(), InstanceId(settings.instance), settings.blob_folder
    offer = Offer(os.environ, clock, settings, get_logger().info)
    lane = Lane(f"slurm-{settings.slurm_site}")
    log = settings.observer.watch_log(session.log)
    backend = SlurmBackend(
        blobs=PatientBlobStore(session.blobs, clock, stop) if folder is None else DirectoryBlobStore(folder),
        clock=clock,
        instance=instance,
        capacity=settings.capacity,
        settings=lane_settings(settings),
        work_folder=settings.work_folder,
        engines=tuple(offer.executors()),
        host_environment=os.environ,
        lane=lane,
        log=log,
    )
    dispatcher = Dispatcher(
        log=log,
        backend=backend,
        clock=clock,
        live=LiveLines(lane, session.live.send),
        channel=session.live,
        lane=lane,
        instance=instance,
        incarnation=new_incarnation(),
        capacity=settings.capacity,
    )
    try:
        await dispatcher.run(stop, on_up=on_up)
    except (BusError, HouseTaken) as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        raise CannotServe(unusable(settings.slurm_folder, error)) from error
    finally:
        await asyncio.to_thread(offer.close)
        await session.close()


def main() -> None:
    """Entry point of the console script."""
    run_service("dispatcher-slurm", serve)
