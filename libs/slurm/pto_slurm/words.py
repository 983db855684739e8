"""Our names for how jobs end, each with its failure class and what a person is told.

Imports proto; pure. Invariant: every name says what happened to which job, and what can be done about it where
something can.
"""

import msgspec

from pto_proto.events import FailureClass

_ELSEWHERE = "Nothing to do: it runs again elsewhere; no retry is used up."
_MORE_MEMORY = "Give the task more memory (resources: memory; --slurm-mem), or make it use less."
_MORE_TIME = "Give the task more time (resources: time; --slurm-time), or make it do less."
_SPOOL = "Is the spool on a file system that the nodes mount at the same path, and writable there?"
_FULL = "Is the spool's disk full, or its quota used up?"
_ADMINS = "Ask the site's administrators why, then `orchestrator resume RUN`."


class Word(msgspec.Struct, frozen=True):
    """What a name means; ``reason`` may name what ``judge`` knows, such as ``{job}``, ``{node}``, ``{why}``."""

    failure: FailureClass
    reason: str
    hint: str = ""


WORDS: dict[str, Word] = {
    "oom": Word("task", "job {job} was killed for using more memory than its {memory}M", _MORE_MEMORY),
    "timeout": Word("timeout", "job {job} reached its time limit of {minutes} min", _MORE_TIME),
    "deadline": Word("config", "job {job} could not end before its deadline", "The site set one; ask for less time."),
    "unsatisfiable": Word("config", "job {job} can never start", "Ask for less, or name another partition or qos."),
    "held": Word("config", "the site holds job {job} ({why})", _ADMINS),
    "launch_failed": Word("infra", "job {job} could not be launched and is held", _ELSEWHERE),
    "dependency": Word("infra", "what job {job} waits for will not happen", _ELSEWHERE),
    "requeued": Word("infra", "job {job} was put back into the queue", _ELSEWHERE),
    "preempted": Word("infra", "job {job} made room for another one", _ELSEWHERE),
    "interrupted": Word("infra", "job {job} was told to end on node {node}", _ELSEWHERE),
    "node_fail": Word("infra", "node {node} failed under job {job}", _ELSEWHERE),
    "boot_fail": Word("infra", "node {node} did not boot for job {job}", _ELSEWHERE),
    "vanished": Word("infra", "SLURM no longer knows job {job}, and it left no result", _ELSEWHERE),
    "cancelled": Word("cancelled", "job {job} was cancelled"),
    "cancelled_externally": Word("cancelled", "somebody else cancelled job {job}{by}"),
    "log_dir_unwritable": Word("config", "job {job} could not open its log on node {node}", _SPOOL),
    "environment": Word("config", "node {node} cannot run tasks: {said}", _SPOOL),
    "python": Word(
        "config",
        "node {node} has no Python that runs tasks: {said}",
        "The nodes need Python 3.8 or newer: name one with PTO_SLURM_PYTHON.",
    ),
    "spool_unwritable": Word("infra", "job {job} could not write its result on node {node}", _FULL),
    "killed": Word(
        "infra",
        "job {job} was killed on node {node}",
        "It may have used more memory than the node has; else nothing to do.",
    ),
    "signal": Word("infra", "job {job} was ended by signal {signal} on node {node}", _ELSEWHERE),
    "exit": Word("infra", "the executor of job {job} ended with exit code {exit} on node {node}: {said}", _ELSEWHERE),
    "pilot_ended": Word("infra", "pilot {job} was told to end on node {node} while it did this task", _ELSEWHERE),
    "pilot_lost": Word("infra", "pilot {job} has gone from node {node} with this task and left no result", _ELSEWHERE),
    "no_result": Word("infra", "job {job} ended well on node {node}, but left no result", _FULL),
}
