"""Hosts one embedded run: broker and services in this process, from the job to the output folder.

Imports siblings. Invariant: a run that was accepted is never lost by what happens here; it can be picked up from its
folder. A run that was not accepted leaves nothing behind.
"""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pto_cli.access import Access, host_run
from pto_cli.conduct import End, NoteKeeper, ask_and_wait, catch_up, fetch_output, follow, submit
from pto_cli.host import Host
from pto_cli.job import Job
from pto_cli.leftovers import write_finished
from pto_cli.live_lines import show_live
from pto_cli.problems import Unavailable
from pto_cli.progress import Progress
from pto_cli.registry import RunFolder, RunNote
from pto_cli.reviewer import Reviewer
from pto_client.follower import Follower
from pto_core.views import RunView
from pto_proto.ids import RunId
from pto_proto.requests import BudgetChangeRequested, Request, RunResumeRequested
from pto_runtime.logs import configure_logs

DELIVERED_S = 30.0
"""How long the services of a run that has ended may take to bring what they still have to where it belongs: one that
was just resumed for that starts first.
"""


async def host(
    folder: RunFolder,
    note: RunNote,
    job: Job | None,
    progress: Progress,
    stop: asyncio.Event,
    *,
    on_known: Callable[[RunView], None] = lambda view: None,
    verbose: bool = False,
    begun: Host | None = None,
    max_cost_usd: float | None = None,
    review: Reviewer | None = None,
) -> tuple[RunView, End]:
    """Host the run until it ends or ``stop`` is set. ``on_known`` hears once when the run is accepted or refused;
    ``verbose`` shows what tasks print; ``begun`` has a broker that was started already; ``max_cost_usd`` is a new limit
    of cost for a run that goes on; ``review`` answers for a plan that waits for approval, without it other commands do.

    Raises BusError, LogUnavailable, CannotServe, Unavailable.
    """
    out_dir = Path(note.output_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log.open("a") as log:
        configure_logs("plain", stream=log)
        access = await host_run(
            folder, work_dir=out_dir, capacity=note.max_executors, with_services=True, begun=begun,
            models=note.models(), dispatchers=note.dispatchers(),
        )  # fmt: skip
        follower = Follower(access.session.view, RunId(note.run))
        try:
            if verbose:
                await show_live(access, RunId(note.run))
            view = await catch_up(access, follower, progress)
            await _make_it_go_on(access, follower, job, max_cost_usd)
            end = await _follow(access, follower, job, progress, stop, _tell_once(folder, on_known), review)
            if end == "ended":
                await deliver(access, folder, view, out_dir)
        finally:
            progress.close()
            with suppress(asyncio.CancelledError):
                await follower.close()
            await access.close()
    if end == "refused" and view.run is None:
        shutil.rmtree(folder.path, ignore_errors=True)
    return view, end


async def deliver(access: Access, folder: RunFolder, view: RunView, out_dir: Path) -> None:
    """Bring what an ended run made to where it belongs, end its services, and note it. Raises as ``fetch_output``.

    If a service did not end in time it may still have something: ``resume`` delivers again then.
    """
    keep_note = NoteKeeper(folder)
    keep_note(view)
    write_finished(folder, view)
    await fetch_output(access, RunId(folder.path.name), out_dir)
    if await access.end_services(DELIVERED_S):
        keep_note(view, is_delivered=True)


async def _make_it_go_on(access: Access, follower: Follower, job: Job | None, max_cost_usd: float | None) -> None:
    """Ask for the run if the log does not know it yet; otherwise change its limit and lift its pause, if there are."""
    run = follower.view.run
    if run is None:
        if job is None:
            raise Unavailable("the run's folder does not say what was asked for; start it again")
        await submit(access, job)
    elif not run.ended:
        requests: list[Request] = []
        if max_cost_usd is not None:
            requests.append(BudgetChangeRequested(run=run.id, max_cost_usd=max_cost_usd))
        if run.paused is not None:
            requests.append(RunResumeRequested(run=run.id))
        for request in requests:
            refused = await ask_and_wait(access, follower, request)
            if refused is None or refused:
                raise Unavailable(f"run {run.id} cannot go on: {'; '.join(refused or ['nobody answered'])}")


def _tell_once(folder: RunFolder, on_known: Callable[[RunView], None]) -> Callable[[RunView], None]:
    keep_note = NoteKeeper(folder)
    told = False

    def on_change(view: RunView) -> None:
        nonlocal told
        keep_note(view)
        if not told and (view.run is not None or view.refused):
            told = True
            on_known(view)

    return on_change


async def _follow(
    access: Access,
    follower: Follower,
    job: Job | None,
    progress: Progress,
    stop: asyncio.Event,
    on_change: Callable[[RunView], None],
    review: Reviewer | None,
) -> End:
    on_change(follower.view)
    request_id = job.request_id if job is not None else ""
    return await follow(access, follower, progress, stop, request_id=request_id, on_change=on_change, review=review)
