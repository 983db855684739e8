"""``pto-dispatcher-docker``: wires the docker dispatcher. The only module of this service that names adapters."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pto_attempts.materials import Materials
from pto_attempts.outcome import Outcomes
from pto_attempts.polling import LoopPoller
from pto_blobs.directory import DirectoryBlobStore
from pto_bus.errors import BusError
from pto_bus.session import Session, open_session
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.live import LiveLines
from pto_dispatcher_docker.attempt import Means
from pto_dispatcher_docker.backend import DockerBackend, owner_label
from pto_dispatcher_docker.daemon import Daemon
from pto_dispatcher_docker.dry_run import default_allowance
from pto_dispatcher_docker.limits import CALLS_PER_CORE, LEAST_CALLS
from pto_dispatcher_docker.planning import ContainerPlanner
from pto_dispatcher_docker.private import OwnerTaken, PrivateFiles
from pto_dispatcher_docker.room import Rooms
from pto_dispatcher_docker.site import Site, container_user
from pto_engines.handover import Handover
from pto_planning.backend import PlannerBackend
from pto_ports.backend import LiveLine, Order
from pto_ports.clock import Clock
from pto_ports.engine import PlanEngine
from pto_proto.ids import LANE_DOCKER, InstanceId
from pto_proto.requests import RunRequested
from pto_runtime.clock import SystemClock
from pto_runtime.logs import get_logger
from pto_runtime.patience import PatientBlobStore
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    on_up: Callable[[], None] = lambda: None,
    *,
    leaves_running: bool = False,
) -> None:
    """Run tasks in containers until ``stop`` is set; they end with it, unless ``leaves_running``.

    Raises CannotServe, LogCorrupt, UnknownVersion.
    """
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    clock, instance = SystemClock(), InstanceId(settings.instance)
    live = LiveLines(LANE_DOCKER, session.live.send)
    with tempfile.TemporaryDirectory(prefix="pto-cache-") as cache:
        backend = _backend(settings, session, clock, stop, Path(cache), live, leaves_running=leaves_running)
        dispatcher = Dispatcher(
            log=settings.observer.watch_log(session.log),
            backend=backend,
            clock=clock,
            live=live,
            channel=session.live,
            lane=LANE_DOCKER,
            instance=instance,
            incarnation=new_incarnation(),
            capacity=settings.capacity,
            # What goes on without this process needs no waiting for.
            drain_s=0.0 if leaves_running else settings.drain_s,
        )
        try:
            await dispatcher.run(stop, on_up=on_up)
        except (BusError, OwnerTaken) as error:
            raise CannotServe(str(error)) from error
        finally:
            await session.close()


def _backend(
    settings: Settings,
    session: Session,
    clock: Clock,
    stop: asyncio.Event,
    cache: Path,
    live: LiveLine,
    *,
    leaves_running: bool,
) -> DockerBackend:
    folder, instance = settings.blob_folder, InstanceId(settings.instance)
    blobs = PatientBlobStore(session.blobs, clock, stop) if folder is None else DirectoryBlobStore(folder)
    handover = Handover(os.environ, settings)
    missing = {name: why for name in settings.engines if (why := handover.missing(name))}
    for name, why in missing.items():
        get_logger().info(f"engine {name} cannot be used here: {why}")
    engines = [name for name in settings.engines if name not in missing]
    means = Means(
        site=_site(settings, clock),
        materials=Materials(blobs, cache),
        outcomes=Outcomes(blobs, clock, instance),
        resolve=handover.resolve,
        poller=LoopPoller(settings.capacity),
        work_folder=settings.work_folder,
        host_environment=dict(os.environ),
        prices=settings.prices,
    )

    def engine_for(order: Order, request: RunRequested) -> PlanEngine | None:
        if request.engine not in engines:
            return None
        return ContainerPlanner(
            name=request.engine,
            site=means.site,
            resolve=handover.resolve,
            order=order,
            folder=settings.work_folder(order.run).absolute(),
            prices=settings.prices,
            live=live,
        )

    planner = PlannerBackend(
        log=settings.observer.watch_log(session.log),
        blobs=blobs,
        clock=clock,
        instance=instance,
        engines=engine_for,
        missing=missing,
    )
    return DockerBackend(means=means, planner=planner, engines=engines, missing=missing, leaves_running=leaves_running)


def _site(settings: Settings, clock: Clock) -> Site:
    owner = owner_label(settings.instance, settings.work_dir)
    user = container_user()
    cores = os.cpu_count() or 1
    return Site(
        daemon=Daemon(settings.docker_socket, max(LEAST_CALLS, CALLS_PER_CORE * cores)),
        clock=clock,
        owner=owner,
        user=user,
        defaults=default_allowance(settings),
        rooms=Rooms(clock, settings.docker_workspace),
        private=PrivateFiles(owner, user),
    )


def main() -> None:
    """Entry point of the console script: containers outlive this process, however it ends."""
    run_service("dispatcher-docker", partial(serve, leaves_running=True))
