"""``pto-dispatcher-parallelcluster``: wires a cluster's dispatcher; the only module here to name adapters."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pto_blobs.directory import DirectoryBlobStore
from pto_bus.errors import BusError
from pto_bus.session import open_session
from pto_bus.topology import dispatcher_user
from pto_core.lanes import cluster_lane
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.live import LiveLines
from pto_dispatcher_parallelcluster.backend import ParallelClusterBackend
from pto_dispatcher_parallelcluster.checks import Account, check_account
from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_dispatcher_parallelcluster.mirror import Mirror
from pto_dispatcher_parallelcluster.shelf import Shelf
from pto_engines.offer import Offer
from pto_ports.blob_store import BlobStore
from pto_ports.event_log import EventLog
from pto_proto.ids import InstanceId, RunId
from pto_runtime.clock import SystemClock
from pto_runtime.logs import get_logger
from pto_runtime.patience import PatientBlobStore
from pto_runtime.service import CannotServe, new_incarnation, run_service
from pto_runtime.settings import Settings
from pto_s3 import Pool, S3Error, open_bucket
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.clients import SlurmClients
from pto_slurm_lane.house import HouseTaken, unusable
from pto_slurm_lane.lane import lane_settings
from pto_slurm_lane.projection import FOLDER

SERVICE = "dispatcher-parallelcluster"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Of the head node's environment: nodes have a role of their own and get none of these."""


def preflight(asked: Account) -> None:
    """Look at account, bucket and cluster. Raises CannotServe with all that somebody has to mend.

    What is away passes by itself and stops nothing: jobs that run must be followed then, too.
    """
    findings = [*check_account(asked)]
    for one in findings:
        if one.mark in ("note", "AWAY"):
            get_logger().warning(one.said, what=one.what)
    if wrong := [f"{one.what}: {one.said}" for one in findings if one.mark == "FAIL"]:
        raise CannotServe("\n".join(wrong))


def make_backend(
    settings: Settings, log: EventLog, blobs: BlobStore, pool: Pool, engines: tuple[str, ...]
) -> ParallelClusterBackend:
    """The lane's backend. Raises S3Error."""
    clock, environment = SystemClock(), {name: value for name, value in os.environ.items() if name not in KEYS}
    shelf = Shelf(settings.slurm_folder / "s3")
    bucket = open_bucket(settings.aws_bucket, settings.aws_region)
    slurm = partial(
        SlurmBackend,
        blobs=blobs,
        clock=clock,
        instance=InstanceId(settings.instance),
        capacity=settings.capacity,
        settings=lane_settings(settings),
        work_folder=settings.work_folder,
        engines=engines,
        host_environment=environment,
        lane=cluster_lane(settings.aws_cluster),
        log=log,
    )

    def state_folder(run: RunId) -> Path:
        return settings.work_folder(run) / FOLDER

    return ParallelClusterBackend(
        lambda revise: slurm(revise=revise),
        clients=SlurmClients(environment),
        shelf=shelf,
        mirror=Mirror(shelf, bucket, pool, clock, blobs, state_folder),
        fallback=Fallback(dict(settings.aws_on_demand), shelf.root),
        capacity_retry_s=settings.aws_capacity_retry_s,
    )


async def serve(settings: Settings, stop: asyncio.Event, on_up: Callable[[], None] = lambda: None) -> None:
    """Run tasks as jobs of the cluster until ``stop`` is set. Raises CannotServe, LogCorrupt, UnknownVersion."""
    missing = [
        name for name, value in (("CLUSTER", settings.aws_cluster), ("BUCKET", settings.aws_bucket)) if not value
    ]
    if missing:
        raise CannotServe("\n".join(f"PTO_AWS_{name} is not set: it names the {name.lower()}" for name in missing))
    lane = cluster_lane(settings.aws_cluster)
    settings = named(settings, dispatcher_user(lane))
    await asyncio.to_thread(preflight, Account(settings.aws_cluster, settings.aws_bucket, settings.aws_region))
    try:
        session = await open_session(settings.url, **settings.access())
    except BusError as error:
        raise CannotServe(str(error)) from error
    clock, folder, pool = SystemClock(), settings.blob_folder, Pool()
    offer = Offer(os.environ, clock, settings, get_logger().info)
    blobs = PatientBlobStore(session.blobs, clock, stop) if folder is None else DirectoryBlobStore(folder)
    log = settings.observer.watch_log(session.log)
    try:
        dispatcher = Dispatcher(
            log=log,
            backend=make_backend(settings, log, blobs, pool, tuple(offer.executors())),
            clock=clock,
            live=LiveLines(lane, session.live.send),
            channel=session.live,
            lane=lane,
            instance=InstanceId(settings.instance),
            incarnation=new_incarnation(),
            capacity=settings.capacity,
        )
        await dispatcher.run(stop, on_up=on_up)
    except (BusError, HouseTaken, S3Error) as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        raise CannotServe(unusable(settings.slurm_folder, error)) from error
    finally:
        await asyncio.to_thread(offer.close)
        await asyncio.to_thread(pool.close)
        await session.close()


def named(settings: Settings, name: str) -> Settings:
    """With the name of the lane's account where nobody has chosen another one."""
    instance = name if settings.instance == SERVICE else settings.instance
    return replace(settings, instance=instance, user=instance if settings.user == SERVICE else settings.user)


def main() -> None:
    """Entry point of the console script."""
    run_service(SERVICE, serve)
