"""A run at somebody else's broker: asked for, followed, fetched.

Imports siblings. Invariant: what the request names is stored before it is sent; leaving does not end the run.
"""

import asyncio
import os
import time

from pto_cli.access import Access, open_remote
from pto_cli.arguments import NO_ANSWER
from pto_cli.conduct import ANSWER_S, TICK_S, catch_up, fetch_output, follow, new_request_id, submit
from pto_cli.ending import exit_code, say_end
from pto_cli.job import Job, make_job
from pto_cli.live_lines import show_live
from pto_cli.output_dir import open_output_dir
from pto_cli.prepare import Prepared
from pto_cli.problems import EXIT_INTERRUPTED, EXIT_OK, EXIT_PAUSED, Unavailable, code_of_refusal, complain
from pto_cli.progress import Progress, make_progress, write_lines
from pto_cli.review import how_to_answer
from pto_cli.reviewer import make_reviewer
from pto_client.follower import Follower


async def run_there(prepared: Prepared, stop: asyncio.Event) -> int:
    """Ask for the run at the broker and, unless detached, follow it to the end. Returns the exit code."""
    options = prepared.options
    access = await open_remote(options.nats_url, os.environ)
    progress = make_progress(json=options.json, quiet=options.quiet or options.detach, verbose=options.verbose)
    try:
        job = await make_job(prepared.request(), new_request_id(), access.blobs, *prepared.sources())
        follower = Follower(access.session.view, job.request.run)
        await catch_up(access, follower, progress)
        if stop.is_set():
            return EXIT_INTERRUPTED
        await submit(access, job)
        await _wait_for_answer(follower, job, progress, stop)
        if options.detach:
            return _say_asked(follower, job)
        return await _to_the_end(prepared, access, follower, job, progress, stop)
    finally:
        progress.close()
        await access.close()


async def _wait_for_answer(follower: Follower, job: Job, progress: Progress, stop: asyncio.Event) -> None:
    deadline = time.monotonic() + ANSWER_S
    view = follower.view
    while view.run is None and not view.refused and not stop.is_set():
        await follower.next(TICK_S)
        progress.show(view)
        if time.monotonic() > deadline:
            raise Unavailable(f"{NO_ANSWER}; the request for run {job.request.run} waits there until one does")


def _say_asked(follower: Follower, job: Job) -> int:
    reasons = follower.refusal_of(job.request_id)
    if reasons:
        complain(reasons)
        return code_of_refusal(reasons)
    write_lines([job.request.run])
    if follower.view.run is None:
        return EXIT_INTERRUPTED
    if job.request.approve:
        complain([how_to_answer(job.request.run, is_remote=True)])
        return EXIT_PAUSED
    return EXIT_OK


async def _to_the_end(
    prepared: Prepared, access: Access, follower: Follower, job: Job, progress: Progress, stop: asyncio.Event
) -> int:
    options, run = prepared.options, job.request.run
    output = open_output_dir(options.output_dir, prepared.name)
    try:
        if options.verbose and not options.json:
            await show_live(access, run)
        review = make_reviewer(json=options.json, quiet=options.quiet)
        end = await follow(access, follower, progress, stop, request_id=job.request_id, review=review)
        if end == "ended":
            await fetch_output(access, run, output.path)
        else:
            output.give_back()
    except BaseException:
        output.give_back()
        raise
    progress.close()
    if end == "interrupted":
        complain([f"not following any more; run {run} goes on: `orchestrator watch {run}` follows it"])
    else:
        say_end(
            follower.view, end, output_dir=output.path, json_lines=options.json, quiet=options.quiet, is_remote=True
        )
    return exit_code(follower.view, end)
