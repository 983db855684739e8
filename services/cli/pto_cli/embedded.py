"""A run of one's own: its folder, and the command that hosts it until it ends.

Imports siblings; what does not help to start the broker is imported while the broker starts, because that is most of
what a start costs. Invariant: a run that was not accepted leaves neither a run folder nor an output folder behind.
"""

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pto_cli.host import Host, blob_cache
from pto_cli.output_dir import OutputDir, open_output_dir
from pto_cli.prepare import Prepared
from pto_cli.registry import RunFolder, RunNote, run_folder
from pto_proto.requests import RunRequested
from pto_runtime.gc_pause import relax_gc

if TYPE_CHECKING:
    import asyncio

    from pto_cli.job import Job
    from pto_core.views import RunView


async def new_run(prepared: Prepared, request: RunRequested, output: OutputDir) -> "tuple[RunFolder, RunNote, Job]":
    """Fill the run's folder, with its job and its note. Raises StoreFull, OSError."""
    import msgspec

    from pto_cli.access import open_blob_cache
    from pto_cli.conduct import new_request_id
    from pto_cli.job import make_job, write_job
    from pto_cli.leftovers import collect_finished, store_list

    blobs = open_blob_cache()
    if prepared.options.reuse:
        digest = await store_list(blobs, collect_finished())
        request = msgspec.structs.replace(request, reuse_digest=digest)
    job = await make_job(request, new_request_id(), blobs, *prepared.sources())
    folder = run_folder(request.run)
    note = RunNote(
        run=request.run,
        name=prepared.name,
        state="requested",
        created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        output_dir=str(output.path),
        max_executors=prepared.options.max_executors,
        engine=request.engine,
        provider=prepared.options.models.provider,
        model=request.model,
        region=prepared.options.models.region,
        lanes=prepared.dispatchers().lanes,
        told=prepared.options.backend.told,
    )
    write_job(folder, job)
    folder.write_note(note)
    return folder, note, job


def undo(folder: RunFolder, output: OutputDir) -> None:
    """The run did not start: leave nothing behind."""
    output.give_back()
    shutil.rmtree(folder.path, ignore_errors=True)


def run_here(prepared: Prepared) -> int:
    """Host the run in this process and show it. Returns the exit code."""
    relax_gc()  # before all that is imported from here on
    options, request = prepared.options, prepared.request()
    output = open_output_dir(options.output_dir, prepared.name)
    folder = run_folder(request.run)
    host = Host(
        folder.store,
        blobs=blob_cache(),
        work_dir=output.path,
        capacity=options.max_executors,
        models=options.models,
        dispatchers=prepared.dispatchers(),
    )
    known: list[RunView] = []
    try:
        host.start_broker()
        from pto_cli.loop import run_loop

        return run_loop(lambda stop: _run(prepared, request, output, host, known, stop))
    except BaseException:
        host.stop_broker()
        if not known:
            undo(folder, output)
        raise


async def _run(
    prepared: Prepared,
    request: RunRequested,
    output: OutputDir,
    host: Host,
    known: "list[RunView]",
    stop: "asyncio.Event",
) -> int:
    host.begin()
    try:
        await host.load()
        from pto_cli.ending import exit_code, say_end
        from pto_cli.hosting import host as host_run
        from pto_cli.progress import make_progress
        from pto_cli.reviewer import make_reviewer

        options = prepared.options
        folder, note, job = await new_run(prepared, request, output)
        progress = make_progress(json=options.json, quiet=options.quiet, verbose=options.verbose)
        is_loud = options.verbose and not options.json
        try:
            view, end = await host_run(
                folder, note, job, progress, stop, on_known=known.append, verbose=is_loud, begun=host,
                review=make_reviewer(json=options.json, quiet=options.quiet),
            )  # fmt: skip
        finally:
            progress.close()
    finally:
        await host.close()
    if end == "refused":
        undo(folder, output)
    say_end(view, end, output_dir=output.path, json_lines=options.json, quiet=options.quiet)
    return exit_code(view, end)
