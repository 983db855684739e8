"""Lanes in which a run has something to hand out and nobody to take it, so that it does not wait in silence.

Imports core, ports, proto and siblings. Invariant: it reads only; each lane is told once, and again if its dispatcher
came and left since.
"""

import time

from pto_cli.access import Access
from pto_cli.earlier import lane_state
from pto_core.hand_out import waiting_lanes
from pto_core.views import RunView
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Lane

LOOK_S = 5.0
"""Between two looks: services that start together with a run are up by then, and each look asks the broker."""


async def absent_lanes(access: Access, view: RunView, now: int) -> list[Lane]:
    """The lanes whose dispatchers the run waits for now: none has announced itself, or all have left in order."""
    run = view.run
    if run is None or run.ended or not run.may_be_handed_out:
        return []
    lanes = {lane: await lane_state(access, lane) for lane in sorted(waiting_lanes(run, now))}
    return [lane for lane, known in lanes.items() if all(instance.draining for instance in known.instances.values())]


def absent_line(lane: Lane) -> str:
    """One such lane in a sentence."""
    return f"waits for a dispatcher of lane {lane}; none is up"


class Lookout:
    """Looks for absent lanes now and then while somebody follows a run."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._told: set[Lane] = set()
        self._due = time.monotonic() + LOOK_S

    async def news(self, view: RunView, now: int) -> list[str]:
        """A line for each lane that is absent and was not told."""
        if time.monotonic() < self._due:
            return []
        try:
            absent = await absent_lanes(self._access, view, now)
        except LogUnavailable:
            absent = []  # who follows hears that from the log itself
        self._due = time.monotonic() + LOOK_S
        new = [lane for lane in absent if lane not in self._told]
        self._told = set(absent)
        return [absent_line(lane) for lane in new]
