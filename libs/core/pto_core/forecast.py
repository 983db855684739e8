"""How long a plan takes, before it runs: the core's own list scheduling in virtual time.

Imports pto_proto and siblings only. Invariant: with true estimates, and nothing that fails or waits, the forecast is
the time that the scheduler needs; what is not estimated counts as nothing and is counted.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from pto_core.graph import build_graph, unmet_at_first
from pto_proto.plans import TaskSpec


class Forecast(NamedTuple):
    """The time of a plan by its tasks' estimates; a lower bound if some have none."""

    wall_s: float
    """From the first start to the last end."""
    work_s: float
    """All tasks one after the other."""
    unknown: int
    """Tasks without an estimate; one that does nothing needs none."""


def forecast(tasks: Sequence[TaskSpec], executors: int) -> Forecast:
    """What this plan takes with so many tasks at once. Raises PlanCycle, KeyError as ``build_graph`` does."""
    graph = build_graph(tasks)
    unmet = [unmet_at_first(spec) for spec in tasks]
    ready: list[int] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    for at, count in enumerate(unmet):
        if count == 0:
            heappush(ready, -graph.rank[at])
    while ready or running:
        while ready and len(running) < executors:
            at = graph.by_rank[-heappop(ready)]
            heappush(running, (now + (tasks[at].estimate_s or 0.0), at))
        now = running[0][0]
        while running and running[0][0] == now:
            for child in graph.children[heappop(running)[1]]:
                unmet[child] -= 1
                if unmet[child] == 0:
                    heappush(ready, -graph.rank[child])
    work = sum(spec.estimate_s or 0.0 for spec in tasks)
    return Forecast(now, work, sum(spec.estimate_s is None and not spec.noop for spec in tasks))
