"""``--detach``: starts this program again as a process that hosts the run, and waits until the run is known.

Imports siblings. Invariant: when this returns 0 the run is accepted and hosted; otherwise nothing is left behind.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK, complain
from pto_cli.progress import write_lines
from pto_cli.registry import run_folder

if TYPE_CHECKING:
    from pto_cli.commands.run import Prepared
    from pto_cli.output_dir import OutputDir

READY = b"ready"


def start_in_background(prepared: "Prepared", output: "OutputDir", *, json_lines: bool) -> int:
    """Start the run's host and print the run's id. Returns the exit code."""
    from pto_cli.commands.run import new_embedded

    run = ""
    try:
        _, run = asyncio.run(new_embedded(prepared, output))
        said = _start_host(run)
    except BaseException:
        _undo(run, output)
        raise
    if said != READY:
        _undo(run, output)
        problem = said.decode(errors="replace").strip() or "the process that should host the run ended at once"
        complain(problem.splitlines())
        return EXIT_ENVIRONMENT
    note = {"run": run, "name": prepared.name, "state": "running", "output_dir": str(output.path)}
    write_lines([json.dumps(note) if json_lines else run])
    return EXIT_OK


def _undo(run: str, output: "OutputDir") -> None:
    output.give_back()
    if run:
        shutil.rmtree(run_folder(run).path, ignore_errors=True)


def _start_host(run: str) -> bytes:
    """Returns ``READY``, or what went wrong."""
    reading, writing = os.pipe()
    with (run_folder(run).path / "host.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "pto_cli.main", "_host", run, str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()
