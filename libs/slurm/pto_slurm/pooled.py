"""The table of what became of an attempt that a pilot took. The rules are rows, as those of jobs are.

Imports siblings; pure. Invariants: the end of a pilot is never its task's own fault, except that it was killed for its
memory; as long as the pilot may live, its task is not lost.
"""

from pto_slurm.evidence import Evidence
from pto_slurm.verdicts import ANY, FAILED, GONE, OUT_OF_MEMORY, THERE, JobFacts, Row, Verdict, judge

OVER = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "DEADLINE",
    "PREEMPTED",
    "NODE_FAIL",
    "BOOT_FAIL",
    "OUT_OF_MEMORY",
)

POOLED_ROWS: tuple[Row, ...] = (
    Row((ANY,), ("cut off", "ours"), "ended", "cancelled"),
    Row((ANY,), ("cut off",), "ended", "pilot_ended"),
    Row(OUT_OF_MEMORY, ("killed",), "ended", "oom", more="memory"),
    Row((ANY,), ("killed", "memory words"), "ended", "oom", more="memory"),
    Row((ANY,), ("out of time",), "result", more="time"),
    Row((ANY,), ("result",), "result"),
    Row(THERE, (), "running"),
    Row(OUT_OF_MEMORY, (), "ended", "oom", more="memory"),
    Row(FAILED, ("0:9", "memory words"), "ended", "oom", more="memory"),
    Row(FAILED, ("0:125",), "ended", "oom", more="memory"),
    Row(("NODE_FAIL",), (), "ended", "node_fail", exclude=True),
    Row(OVER, ("no result in time", "ours"), "ended", "cancelled"),
    Row(OVER, ("no result in time",), "ended", "pilot_lost"),
    Row(OVER, (), "running"),
    Row((GONE,), ("absent long enough", "ours"), "ended", "cancelled"),
    Row((GONE,), ("absent long enough",), "ended", "pilot_lost"),
    Row((ANY,), (), "wait"),
)


def judge_pooled(seen: Evidence, pilot: JobFacts) -> Verdict:
    """What became of the attempt; ``seen`` is its pilot's job, and the attempt's own result."""
    return judge(seen, pilot, POOLED_ROWS)
