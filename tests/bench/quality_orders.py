"""List scheduling by any order, independent of the core: the yardsticks beside it, and a second opinion about it."""

import random
from collections.abc import Sequence
from heapq import heappop, heappush

from .quality_shapes import Instance, children_of, remaining_paths


def makespan_ms(workflow: Instance, executors: int, keys: Sequence[float] | None) -> int:
    """Whenever an executor is free, the ready task with the smallest key starts; None: who became ready first."""
    pieces = workflow.pieces
    children = children_of(pieces)
    unmet = [len(piece.parents) for piece in pieces]
    ready: list[tuple[float, int]] = []
    arrivals = 0

    def arrive(at: int) -> None:
        nonlocal arrivals
        heappush(ready, (arrivals if keys is None else keys[at], at))
        arrivals += 1

    for at, count in enumerate(unmet):
        if count == 0:
            arrive(at)
    ends: list[tuple[int, int]] = []
    now = 0
    while ready or ends:
        while ready and len(ends) < executors:
            _, at = heappop(ready)
            heappush(ends, (now + pieces[at].runtime_ms, at))
        now = ends[0][0]
        ended = []
        while ends and ends[0][0] == now:
            ended.append(heappop(ends)[1])
        for at in sorted(ended):
            for child in children[at]:
                unmet[child] -= 1
                if unmet[child] == 0:
                    arrive(child)
    return now


def longest_path(workflow: Instance, weights: Sequence[float]) -> list[float]:
    """Keys of the order by longest remaining path; of equals the earlier in the plan."""
    return [-path for path in remaining_paths(workflow.pieces, weights)]


def shuffled(workflow: Instance, seed: int) -> list[float]:
    """Keys of a random order."""
    return list(random.Random(seed).sample(range(len(workflow.pieces)), len(workflow.pieces)))
