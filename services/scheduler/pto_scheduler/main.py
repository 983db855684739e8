"""``pto-scheduler``: wires the scheduler to the broker. The only module of this service that names adapters."""

import asyncio
from collections.abc import Callable

from pto_blobs.directory import DirectoryBlobStore
from pto_blobs.snapshots import DirectorySnapshotStore
from pto_bus.errors import BusError
from pto_bus.session import open_session
from pto_core.quotas import Quotas
from pto_proto.ids import InstanceId
from pto_runtime.clock import SystemClock
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings
from pto_scheduler.intake import Intake
from pto_scheduler.scheduler import Scheduler


async def serve(settings: Settings, stop: asyncio.Event, on_up: Callable[[], None] = lambda: None) -> None:
    """Schedule until ``stop`` is set. Raises CannotServe, LogCorrupt, UnknownVersion."""
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    blobs = session.blobs if settings.blob_folder is None else DirectoryBlobStore(settings.blob_folder)
    clock, incarnation = SystemClock(), new_incarnation()
    quotas = Quotas(
        requests_per_minute=settings.quota_requests,
        bytes_per_minute=settings.quota_bytes,
        tasks_per_run=settings.quota_tasks,
    )
    scheduler = Scheduler(
        log=session.log,
        intake=Intake(session.requests, blobs, clock, quotas),
        clock=clock,
        lease=session.lease(settings.instance, incarnation),
        live=session.live,
        snapshots=DirectorySnapshotStore(settings.snapshots, InstanceId(settings.instance)),
        blobs=blobs,
        instance=InstanceId(settings.instance),
        incarnation=incarnation,
        observer=settings.observer,
    )
    try:
        await scheduler.run(stop, on_up=on_up)
    except BusError as error:
        raise CannotServe(str(error)) from error
    finally:
        await session.close()


def main() -> None:
    """Entry point of the console script."""
    run_service("scheduler", serve)
