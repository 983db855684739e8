"""Everything that is known about one job at one look, and the signs that the table of verdicts asks for.

Imports siblings; pure. Invariant: a sign says what was seen, never what follows from it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from pto_slurm.pending import DEPENDENCY_LOST, is_held, is_not_launched, is_unsatisfiable

GRACE_S = 60.0
"""After a job's end its result may still be on its way through a network file system."""
ABSENT_POLLS = 3
ABSENT_S = 60.0
"""A job is gone when that many polls that worked, over that long, did not have it."""
NEAR_LIMIT_S = 120
"""SLURM tells a job to end up to a minute before the time it was asked to, so a limit is not met to the second."""
SURE_POLLS = 2
"""Reasons of pending jobs are provisional for one poll: slurmctld may not have looked at the job yet."""
KILLED = 137
TERMINATED = frozenset((143, 15))
"""128 + SIGTERM, which sacct shows as 15."""
OOM_WORDS = ("exceeded memory limit", "oom-kill", "oom_kill", "out of memory", "exceeded job memory limit")

Sign = Literal[
    "result", "cut off", "killed", "out of time", "interrupted", "no result in time", "no log", "memory words",
    "near limit", "ours", "unsatisfiable", "held", "not launched", "dependency lost", "two polls", "absent long enough",
    "starting", "0:53", "0:9", "0:125", "143", "exit 74", "exit 78", "126 or 127", "signal",
]  # fmt: skip


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one attempt's job. ``state`` is SLURM's word; empty: its last good answers did not have it."""

    state: str
    reason: str = ""
    exit_code: int | None = None
    signal: int = 0
    node: str = ""
    by: str = ""
    ran_s: float = 0.0
    """From its start to its end, or until now, but for the time in which it was suspended."""
    limit_s: float = 0.0
    result: Mapping[str, Any] | None = None
    """What the executor wrote for this very job and restart."""
    interrupted: bool = False
    """Whether the executor said that it was told to end."""
    was_starting: bool = False
    """Whether its node was still to come when it was last seen before its end."""
    has_log: bool = True
    stderr: str = ""
    """The last words in its log of errors."""
    ours: bool = False
    """Whether we asked for its end."""
    same_polls: int = 1
    """Polls in a row with this state and reason."""
    absent_polls: int = 0
    absent_s: float = 0.0
    ended_s: float = 0.0
    """How long its end has been known."""


def _outcome(seen: Evidence) -> str:
    return str(seen.result.get("outcome", "")) if seen.result else ""


def _is_cut_off(seen: Evidence) -> bool:
    """The executor was told to end and did so: why it was told, it cannot know."""
    return _outcome(seen) == "cancelled"


def _is_killed(seen: Evidence) -> bool:
    return _outcome(seen) == "failed" and (seen.result or {}).get("exit_code") == KILLED


def _is_timed_out(seen: Evidence) -> bool:
    return _outcome(seen) == "failed" and (seen.result or {}).get("failure") == "timeout"


def _has_memory_words(seen: Evidence) -> bool:
    said = seen.stderr.lower()
    return any(words in said for words in OOM_WORDS)


SIGNS: dict[Sign, Callable[[Evidence], bool]] = {
    "result": lambda seen: seen.result is not None,
    "cut off": _is_cut_off,
    "killed": _is_killed,
    "out of time": _is_timed_out,
    "interrupted": lambda seen: seen.interrupted,
    "no result in time": lambda seen: seen.result is None and seen.ended_s >= GRACE_S,
    "starting": lambda seen: seen.was_starting,
    "no log": lambda seen: not seen.has_log,
    "memory words": _has_memory_words,
    "near limit": lambda seen: bool(seen.limit_s) and seen.limit_s - seen.ran_s <= min(NEAR_LIMIT_S, seen.limit_s / 2),
    "ours": lambda seen: seen.ours,
    "unsatisfiable": lambda seen: is_unsatisfiable(seen.reason),
    "two polls": lambda seen: seen.same_polls >= SURE_POLLS,
    "absent long enough": lambda seen: seen.absent_polls >= ABSENT_POLLS and seen.absent_s >= ABSENT_S,
    "0:53": lambda seen: seen.signal == 53,
    "0:9": lambda seen: seen.signal == 9 or seen.exit_code == KILLED,
    "0:125": lambda seen: seen.signal == 125,
    "143": lambda seen: seen.signal == 15 or seen.exit_code in TERMINATED,
    "exit 74": lambda seen: seen.exit_code == 74,
    "exit 78": lambda seen: seen.exit_code == 78,
    "126 or 127": lambda seen: seen.exit_code in (126, 127),
    "signal": lambda seen: bool(seen.signal) or (seen.exit_code or 0) > 128,
    "held": lambda seen: is_held(seen.reason),
    "not launched": lambda seen: is_not_launched(seen.reason),
    "dependency lost": lambda seen: seen.reason == DEPENDENCY_LOST,
}
