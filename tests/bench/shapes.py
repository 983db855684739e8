"""The shapes of the workloads, as dependencies by index, and what no schedule can beat.

Standard library only: peers read this in environments of their own. Invariant: the same arguments give the same shape,
for every system that is measured.
"""

import heapq
import random
from collections.abc import Callable, Sequence

Dependencies = list[list[int]]
LAYERS = 20
PARENTS = 3
QUARTER_S = 0.25
STRAGGLERS = 24


def bag(n: int) -> Dependencies:
    """``n`` tasks that know nothing of each other."""
    return [[] for _ in range(n)]


def chain(n: int) -> Dependencies:
    """Each task waits for the one before."""
    return [[at - 1] if at else [] for at in range(n)]


def layered(width: int, layers: int = LAYERS, parents: int = PARENTS, seed: int = 7) -> Dependencies:
    """Layers of ``width`` tasks; each waits for some tasks of the layer before."""
    chance = random.Random(seed)
    found: Dependencies = []
    for layer in range(layers):
        above = range((layer - 1) * width, layer * width)
        for _ in range(width):
            found.append(sorted(chance.sample(above, min(parents, width))) if layer else [])
    return found


def straggler(n: int = STRAGGLERS, seed: int = 11) -> tuple[Dependencies, list[float]]:
    """(dependencies, durations): tasks of a quarter to two seconds; a third are roots, the rest wait for one or two."""
    chance = random.Random(seed)
    durations = [QUARTER_S * (1 + at % 8) for at in range(n)]
    chance.shuffle(durations)
    dependencies = [
        [] if at < n // 3 else sorted(chance.sample(range(max(0, at - 10), at), chance.choice((1, 2))))
        for at in range(n)
    ]
    return dependencies, durations


def followers(dependencies: Dependencies) -> Dependencies:
    """Who waits for each task."""
    found: Dependencies = [[] for _ in dependencies]
    for at, above in enumerate(dependencies):
        for other in above:
            found[other].append(at)
    return found


def lower_bound(dependencies: Dependencies, durations: Sequence[float], executors: int) -> float:
    """No schedule ends sooner: the longest path, or all the work spread over all executors."""
    ends: list[float] = []
    for above, duration in zip(dependencies, durations, strict=True):
        ends.append(duration + max((ends[other] for other in above), default=0.0))
    return max(max(ends), sum(durations) / executors)


def makespan(
    dependencies: Dependencies, durations: Sequence[float], executors: int, rank: Callable[[int], float]
) -> float:
    """When a list schedule ends that starts the ready task of the lowest rank first (equal ranks: as they got ready)."""
    after = followers(dependencies)
    left = [len(above) for above in dependencies]
    ready = [(rank(at), at, at) for at in range(len(left)) if not left[at]]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    arrivals, now = len(left), 0.0
    while ready or running:
        while ready and len(running) < executors:
            at = heapq.heappop(ready)[2]
            heapq.heappush(running, (now + durations[at], at))
        now, at = heapq.heappop(running)
        for other in after[at]:
            left[other] -= 1
            if not left[other]:
                arrivals += 1
                heapq.heappush(ready, (rank(other), arrivals, other))
    return now


def longest_paths(dependencies: Dependencies, durations: Sequence[float]) -> list[float]:
    """For each task the longest way from its start to the end of all."""
    after = followers(dependencies)
    found = [0.0] * len(after)
    for at in reversed(range(len(after))):
        found[at] = durations[at] + max((found[other] for other in after[at]), default=0.0)
    return found
