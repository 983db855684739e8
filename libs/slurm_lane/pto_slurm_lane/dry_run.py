"""What would be submitted for tasks, as text: the script that starts every job, and each job's exact argument vector.

Imports proto, pto_slurm, pto_slurm_node and siblings. Invariant: what is shown is made by the functions that submit;
nothing is written where a run would write.
"""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pto_proto.ids import RunId
from pto_proto.plans import TaskSpec
from pto_slurm.identity import Attempt
from pto_slurm.package import Installed, install
from pto_slurm.shape import shape_of
from pto_slurm.submission import Job, sbatch_argv
from pto_slurm_lane.checks import NO_SITE
from pto_slurm_node.spool import Spool


def dry_run_lines(tasks: Sequence[TaskSpec], run: RunId, folder: Path, python: str) -> Iterator[str]:
    """Lines about the first attempts of these tasks, as they are handed out; ``folder``: where the spool would be.

    Raises Unplaceable.
    """
    spool = Spool(folder)
    installed, script = _installed(spool)
    yield f"each job starts {installed.script}:"
    yield from (f"    {line}" for line in script.splitlines())
    for task in tasks:
        attempt = Attempt(run, task.id, 1)
        job = Job(
            name=attempt.job_name,
            comment=attempt.comment,
            shape=shape_of(task, NO_SITE),
            script=installed.script,
            arguments=installed.arguments("run", spool.attempt(run, attempt.name), python),
            folder=str(spool.run(run)),
            stdout=str(spool.job_log(run, attempt.name, "out")),
            stderr=str(spool.job_log(run, attempt.name, "err")),
        )
        yield f"{task.id}:"
        yield f"    {shlex.join(sbatch_argv(job))}"


def _installed(spool: Spool) -> tuple[Installed, str]:
    """(where the files would lie, the script): their names follow from their content."""
    with tempfile.TemporaryDirectory(prefix="pto-dry-run-") as name:
        elsewhere = Spool(Path(name))
        elsewhere.prepare()
        made = install(elsewhere)
        text = Path(made.script).read_text()
    return Installed(*(str(spool.bin / Path(path).name) for path in (made.script, made.executor))), text
