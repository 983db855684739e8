"""Conducts one run from request to output folder: asks, follows, fetches.

Imports client, ports, proto and siblings. Invariant: the output folder is written from the log and the blobs alone, so
that doing it again later gives the same.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pto_cli.absent import Lookout
from pto_cli.access import Access
from pto_cli.job import Job
from pto_cli.problems import HostGone
from pto_cli.progress import Progress
from pto_cli.registry import DELIVERING, RunFolder
from pto_cli.review import awaits_review
from pto_client.follower import Follower
from pto_client.requester import ask
from pto_core.views import RunView
from pto_proto.ids import RunId
from pto_proto.requests import Request
from pto_proto.subjects import run_filter

if TYPE_CHECKING:
    from pto_cli.reviewer import Reviewer

TICK_S = 0.2
"""How often whoever watches is called without news, so that clocks on the screen move."""
ANSWER_S = 15.0
"""How long to wait for the scheduler's answer to a request; it answers at once when it is there."""

End = Literal["ended", "refused", "paused", "awaiting", "interrupted", "host-gone"]


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def new_request_id() -> str:
    """An id for a request."""
    return secrets.token_hex(8)


async def submit(access: Access, job: Job) -> None:
    """Ask for the job's run. Raises LogUnavailable."""
    requester = access.session.connection.user
    await ask(access.session.queue, job.request, requester=requester, request_id=job.request_id, now=now_ms())


async def ask_and_wait(access: Access, follower: Follower, request: Request) -> list[str] | None:
    """Ask; returns why it was refused (nothing: granted), None if nobody answered in ``ANSWER_S``. Raises HostGone."""
    request_id = new_request_id()
    requester = access.session.connection.user
    await ask(access.session.queue, request, requester=requester, request_id=request_id, now=now_ms())
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        await _next(access, follower)
        if request_id in follower.view.answers:
            return follower.refusal_of(request_id)
    return None


async def catch_up(access: Access, follower: Follower, progress: Progress | None = None) -> RunView:
    """Read all that is in the log so far. Raises HostGone, LogUnavailable."""
    if progress is not None:
        follower.on_seen = progress.take
    await follower.open(lambda: _expect_host(access, is_news=False))
    while not follower.caught_up:
        await _next(access, follower)
        if progress is not None:
            progress.show(follower.view)
    return follower.view


async def _next(access: Access, follower: Follower) -> None:
    _expect_host(access, is_news=bool(await follower.next(TICK_S)))


def _expect_host(access: Access, *, is_news: bool) -> None:
    if not check_host(access, is_news=is_news):
        raise HostGone


async def follow(
    access: Access,
    follower: Follower,
    progress: Progress,
    stop: asyncio.Event,
    *,
    request_id: str = "",
    on_change: Callable[[RunView], None] = lambda view: None,
    review: "Reviewer | None" = None,
) -> End:
    """Show the run until it has ended, waits for a person, was refused, or ``stop`` is set.

    ``review`` is asked when the plan waits for approval; without it, somebody else will answer.
    """
    follower.on_seen = progress.take
    lookout = Lookout(access)
    while not stop.is_set():
        view = follower.view
        if view.finished is not None:
            return "ended"
        if request_id and follower.refusal_of(request_id):
            return "refused"
        run = view.run
        if run is not None and run.paused is not None and run.paused.kind != "asked" and not run.open:
            return "paused"
        if review is not None and awaits_review(view) and not await review(access, follower, progress, stop):
            return _left(access, stop)
        news = await follower.next(TICK_S)
        for line in await lookout.news(view, now_ms()):
            progress.say(line)
        progress.show(view)
        on_change(view)
        if not check_host(access, is_news=bool(news)):
            return "host-gone"
    return "interrupted"


def check_host(access: Access, *, is_news: bool) -> bool:
    """Whether the run is still hosted, if this machine does that. Raises what ended a service of this process."""
    if access.host is not None:
        access.host.check()
        return True
    return is_news or access.folder is None or access.folder.is_hosted()


def _left(access: Access, stop: asyncio.Event) -> End:
    """How it ends when nobody answered for the plan."""
    if stop.is_set():
        return "interrupted"
    return "awaiting" if check_host(access, is_news=False) else "host-gone"


async def fetch_output(access: Access, run: RunId, out_dir: Path) -> None:
    """Write the run's output folder. Raises OutputProblem, BlobMissing, LogUnavailable."""
    from pto_client.fetch import fetch

    await fetch(await access.session.view.read_run(run_filter(run)), access.blobs, out_dir)


class NoteKeeper:
    """Keeps ``run.json`` in step with the view."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._state = ""

    def __call__(self, view: RunView, *, is_delivered: bool = False) -> None:
        """Note the run's state if it has changed; its end only when all that it made was delivered, so that a command
        that is killed before leaves a run that can be resumed.
        """
        from dataclasses import replace

        from pto_cli.render import state_of

        state = state_of(view) if view.finished is None or is_delivered else DELIVERING
        note = self._folder.read_note() if state != self._state else None
        if note is not None:
            self._state = state
            if note.state != state:  # the file's age is the age of the run's end
                self._folder.write_note(replace(note, state=state))
