"""``orchestrator run``: checks everything, then hosts the run here or asks for it at a broker.

Imports siblings; what runs is imported when it runs. Invariant: nothing is written before all that was typed and
written is found right.
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pto_cli.flags import FLAGS, Misused, run_parser
from pto_cli.options import RunOptions, read_options
from pto_cli.problems import EXIT_OK, WrongUse

if TYPE_CHECKING:
    from pto_cli.job import Job
    from pto_cli.output_dir import OutputDir
    from pto_client.plan_file import LoadedPlan
    from pto_proto.requests import RunRequested


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that may be asked for."""

    options: RunOptions
    name: str
    loaded: "LoadedPlan | None"


def main(words: list[str]) -> int:
    """The command."""
    prepared = prepare(words)
    if prepared is None:
        return _help()
    if prepared.options.dry_run:
        return _dry_run(prepared)
    from pto_cli.conduct import run_loop

    if prepared.options.nats_url:
        return run_loop(lambda stop: _ask_broker(prepared, stop))
    if prepared.options.detach:
        from pto_cli.background import start_in_background

        return start_in_background(*_open_folder(prepared), json_lines=prepared.options.json)
    return run_loop(lambda stop: _host_here(prepared, stop))


def prepare(words: list[str]) -> Prepared | None:
    """Everything that was typed and written, checked. None: help was asked for. Raises WrongUse with all problems."""
    try:
        typed, unknown = run_parser().parse_known_args(words)
    except Misused as error:
        raise WrongUse(str(error)) from error
    if typed.help:
        return None
    problems = [_unknown_flag(word) for word in unknown if word.startswith("-")]
    if problems:
        typed.requirements = typed.requirements[:1]  # the others may be values of what is not known
    options, wrong = read_options(typed, os.environ)
    problems += wrong
    loaded = _read_plan(typed.plan, problems)
    if typed.output_dir:
        from pto_cli.output_dir import check_output_dir

        keep = (Path(typed.plan),) if typed.plan else ()
        problems += check_output_dir(Path(typed.output_dir), force=typed.force, keep=keep)
    if problems or options is None:
        raise WrongUse(*problems)
    from pto_cli.naming import short_name

    name = (loaded.plan.name or options.plan.stem) if loaded and options.plan else short_name(options.requirement)
    return Prepared(options=options, name=name, loaded=loaded)


def _read_plan(path: str | None, problems: list[str]) -> "LoadedPlan | None":
    if not path:
        return None
    from pto_client.plan_file import PlanFileError, read_plan_file

    try:
        return read_plan_file(Path(path))
    except PlanFileError as error:
        problems += [str(problem) for problem in error.problems]
        return None


def _unknown_flag(word: str) -> str:
    from difflib import get_close_matches

    name = word.partition("=")[0]
    near = get_close_matches(name, [flag.name for flag in FLAGS], n=1)
    return f"{name}: there is no such flag" + (f"; did you mean {near[0]}?" if near else "")


def _help() -> int:
    sys.stdout.write(run_parser().format_help())
    return EXIT_OK


def _dry_run(prepared: Prepared) -> int:
    """Show the plan; nothing is started, nothing written."""
    import json

    import msgspec

    from pto_cli.progress import write_lines
    from pto_cli.render import plan_lines

    notes = []
    if prepared.loaded is not None:
        plan = prepared.loaded.expanded
        notes.append(f"inputs: {len(prepared.loaded.inputs)} files")
    else:
        from pto_cli.host import draft_plan

        draft = draft_plan(prepared.options.requirement, prepared.options.max_executors)
        plan = draft.plan
        notes.append(f"SIMULATED; complexity {draft.complexity} of 100: {draft.rationale}")
    if prepared.options.json:
        write_lines([json.dumps(msgspec.to_builtins(plan))])
    else:
        write_lines(plan_lines(plan, notes))
    return EXIT_OK


def _request(prepared: Prepared) -> "RunRequested":
    from pto_cli.naming import new_run_id
    from pto_proto.ids import RunId
    from pto_proto.requests import RunRequested

    options = prepared.options
    return RunRequested(
        run=RunId(new_run_id(prepared.name)),
        name=prepared.name,
        requirement=options.requirement,
        max_executors=options.max_executors,
        max_retries=options.max_retries,
        engine=options.engine,  # type: ignore[arg-type]  # read_options has checked the words
        on_failure=options.on_failure,  # type: ignore[arg-type]
        on_conflict=options.on_conflict,  # type: ignore[arg-type]
        sandbox=options.sandbox,  # type: ignore[arg-type]
    )


def _open_folder(prepared: Prepared) -> "tuple[Prepared, OutputDir]":
    from pto_cli.output_dir import open_output_dir

    return prepared, open_output_dir(prepared.options.output_dir, prepared.name)


async def new_embedded(prepared: Prepared, output: "OutputDir") -> "tuple[Job, str]":
    """Make the run's folder, with its job and its note; returns the job and the run's id."""
    from pto_blobs.directory import DirectoryBlobStore
    from pto_cli.access import blob_cache
    from pto_cli.conduct import new_request_id
    from pto_cli.job import make_job, write_job
    from pto_cli.registry import RunNote, run_folder

    loaded = prepared.loaded
    job = await make_job(
        _request(prepared),
        new_request_id(),
        DirectoryBlobStore(blob_cache()),
        loaded.plan if loaded is not None else None,
        loaded.inputs if loaded is not None else (),
    )
    folder = run_folder(job.request.run)
    write_job(folder, job)
    note = RunNote(
        run=job.request.run,
        name=prepared.name,
        state="requested",
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        output_dir=str(output.path),
        max_executors=prepared.options.max_executors,
    )
    folder.write_note(note)
    return job, job.request.run


async def _host_here(prepared: Prepared, stop: asyncio.Event) -> int:
    import shutil

    from pto_cli.ending import exit_code, say_end
    from pto_cli.hosting import host
    from pto_cli.progress import make_progress
    from pto_cli.registry import run_folder

    options = prepared.options
    _, output = _open_folder(prepared)
    known = False

    def on_known(view: object) -> None:
        nonlocal known
        known = True

    run = ""
    try:
        job, run = await new_embedded(prepared, output)
        folder = run_folder(run)
        note = folder.read_note()
        assert note is not None  # noqa: S101 - it has just been written
        progress = make_progress(json=options.json, quiet=options.quiet, verbose=options.verbose)
        view, end = await host(folder, note, job, progress, stop, on_known=on_known)
    except BaseException:
        if not known:
            output.give_back()
            if run:
                shutil.rmtree(run_folder(run).path, ignore_errors=True)
        raise
    if end == "refused":
        output.give_back()
    say_end(view, end, output_dir=output.path, json_lines=options.json, quiet=options.quiet)
    return exit_code(view, end)


async def _ask_broker(prepared: Prepared, stop: asyncio.Event) -> int:
    """Ask at a broker, and follow; the output is fetched from there."""
    from pto_cli.access import open_remote
    from pto_cli.conduct import catch_up, fetch_output, follow, new_request_id, submit
    from pto_cli.ending import exit_code, say_end
    from pto_cli.job import make_job
    from pto_cli.progress import make_progress, write_lines
    from pto_client.follower import Follower

    options, loaded = prepared.options, prepared.loaded
    access = await open_remote(options.nats_url, os.environ)
    try:
        job = await make_job(
            _request(prepared), new_request_id(), access.blobs, loaded.plan if loaded else None,
            loaded.inputs if loaded else (),
        )  # fmt: skip
        if options.detach:
            await submit(access, job)
            write_lines([job.request.run])
            return EXIT_OK
        _, output = _open_folder(prepared)
        progress = make_progress(json=options.json, quiet=options.quiet, verbose=options.verbose)
        follower = Follower(access.session.view, job.request.run)
        try:
            await catch_up(follower)
            await submit(access, job)
            end = await follow(access, follower, progress, stop, request_id=job.request_id)
        finally:
            progress.close()
        if end == "ended":
            await fetch_output(access, job.request.run, output.path)
        elif end == "refused":
            output.give_back()
        say_end(follower.view, end, output_dir=output.path, json_lines=options.json, quiet=options.quiet)
        return exit_code(follower.view, end)
    finally:
        await access.close()
