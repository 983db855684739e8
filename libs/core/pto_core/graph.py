"""The dependency graph of a plan: who waits for whom, and who is most urgent.

Imports pto_proto and siblings only. Invariant: built once per plan, never changed. Urgency is the longest remaining
path: the sum of estimates from a task to the end of the longest chain behind it (list scheduling after Graham 1969,
with the critical-path priority of Hu 1961).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pto_core.limits import DEFAULT_ESTIMATE_S
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec


class PlanCycle(ValueError):
    """The tasks depend on each other in a circle; ``tasks`` names one such circle in order."""

    def __init__(self, tasks: tuple[TaskId, ...]) -> None:
        super().__init__(f"tasks depend on each other in a circle: {' -> '.join([*tasks, tasks[0]])}")
        self.tasks = tasks


class Graph(NamedTuple):
    """Dependencies by position in the plan."""

    children: tuple[tuple[int, ...], ...]
    rank: tuple[int, ...]
    """Position -> urgency rank, unique; the highest is the most urgent."""
    by_rank: tuple[int, ...]
    """Urgency rank -> position."""

    def descendants(self, position: int) -> Iterable[int]:
        """All tasks that depend on this one, directly or not, each once."""
        seen: set[int] = set()
        stack = list(self.children[position])
        while stack:
            at = stack.pop()
            if at not in seen:
                seen.add(at)
                yield at
                stack.extend(self.children[at])


def build_graph(tasks: Sequence[TaskSpec]) -> Graph:
    """The graph of these tasks. Raises PlanCycle; KeyError for a dependency that is not in the plan."""
    position = {spec.id: at for at, spec in enumerate(tasks)}
    children: list[list[int]] = [[] for _ in tasks]
    for at, spec in enumerate(tasks):
        for dependency in dict.fromkeys(spec.depends_on) if spec.depends_on else ():
            children[position[dependency]].append(at)
    order = _topological(tasks, children)
    remaining = [0.0] * len(tasks)
    for at in reversed(order):
        behind = max([remaining[child] for child in children[at]]) if children[at] else 0.0
        estimate = tasks[at].estimate_s
        remaining[at] = behind + (DEFAULT_ESTIMATE_S if estimate is None else estimate)
    # Of equals, the earlier in the plan is the more urgent: sorting keeps their order, so it starts from behind.
    by_rank = sorted(range(len(tasks) - 1, -1, -1), key=remaining.__getitem__)
    rank = [0] * len(tasks)
    for urgency, at in enumerate(by_rank):
        rank[at] = urgency
    return Graph(tuple(map(tuple, children)), tuple(rank), tuple(by_rank))


def unmet_at_first(spec: TaskSpec) -> int:
    """How many tasks this one waits for."""
    return len(set(spec.depends_on)) if spec.depends_on else 0


def _topological(tasks: Sequence[TaskSpec], children: list[list[int]]) -> list[int]:
    unmet = [unmet_at_first(spec) for spec in tasks]
    order = [at for at, count in enumerate(unmet) if count == 0]
    for at in order:
        for child in children[at]:
            unmet[child] -= 1
            if unmet[child] == 0:
                order.append(child)
    if len(order) < len(tasks):
        raise PlanCycle(_find_circle(tasks, {at for at, count in enumerate(unmet) if count > 0}))
    return order


def _find_circle(tasks: Sequence[TaskSpec], stuck: set[int]) -> tuple[TaskId, ...]:
    position = {spec.id: at for at, spec in enumerate(tasks)}
    at = min(stuck)
    path: dict[int, None] = {}
    while at not in path:
        path[at] = None
        at = next(position[dep] for dep in tasks[at].depends_on if position[dep] in stuck)
    steps = list(path)
    circle = steps[steps.index(at) :]
    return tuple(tasks[step].id for step in reversed(circle))
