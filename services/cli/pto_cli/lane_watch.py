"""What keeps a run's tasks from being handed out in their lanes, for whoever looks on: no event of the run says it.

Imports core and siblings. Invariant: the log is read again only while executors are free and nothing happens.
"""

import time

from pto_cli.access import Access
from pto_cli.earlier import lane_state
from pto_cli.explanation import Known, lane_of
from pto_core.state import Run, Task
from pto_core.transitions import RunPhase, TaskState
from pto_core.views import RunView
from pto_proto.ids import Lane

QUIET_S = 1.5
"""How long nothing may have happened: lanes usually take tasks within a fraction of a second."""
AGAIN_S = 4.0
"""Between two looks at the log."""
MAX_LOOKED_AT = 2_000
"""Tasks looked at for one that waits; the lanes of those behind are looked at when their turn comes."""


class LaneWatch:
    """Of one run that is followed."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._news_at = time.monotonic()
        self._looked_at = 0.0
        self._said: list[str] = []

    async def look(self, view: RunView, *, is_news: bool) -> list[str]:
        """What its tasks wait for in their lanes; the same as last time without another look. Raises LogUnavailable."""
        now = time.monotonic()
        if is_news:
            self._news_at = now
            self._said = []
        if now - self._news_at >= QUIET_S and now - self._looked_at >= AGAIN_S:
            self._said = await waits(self._access, view)
            self._looked_at = time.monotonic()
        return self._said


async def waits(access: Access, view: RunView) -> list[str]:
    """A line for each lane that does not take what it could. Raises LogUnavailable."""
    run = view.run
    if run is None or run.ended or run.paused is not None:
        return []
    if sum(task.index >= 0 for task in run.open.values()) >= run.max_executors:
        return []
    found = []
    now = time.time_ns() // 1_000_000
    for lane, task in waiting_tasks(run, now).items():
        known = Known(now=now, lane=await lane_state(access, lane))
        found += [f"waits for {what}" for what in lane_of(run, task, known)]
    return found


def waiting_tasks(run: Run, now: int) -> dict[Lane, Task]:
    """Lane -> one of its tasks that could be handed out."""
    found: dict[Lane, Task] = {}
    system = run.waiting_system_task
    if system is not None and system.due_at <= now:
        found[run.lane_of(system)] = system
    if run.phase is RunPhase.RUNNING:
        for task in run.tasks[:MAX_LOOKED_AT]:
            is_due = task.state is TaskState.WAITING_RETRY and task.due_at <= now
            if is_due or (task.state is TaskState.PLANNED and not task.unmet):
                found.setdefault(run.lane_of(task), task)
    return found
