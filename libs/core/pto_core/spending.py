"""What tasks and a run came to in money and tokens, for readers.

Pure; imports pto_proto and siblings only. Invariant: what nobody knows is None or counted as unknown, never zero; the
system's own attempts (planning, merging) count for the run.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pto_core.views import AttemptView, RunView
from pto_proto.results import Usage


class Spending(NamedTuple):
    """Of some attempts."""

    known_usd: float
    """What those cost whose cost is known."""
    unknown: int
    """Attempts that are over and whose cost is not known."""
    reserved_usd: float
    """What is set aside for those that are out."""
    usage: Usage

    @property
    def cost_usd(self) -> float | None:
        """What they cost in all so far; None: not known."""
        return None if self.unknown else self.known_usd

    @property
    def is_nothing(self) -> bool:
        """Whether no model was asked, as far as is known."""
        return not (self.known_usd or self.unknown or self.reserved_usd or tokens(self.usage))


def of_attempts(attempts: Iterable[AttemptView]) -> Spending:
    """What these attempts came to."""
    known, unknown, reserved = 0.0, 0, 0.0
    totals = dict.fromkeys(Usage.__struct_fields__, 0)
    for attempt in attempts:
        for name, count in zip(totals, msgspec.structs.astuple(attempt.usage), strict=True):
            totals[name] += count
        if attempt.is_out:
            reserved += attempt.reserved
        elif attempt.cost is None:
            unknown += 1
        else:
            known += attempt.cost
    return Spending(round(known, 6), unknown, round(reserved, 6), Usage(**totals))


def of_run(view: RunView) -> Spending:
    """What the whole run came to."""
    return of_attempts(attempt for attempts in view.attempts.values() for attempt in attempts)


def tokens(usage: Usage) -> int:
    """Tokens of all kinds."""
    return sum(msgspec.structs.astuple(usage))
