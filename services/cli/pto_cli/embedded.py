"""A run of one's own: its folder, and the command that hosts it until it ends.

Imports siblings. Invariant: a run that was not accepted leaves neither a run folder nor an output folder behind.
"""

import asyncio
import shutil
from datetime import UTC, datetime

import msgspec

from pto_cli.access import open_blob_cache
from pto_cli.conduct import new_request_id
from pto_cli.ending import exit_code, say_end
from pto_cli.hosting import host
from pto_cli.job import Job, make_job, write_job
from pto_cli.leftovers import collect_finished, store_list
from pto_cli.output_dir import OutputDir, open_output_dir
from pto_cli.prepare import Prepared
from pto_cli.progress import make_progress
from pto_cli.registry import RunFolder, RunNote, run_folder
from pto_core.views import RunView


async def new_run(prepared: Prepared, output: OutputDir) -> tuple[RunFolder, RunNote, Job]:
    """Make the run's folder, with its job and its note. Raises StoreFull, OSError."""
    blobs, request = open_blob_cache(), prepared.request()
    if prepared.options.reuse:
        digest = await store_list(blobs, collect_finished())
        request = msgspec.structs.replace(request, reuse_digest=digest)
    job = await make_job(request, new_request_id(), blobs, *prepared.sources())
    folder = run_folder(job.request.run)
    note = RunNote(
        run=job.request.run,
        name=prepared.name,
        state="requested",
        created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        output_dir=str(output.path),
        max_executors=prepared.options.max_executors,
    )
    try:
        write_job(folder, job)
        folder.write_note(note)
    except BaseException:
        undo(folder, output)
        raise
    return folder, note, job


def undo(folder: RunFolder | None, output: OutputDir) -> None:
    """The run did not start: leave nothing behind."""
    output.give_back()
    if folder is not None:
        shutil.rmtree(folder.path, ignore_errors=True)


async def run_here(prepared: Prepared, stop: asyncio.Event) -> int:
    """Host the run in this process and show it. Returns the exit code."""
    options = prepared.options
    output = open_output_dir(options.output_dir, prepared.name)
    known: list[RunView] = []
    folder = None
    progress = make_progress(json=options.json, quiet=options.quiet, verbose=options.verbose)
    try:
        folder, note, job = await new_run(prepared, output)
        is_loud = options.verbose and not options.json
        view, end = await host(folder, note, job, progress, stop, on_known=known.append, verbose=is_loud)
    except BaseException:
        if not known:
            undo(folder, output)
        raise
    finally:
        progress.close()
    if end == "refused":
        undo(folder, output)
    say_end(view, end, output_dir=output.path, json_lines=options.json, quiet=options.quiet)
    return exit_code(view, end)
