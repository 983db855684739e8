"""Conducts one run from request to output folder: asks, follows, fetches.

Imports client, ports, proto and siblings. Invariant: the output folder is written from the log and the blobs alone, so
that doing it again later gives the same.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pto_client.fetch import fetch
from pto_client.summary import Summary

from pto_cli.access import Access
from pto_client.follower import Follower, Seen
from pto_client.requester import ask, store_inputs, with_plan
from pto_core.views import RunView
from pto_proto.ids import RunId
from pto_proto.plans import Plan
from pto_proto.requests import RunRequested
from pto_proto.subjects import run_filter

TICK_S = 0.2
"""How often whoever watches is called without news, so that clocks on the screen move."""


class Watcher(Protocol):
    """Shows what happens."""

    def show(self, view: RunView, news: list[Seen]) -> None:
        """Called with news, and every ``TICK_S`` without."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A run that is to be asked for."""

    request: RunRequested
    request_id: str
    plan: Plan | None = None
    inputs: tuple[tuple[str, Path], ...] = ()


End = Literal["ended", "refused", "paused", "interrupted"]


async def request_run(access: Access, wanted: Wanted, now: int) -> None:
    """Store what the request names, then ask. Raises LogUnavailable, StoreFull."""
    request = wanted.request
    if wanted.inputs:
        import msgspec

        digest = await store_inputs(access.blobs, wanted.inputs)
        request = msgspec.structs.replace(request, inputs_digest=digest)
    if wanted.plan is not None:
        request = await with_plan(request, wanted.plan, access.blobs)
    await ask(
        access.session.queue,
        request,
        requester=access.session.connection.user,
        request_id=wanted.request_id,
        now=now,
    )


async def follow(
    access: Access, follower: Follower, watcher: Watcher, stop: asyncio.Event, *, request_id: str = ""
) -> End:
    """Show the run until it has ended, waits for a person, was refused, or ``stop`` is set."""
    while not stop.is_set():
        if access.host is not None:
            access.host.check()
        news = await follower.next(TICK_S)
        watcher.show(follower.view, news)
        if follower.ended:
            return "ended"
        if request_id and follower.refusal_of(request_id):
            return "refused"
        run = follower.view.run
        if run is not None and run.paused is not None and run.paused.kind != "asked" and not run.open:
            return "paused"
    return "interrupted"


async def fetch_output(access: Access, run: RunId, out_dir: Path) -> Summary:
    """Write the run's output folder. Raises OutputProblem, BlobMissing, LogUnavailable."""
    messages = await access.session.view.read_run(run_filter(run))
    return await fetch(messages, access.blobs, out_dir)
