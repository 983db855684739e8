"""``--detach``: starts this program again as a process that hosts the run, and waits until the run is known.

Imports siblings. Invariant: when this returns 0 the run is accepted and hosted; otherwise nothing is left behind.
"""

import asyncio
import json
import os
import subprocess
import sys

from pto_cli.embedded import new_run, undo
from pto_cli.output_dir import open_output_dir
from pto_cli.prepare import Prepared
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK, EXIT_PAUSED, complain
from pto_cli.progress import write_lines
from pto_cli.registry import RunFolder, run_folder
from pto_cli.review import how_to_answer

READY = b"ready"


def start_in_background(prepared: Prepared) -> int:
    """Start the run's host and print the run's id. Returns the exit code."""
    output, request = open_output_dir(prepared.options.output_dir, prepared.name), prepared.request()
    folder = run_folder(request.run)
    try:
        _, note, _ = asyncio.run(new_run(prepared, request, output))
        said = start_host(folder)
    except BaseException:
        undo(folder, output)
        raise
    if said != READY:
        undo(folder, output)
        problem = said.decode(errors="replace").strip() or "the process that should host the run ended at once"
        complain(problem.splitlines())
        return EXIT_ENVIRONMENT
    about = {"run": note.run, "name": note.name, "state": "planning", "output_dir": note.output_dir}
    write_lines([json.dumps(about) if prepared.options.json else note.run])
    if request.approve:
        complain([how_to_answer(note.run)])
        return EXIT_PAUSED
    return EXIT_OK


def start_host(folder: RunFolder) -> bytes:
    """Start a process that hosts the run. Returns ``READY``, or what went wrong."""
    reading, writing = os.pipe()
    try:
        with (folder.path / "host.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "pto_cli.main", "_host", folder.path.name, str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
            )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()
