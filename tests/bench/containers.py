"""Containers that end at once, through all services and by a bare loop around the engine's client, one after the other.

Invariant: both make the same containers, read their output, and count until the last one is deleted.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import msgspec
from tests.docker.systems import IMAGE, DockerSite

from pto_dispatcher_docker.body import WORKSPACE, Allowance, Mount, Part, render_body
from pto_dispatcher_docker.limits import CALLS_PER_CORE, LEAST_CALLS, USER
from pto_proto.plans import Plan

from .asking import Client, NotAsExpected
from .meter import Meter, Record
from .options import Options
from .plans import NULL, processes
from .running import fresh_folder
from .warm import described

CONTAINERS = 50
ALLOWED = Allowance(
    image=IMAGE, network="bridge", memory_bytes=4 * 1024**3, cpus=min(2.0, float(os.cpu_count() or 1)), pids=512
)
"""The dispatcher's defaults."""
LABEL = "pto.owner"
ENGINE = "unix:///var/run/docker.sock"


async def at_once(options: Options) -> AsyncIterator[Record]:
    """The bare loop first, then the whole system, in turn; ``over_bare`` is what the system costs."""
    count = options.size(CONTAINERS)
    await _ready()
    for repeat in range(options.repeats):
        async with fresh_folder() as folder:
            bare_s = await _bare(folder, count)
            site = DockerSite(folder)
            try:
                site.start()
                client = await Client.open(site.broker.url)
                try:
                    await client.measure(_in_docker(1), executors=1, meter=Meter())
                    meter = Meter(*(process.pid for process in site.processes.values()))
                    story = await client.measure(_in_docker(count), executors=count, meter=meter)
                    await _all_gone(site)
                    all_s = meter.since_start()
                finally:
                    await client.close()
            finally:
                await asyncio.to_thread(site.close)
        yield described("D1", count, options) | meter.record(count) | {
            "variant": "services", "rep": repeat, "submitted_s": round(story.submitted_s, 4), "bare_s": round(bare_s, 4),
            "all_gone_s": round(all_s, 4), "over_bare": round(all_s / bare_s, 4),
        }  # fmt: skip


async def _ready() -> None:
    async with aiodocker.Docker(url=ENGINE) as docker:
        try:
            await docker.images.inspect(IMAGE)
        except aiodocker.DockerError as error:
            raise NotAsExpected(
                f"Docker has no image {IMAGE} ({error.message}); as root: deploy/testbed/docker.sh up"
            ) from error


def _in_docker(count: int) -> Plan:
    plan = processes(count)
    return msgspec.structs.replace(
        plan, tasks=tuple(msgspec.structs.replace(spec, backend="docker") for spec in plan.tasks)
    )


async def _all_gone(site: DockerSite) -> None:
    """Asked again and again, as nobody tells; one look takes 20 ms."""
    while await asyncio.to_thread(site.containers):
        pass


async def _bare(folder: Path, count: int) -> float:
    """Seconds of the loop, with as many calls at once as the dispatcher makes."""
    turns = asyncio.Semaphore(max(LEAST_CALLS, CALLS_PER_CORE * (os.cpu_count() or 1)))
    async with aiodocker.Docker(url=ENGINE) as docker:
        await docker.version()

        async def one(number: int) -> None:
            workspace = folder / f"bare-{number}"
            workspace.mkdir()
            os.chown(workspace, USER, USER)
            part = Part(
                name=f"pto-bare-{os.getpid()}-{number}", labels={LABEL: "bare"}, argv=[NULL], environment={},
                mounts=(Mount(str(workspace), WORKSPACE),),
            )  # fmt: skip
            async with turns:
                container = await docker.containers.create(render_body(part, ALLOWED, (USER, USER)), name=part.name)
                await container.start()
                ended = await container.wait()
                await container.log(stdout=True, stderr=True)
                await container.delete(force=True, v=True)
            assert ended["StatusCode"] == 0

        began = time.perf_counter()
        await asyncio.gather(*map(one, range(count)))
        return time.perf_counter() - began
