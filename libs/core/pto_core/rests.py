"""Rests: until when nothing is handed out in a lane, or nothing that needs one model, because there was no capacity.

Imports siblings only. Invariants: a rest that was asked for lasts until the latest moment that anybody named; without
one it doubles with every rest in a row, within bounds; attempts that were out already make no rest longer without
saying so.
"""

from pto_core.limits import CAPACITY_PAUSE_CAP_MS, CAPACITY_PAUSE_MS, MAX_RETRY_AFTER_MS

WHOLE_LANE = ""
"""Instead of a model's name: all of the lane rests."""


class Rest:
    """One lane's rest, of the whole lane or of one model."""

    __slots__ = ("asked_ms", "in_a_row", "reason", "short_of", "until")

    def __init__(self) -> None:
        self.until: int | None = None
        """Unix ms (0: until resumed); None: it does not rest."""
        self.reason = ""
        self.short_of = ""
        """Reason of a capacity failure, until LanePaused is in the log."""
        self.asked_ms = 0
        """The longest wait that came with such failures."""
        self.in_a_row = 0
        """Rests since an attempt last got through."""

    @property
    def holds(self) -> bool:
        """Whether attempts have to wait."""
        return self.until is not None or bool(self.short_of)

    def note(self, reason: str, retry_after_s: float) -> None:
        """An attempt found no capacity."""
        asked_ms = round(min(max(0.0, retry_after_s), MAX_RETRY_AFTER_MS / 1000) * 1000)
        if self.until is None or asked_ms:
            self.short_of = reason or "no capacity"
            self.asked_ms = max(self.asked_ms, asked_ms)

    def begin(self, reason: str, until: int, at: int) -> None:
        """LanePaused, decided ``at`` that moment, is in the log."""
        self.in_a_row += self.until is None
        self.until = until
        self.reason = reason
        if until == 0 or self.asked_ms <= until - at:  # else a failure that asks for more came in between
            self.short_of = ""
            self.asked_ms = 0

    def end(self) -> None:
        """LaneResumed is in the log."""
        self.until = None

    def next_until(self, now: int) -> int:
        """Until when it has to rest because of what was noted."""
        wait = self.asked_ms or min(CAPACITY_PAUSE_CAP_MS, CAPACITY_PAUSE_MS << min(self.in_a_row, 20))
        return 0 if self.until == 0 else max(self.until or 0, now + wait)
