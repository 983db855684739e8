"""How much of what went wrong fits into RunConsolidated; docs/execution.md of the merged project lists all of it.

Imports proto only. Invariant: the event stays below the limit of one message whatever the tasks did, and never looks
better than it was: what is left out is said, and a failed check or an unresolved conflict stays one.
"""

from collections.abc import Sequence

import msgspec

from pto_proto.results import CheckResult, Conflict

LIST_BYTES = 48 * 1024
"""Of each of the three lists: together they leave a quarter of an event's 256 kB for everything else."""
MAX_CONFLICT_TASKS = 20
"""Tasks named for one path; a sweep of 10,000 tasks may well write ``result.json`` 10,000 times."""
MAX_COMMAND_CHARS = 300
"""Of a check, to tell which one it was."""


def shorten_conflicts(conflicts: Sequence[Conflict]) -> tuple[Conflict, ...]:
    """The first ones that fit, each with its first tasks; a last one without tasks says how many are missing."""
    cut = [msgspec.structs.replace(conflict, tasks=conflict.tasks[:MAX_CONFLICT_TASKS]) for conflict in conflicts]
    kept = cut[: _fitting(cut)]
    more = len(cut) - len(kept)
    if more:
        kept.append(Conflict(path=f"({more} more paths)", tasks=(), resolution="see docs/execution.md"))
    return tuple(kept)


def shorten_refused(refused: Sequence[str]) -> tuple[str, ...]:
    """The first ones that fit; a last line says how many are missing."""
    kept = list(refused[: _fitting(refused)])
    more = len(refused) - len(kept)
    return (*kept, f"({more} more, see docs/execution.md)") if more else tuple(kept)


def shorten_checks(checks: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """All results; commands are cut, and output is kept of the first failures only."""
    cut = [msgspec.structs.replace(check, command=_cut(check.command)) for check in checks]
    room = _fitting(cut)
    return (*cut[:room], *(msgspec.structs.replace(check, tail=()) for check in cut[room:]))


def _cut(command: str) -> str:
    return command if len(command) <= MAX_COMMAND_CHARS else command[: MAX_COMMAND_CHARS - 3] + "..."


def _fitting(items: Sequence[object]) -> int:
    used = 0
    for count, item in enumerate(items):
        used += len(msgspec.json.encode(item)) + 1
        if used > LIST_BYTES:
            return count
    return len(items)
