"""A broker and services that are up and have done a first task, with a client: what the warm workloads run on."""

import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.sites import DISPATCHER, SERVICES, Service, Site

from .asking import Client
from .meter import Meter
from .options import SYNC, Options
from .plans import noops
from .shapes import bag

CAPACITY = 1_000
"""Of the dispatcher: the largest budget of a workload."""


@dataclass
class System:
    """What was started."""

    site: Site
    client: Client
    cold_s: float
    """From nothing at all to the first result known by the client."""


def services(capacity: int = CAPACITY) -> tuple[Service, ...]:
    """One of each; the dispatcher takes this many attempts at once."""
    return tuple(replace(service, capacity=capacity) if service is DISPATCHER else service for service in SERVICES)


@asynccontextmanager
async def fresh_folder(below: Path | None = None) -> AsyncIterator[Path]:
    """Gone afterwards; in the usual place for such, or below this one."""
    folder = Path(tempfile.mkdtemp(prefix="pto-bench-", dir=below))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running(options: Options, ensemble: tuple[Service, ...] = services()) -> AsyncIterator[System]:
    """Everything up and one task done; ended and removed afterwards."""
    async with fresh_folder() as folder:
        began = time.perf_counter()
        site = Site(folder, sync_interval=SYNC[options.sync])
        try:
            await site.set_up()
            site.start_all(ensemble)
            client = await Client.open(site.url)
            try:
                await client.measure(noops(bag(1)), executors=1, meter=Meter())
                yield System(site, client, time.perf_counter() - began)
                site.check()
            finally:
                await client.close()
        finally:
            site.close()
