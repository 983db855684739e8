"""What a process could hear and when it slept: the ground on which its conclusions from silence are judged."""

from dataclasses import dataclass, field

from pto_proto.events import AttemptLost, AttemptUnknown
from pto_proto.ids import InstanceId, Lane

UNKNOWN_S = 10.0
LOST_S = 30.0
CONTAINER_LOST_S = 300.0
TOLERANCE_S = 5.0
"""Naps and deafness shorter than this need not be noticed."""
LATEST_SIGN_S = UNKNOWN_S + TOLERANCE_S + 10.0
"""Who counts as alive was heard of at least since then; what is read late is a sign when it is read."""

Place = tuple[Lane, InstanceId, str]
"""Lane, instance and incarnation."""


@dataclass
class Hearing:
    """One process's ears."""

    born_at: float = 0.0
    heard: dict[Place, list[float]] = field(default_factory=dict)
    disturbed: list[tuple[float, float]] = field(default_factory=list)
    """(from, to) of each time in which it stood still or was cut off."""
    woke_at: float = -1.0
    """The end of its last long sleep."""
    sent_at: dict[str, float] = field(default_factory=dict)
    """Wire id -> when it was first sent."""
    had_read: dict[str, int] = field(default_factory=dict)
    """Wire id -> how far the log had been read then."""

    def hear(self, place: Place, now: float) -> None:
        """A sign of life was taken in."""
        self.heard.setdefault(place, []).append(now)

    def last_sign(self, lane: Lane, instance: str) -> float:
        """When this dispatcher was last heard of, whatever its incarnation."""
        return max(
            (at for place, signs in self.heard.items() if place[:2] == (lane, instance) for at in signs), default=-1e9
        )

    def disturb(self, start: float, end: float, *, slept: bool) -> None:
        """It stood still, or was cut off, from then to then."""
        if end - start >= TOLERANCE_S:
            self.disturbed.append((start, end))
            if slept:
                self.woke_at = end

    def silence(self, place: Place, wire_id: str) -> float:
        """How long it can have noticed a silence when it first wrote this."""
        now = self.sent_at[wire_id]
        since = max((at for at in self.heard.get(place, ()) if at <= now), default=self.born_at)
        for start, end in self.disturbed:
            if start <= now:
                since = max(since, min(end, now))
        return now - since


def least_silence(entry: AttemptUnknown | AttemptLost, lane: Lane) -> float:
    """How long a silence has to last for this conclusion, less what is tolerated."""
    lost = CONTAINER_LOST_S if lane == "docker" else LOST_S
    return (lost if isinstance(entry, AttemptLost) else UNKNOWN_S) - TOLERANCE_S
