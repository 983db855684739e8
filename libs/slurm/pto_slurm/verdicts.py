"""The table of states: what is known about a job -> what became of the attempt. The rules are rows, not code.

Imports proto and siblings; pure. Invariants: the first row whose state and signs all fit decides, and some row always
does; a state that is not known keeps being watched; a result of this very job beats what SLURM says, except where only
SLURM knows why the job was ended.
"""

from typing import Literal

import msgspec

from pto_proto.events import FailureClass
from pto_slurm.evidence import SIGNS, Evidence, Sign
from pto_slurm.pending import UNSATISFIABLE_HINTS
from pto_slurm.words import WORDS

Kind = Literal["wait", "queued", "provisioning", "running", "suspended", "result", "ended"]
More = Literal["", "memory", "time"]
ANY = "any"
GONE = ""
"""SLURM's last good answers do not have the job."""
MAX_SAID = 200


class Row(msgspec.Struct, frozen=True):
    """If the job is in one of ``states`` and all ``signs`` are seen, then it is so."""

    states: tuple[str, ...]
    signs: tuple[Sign, ...]
    kind: Kind
    word: str = ""
    """Our name for its end: a key of ``WORDS``."""
    more: More = ""
    """What the next attempt needs more of."""
    cancel: bool = False
    """The job is still there: it is to be cancelled, and the end told when it has gone."""
    exclude: bool = False
    """The node had a part in it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the attempt, so far as it is known. ``result``: what the executor wrote says it."""

    kind: Kind
    word: str = ""
    failure: FailureClass | None = None
    reason: str = ""
    hint: str = ""
    more: More = ""
    cancel: bool = False
    exclude: bool = False
    warning: str = ""
    """For the service's own log."""


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the words of a verdict name besides what was seen."""

    job: str
    memory_mb: int = 0
    minutes: int = 0


PENDING = ("PENDING", "REQUEUE_HOLD", "RESV_DEL_HOLD")
STARTING = ("CONFIGURING", "POWER_UP_NODE")
RUNNING = ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT")
SUSPENDED = ("SUSPENDED", "STOPPED")
THERE = (*PENDING, *STARTING, *RUNNING, *SUSPENDED)
NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")
REQUEUED = ("REQUEUED", "REQUEUE_FED", "SPECIAL_EXIT")
"""Of a job that somebody put back into the queue: it is still there."""
FAILED = ("FAILED",)
OUT_OF_MEMORY = ("OUT_OF_MEMORY",)
BADLY_ENDED = ("FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", *OUT_OF_MEMORY, *NODE_LOST)

ROWS: tuple[Row, ...] = (
    # Results. What only SLURM knows comes first: who ended a job, and that memory was the cause.
    Row((ANY,), ("cut off", "ours"), "ended", "cancelled"),
    Row(THERE, ("cut off",), "running"),
    Row(("TIMEOUT",), ("cut off",), "ended", "timeout", more="time"),
    Row(("DEADLINE",), ("cut off",), "ended", "deadline"),
    Row(("PREEMPTED",), ("cut off",), "ended", "preempted"),
    Row(NODE_LOST, ("cut off",), "ended", "node_fail", exclude=True),
    Row(("CANCELLED",), ("cut off",), "ended", "cancelled_externally"),
    Row((ANY,), ("cut off", "near limit"), "ended", "timeout", more="time"),
    Row((ANY,), ("cut off",), "ended", "interrupted"),
    Row(OUT_OF_MEMORY, ("killed",), "ended", "oom", more="memory"),
    Row(THERE, ("killed",), "running"),
    Row((ANY,), ("killed", "memory words"), "ended", "oom", more="memory"),
    Row((ANY,), ("out of time",), "result", more="time"),
    Row((ANY,), ("result",), "result"),
    # Jobs that have not begun, and jobs that run.
    Row(PENDING, ("ours",), "queued", cancel=True),
    Row(PENDING, ("unsatisfiable", "two polls"), "ended", "unsatisfiable", cancel=True),
    Row(PENDING, ("dependency lost",), "ended", "dependency", cancel=True),
    Row(PENDING, ("held", "two polls"), "ended", "held", cancel=True),
    Row(PENDING, ("not launched", "two polls"), "ended", "launch_failed", cancel=True, exclude=True),
    Row(PENDING, (), "queued"),
    Row(STARTING, (), "provisioning"),
    Row(RUNNING, (), "running"),
    Row(SUSPENDED, (), "suspended"),
    # Jobs that ended, and no result was seen.
    Row(BADLY_ENDED, ("ours",), "ended", "cancelled"),
    Row(OUT_OF_MEMORY, (), "ended", "oom", more="memory"),
    Row(FAILED, ("0:9", "memory words"), "ended", "oom", more="memory"),
    Row(FAILED, ("0:125",), "ended", "oom", more="memory"),
    Row(("TIMEOUT",), (), "ended", "timeout", more="time"),
    Row(FAILED, ("143", "interrupted", "near limit"), "ended", "timeout", more="time"),
    Row(("DEADLINE",), (), "ended", "deadline"),
    Row(("CANCELLED",), (), "ended", "cancelled_externally"),
    Row(("NODE_FAIL",), ("starting",), "ended", "boot_fail", exclude=True),
    Row(("NODE_FAIL",), (), "ended", "node_fail", exclude=True),
    Row(("BOOT_FAIL",), (), "ended", "boot_fail", exclude=True),
    Row(("PREEMPTED",), (), "ended", "preempted"),
    Row(REQUEUED, (), "ended", "requeued", cancel=True),
    Row(FAILED, ("0:53", "no log"), "ended", "log_dir_unwritable"),
    Row(FAILED, ("exit 74",), "ended", "spool_unwritable", exclude=True),
    Row(FAILED, ("exit 78",), "ended", "python"),
    Row(FAILED, ("126 or 127",), "ended", "environment"),
    Row(FAILED, ("no result in time", "0:9"), "ended", "killed"),
    Row(FAILED, ("no result in time", "signal"), "ended", "signal"),
    Row(FAILED, ("no result in time",), "ended", "exit"),
    Row(("COMPLETED",), ("no result in time", "ours"), "ended", "cancelled"),
    Row(("COMPLETED",), ("no result in time",), "ended", "no_result"),
    Row((*FAILED, "COMPLETED"), (), "running"),
    # Jobs that SLURM does not have, and words that are new here.
    Row((GONE,), ("absent long enough", "ours"), "ended", "cancelled"),
    Row((GONE,), ("absent long enough", "interrupted", "near limit"), "ended", "timeout", more="time"),
    Row((GONE,), ("absent long enough",), "ended", "vanished"),
    Row((ANY,), (), "wait"),
)
KNOWN = frozenset(state for row in ROWS for state in row.states)


def judge(seen: Evidence, job: JobFacts, rows: tuple[Row, ...] = ROWS) -> Verdict:
    """What became of the attempt; the last row of each table fits everything."""
    row = next(row for row in rows if _fits(row, seen))
    warning = ""
    if seen.state not in KNOWN:
        warning = f"SLURM calls job {job.job} {seen.state!r}, which is not known here; it is watched on"
    if row.kind != "ended":
        return Verdict(kind=row.kind, more=row.more, cancel=row.cancel, warning=warning)
    word = WORDS[row.word]
    said = next((line.strip() for line in reversed(seen.stderr.splitlines()) if line.strip()), "it says nothing")
    reason = word.reason.format(
        job=job.job,
        node=seen.node or "(unknown)",
        why=seen.reason,
        exit=seen.exit_code,
        signal=seen.signal or max(0, (seen.exit_code or 0) - 128),
        by=f" (user {seen.by})" if seen.by else "",
        memory=job.memory_mb,
        minutes=job.minutes,
        said=said[:MAX_SAID],
    )
    is_asking = row.word == "unsatisfiable"
    name = f"{row.word}:{seen.reason}" if is_asking else row.word
    return Verdict(
        kind=row.kind,
        word=name,
        failure=word.failure,
        reason=f"{name}: {reason}",
        hint=UNSATISFIABLE_HINTS.get(seen.reason, word.hint) if is_asking else word.hint,
        more=row.more,
        cancel=row.cancel,
        exclude=row.exclude,
        warning=warning,
    )


def _fits(row: Row, seen: Evidence) -> bool:
    return (row.states == (ANY,) or seen.state in row.states) and all(SIGNS[sign](seen) for sign in row.signs)
