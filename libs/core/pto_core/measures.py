"""Figures of one run: how long, how parallel, how much better than one after the other.

Pure; imports pto_proto and siblings only. Invariant: only the plan's own tasks count (not planning and merging), and
what has not happened yet counts as nothing.
"""

from collections import Counter
from collections.abc import Iterator

from pto_core.state import Task
from pto_core.views import AttemptView, RunView
from pto_proto.ids import TaskId


def counts(view: RunView) -> dict[str, int]:
    """Task state -> number of the plan's tasks in it."""
    return dict(Counter(task.state.value for task in _tasks(view)))


def retries(view: RunView) -> int:
    """Attempts of the plan's tasks that followed one without success; another round is no retry."""
    attempts = (view.attempts.get(task.spec.id, ()) for task in _tasks(view))
    return sum(earlier.outcome != "succeeded" for known in attempts for earlier in known[:-1])


def wall_s(view: RunView) -> float:
    """From the first TaskStarted to the last TaskFinished of the plan's tasks."""
    spans = [(a.started_at, a.finished_at) for a in _attempts(view)]
    starts = [start for start, _ in spans if start is not None]
    ends = [end for start, end in spans if start is not None and end is not None]
    return max(0, max(ends) - min(starts)) / 1000 if starts and ends else 0.0


def serial_s(view: RunView) -> float:
    """How long the successful attempts would take one after the other."""
    return sum(attempt.duration_s for attempt in _attempts(view) if attempt.outcome == "succeeded")


def speed_up(view: RunView) -> float | None:
    """Serial time over wall time; None when nothing took any time."""
    wall = wall_s(view)
    return serial_s(view) / wall if wall > 0 else None


def parallel_efficiency(view: RunView) -> float | None:
    """Speed-up over the number of executors; 1.0: all were busy with work that counted, all the time."""
    gained = speed_up(view)
    return None if gained is None or view.run is None else gained / max(1, view.run.max_executors)


def max_running(view: RunView) -> int:
    """Most attempts that ran at once, by the times that their dispatchers recorded."""
    changes: list[tuple[int, int]] = []
    for attempt in _attempts(view):
        if attempt.started_at is not None:
            changes.append((attempt.started_at, 1))
            if attempt.finished_at is not None:
                changes.append((max(attempt.started_at, attempt.finished_at), -1))
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def critical_path(view: RunView) -> list[tuple[TaskId, float]]:
    """The chain of dependent tasks whose last attempts took longest in sum, first to last, each with its seconds."""
    tasks = _tasks(view)
    if view.run is None or not tasks:
        return []
    took = [_took_s(view.last(task.spec.id)) for task in tasks]
    until = took.copy()
    before: list[int | None] = [None] * len(tasks)
    for at in _topological(view.run.graph.children):
        for child in view.run.graph.children[at]:
            if before[child] is None or until[at] + took[child] > until[child]:
                until[child] = until[at] + took[child]
                before[child] = at
    chain: list[int] = []
    at_end: int | None = max(range(len(tasks)), key=lambda at: (until[at], -at))
    while at_end is not None:
        chain.append(at_end)
        at_end = before[at_end]
    return [(tasks[at].spec.id, took[at]) for at in reversed(chain) if view.attempts.get(tasks[at].spec.id)]


def _tasks(view: RunView) -> list[Task]:
    return view.run.tasks if view.run is not None else []


def _attempts(view: RunView) -> Iterator[AttemptView]:
    for task in _tasks(view):
        yield from view.attempts.get(task.spec.id, ())


def _took_s(attempt: AttemptView | None) -> float:
    return attempt.duration_s if attempt is not None else 0.0


def _topological(children: tuple[tuple[int, ...], ...]) -> list[int]:
    unmet = [0] * len(children)
    for below in children:
        for child in below:
            unmet[child] += 1
    order = [at for at, count in enumerate(unmet) if count == 0]
    for at in order:
        for child in children[at]:
            unmet[child] -= 1
            if unmet[child] == 0:
                order.append(child)
    return order
