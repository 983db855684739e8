"""Lanes in which a run has something to hand out and that do not take it, so that it does not wait in silence.

Imports core, ports, proto and siblings. Invariant: it reads only; each lane is told once, and again if it took tasks
since.
"""

import time
from collections.abc import Mapping

from pto_cli.access import Access
from pto_cli.earlier import lane_state
from pto_cli.render import clean, duration
from pto_core.hand_out import waiting_lanes
from pto_core.state import LaneState
from pto_core.views import RunView
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Lane

LOOK_S = 5.0
"""Between two looks: services that start together with a run are up by then, and each look asks the broker."""


async def look(access: Access, view: RunView, now: int) -> dict[Lane, LaneState]:
    """The lanes in which the run waits now, and what is known of them. Raises LogUnavailable."""
    run = view.run
    if run is None or run.ended or not run.may_be_handed_out:
        return {}
    return {lane: await lane_state(access, lane) for lane in sorted(waiting_lanes(run, now))}


def absent_lanes(found: Mapping[Lane, LaneState]) -> list[Lane]:
    """Those whose dispatchers the run waits for: none has announced itself, or all have left in order."""
    return [lane for lane, known in found.items() if all(instance.draining for instance in known.instances.values())]


def lane_lines(found: Mapping[Lane, LaneState], now: int) -> dict[str, str]:
    """What is always said alike of a lane that takes nothing -> the whole sentence, with how long that still lasts."""
    absent = absent_lanes(found)
    lines = {}
    for lane, known in found.items():
        rest = known.resting()
        if lane in absent:
            line = f"waits for a dispatcher of lane {lane}; none is up"
            lines[line] = line
        elif rest is not None:
            reason = clean(rest.reason or rest.short_of, 300)
            left = max(0, (rest.until or 0) - now) / 1000
            more = f", and is tried again in {duration(left)}" if left else ""
            lines[f"{lane}: {reason}"] = f"lane {lane} takes nothing for now{more}: {reason}"
    return lines


class Lookout:
    """Looks for such lanes now and then while somebody follows a run."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._told: set[str] = set()
        self._due = time.monotonic() + LOOK_S

    async def news(self, view: RunView, now: int) -> list[str]:
        """A line for each lane of which nothing was told."""
        if time.monotonic() < self._due:
            return []
        try:
            lines = lane_lines(await look(self._access, view, now), now)
        except LogUnavailable:
            lines = {}  # who follows hears that from the log itself
        self._due = time.monotonic() + LOOK_S
        new = [line for key, line in lines.items() if key not in self._told]
        self._told = set(lines)
        return new
