"""The exact argument vector of ``sbatch`` for one job: no shell, no ``#SBATCH`` lines, no secrets.

Imports siblings; pure. Invariant: whatever a name or a path holds, it arrives at SLURM as it is: options are long and
carry their value in the same argument, and ``%`` in the paths of logs is no pattern.
"""

import re

import msgspec

from pto_slurm.shape import JobShape

MAX_NAME = 200
MAX_COMMENT = 1024
"""Far below what SLURM refuses with words of its own (2 kB and 60 kB); longer ones are a fault of ours."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z", re.ASCII)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job to be: what runs it, under which name, in which folder, and what it asks for."""

    name: str
    comment: str
    shape: JobShape
    script: str
    """The wrapper: a file that is the same for all jobs of its kind."""
    arguments: tuple[str, ...] = ()
    folder: str
    """Where it starts; must be there, since SLURM goes to /tmp without a word else."""
    stdout: str
    stderr: str
    after: tuple[str, ...] = ()
    """Ids of jobs that must have ended well before it starts."""


def sbatch_argv(job: Job) -> tuple[str, ...]:
    """What submits the job. Raises ValueError when a name, comment or path is none that SLURM takes as it is."""
    _check(job)
    shape = job.shape
    dependencies = ["singleton"]  # no two jobs of this name run at once, however often it was submitted
    if job.after:
        dependencies.append(":".join(("afterok", *job.after)))
    options = {
        "job-name": job.name,
        "comment": job.comment,
        "dependency": ",".join(dependencies),
        "chdir": job.folder,
        "output": log_pattern(job.stdout),
        "error": log_pattern(job.stderr),
        "open-mode": "append",
        "export": "NIL",
        "signal": f"B:TERM@{shape.lead_s}" if shape.lead_s else "",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(shape.cpus),
        "mem": f"{shape.memory_mb}M",
        "time": str(shape.minutes),
        "gres": f"gpu:{shape.gpus}" if shape.gpus else "",
        "partition": shape.partition,
        "account": shape.account,
        "qos": shape.qos,
        "constraint": shape.constraint,
        "exclude": ",".join(shape.exclude),
    }
    return (
        "sbatch",
        "--parsable",
        "--no-requeue",
        *(f"--{name}={value}" for name, value in options.items() if value),
        job.script,
        *job.arguments,
    )


def log_pattern(path: str) -> str:
    """A path for ``--output`` and ``--error``, where ``%`` would begin a pattern."""
    return path.replace("%", "%%")


def _check(job: Job) -> None:
    if not _NAME.match(job.name) or len(job.name) > MAX_NAME:
        raise ValueError(f"{job.name[:80]!r} cannot be the name of a job")
    if len(job.comment) > MAX_COMMENT or not job.comment.isprintable():
        raise ValueError(f"{job.comment[:80]!r}... cannot be the comment of a job")
    if not all(other.isdecimal() and other.isascii() for other in job.after):
        raise ValueError(f"{job.after!r} are not all ids of jobs")
    for path in (job.script, job.folder, job.stdout, job.stderr):
        if not path.startswith("/") or not path.isprintable() or "\\" in path:
            raise ValueError(f"{path!r} must be an absolute path without backslashes and unprintable characters")
