"""All workloads by name, in the order in which they are measured, and which of them a command means."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial

from . import bucket, containers, crash, embedded, floor, pilots, scale
from .meter import Record
from .options import Options
from .warm import WORKLOADS

Measure = Callable[[Options], AsyncIterator[Record]]

APART: dict[str, Measure] = {
    "W2floor": floor.hops,
    "W5cold": embedded.cold_sleeps,
    "W6": embedded.first_task,
    **{f"W7{victim}": partial(crash.restarts, victim) for victim in crash.VICTIMS},
    "rebuild": scale.rebuild,
    "S1": scale.sizes,
    "S2": scale.many_runs,
    "S3": scale.after_many,
    "S4": scale.dispatchers,
    "S5": scale.long_log,
    "A1": bucket.small_results,
    "D1": containers.at_once,
    "H1": pilots.tasks,
}
"""Workloads that bring up what they need themselves."""
NAMES = (*WORKLOADS, *APART)
DEFAULT = tuple(name for name in NAMES if not name.startswith(("S", "D", "H", "A")))
"""Not those that take long, nor those that need an engine, a cluster or a bucket."""
ALL = "all"


class NoSuchWorkload(Exception):
    """Nothing is called so; the message names what there is."""


def selected(words: Iterable[str]) -> list[str]:
    """The workloads that are called so or begin so: ``W5`` means ``W5a``, ``W5b`` and ``W5cold``."""
    found: set[str] = set()
    for word in words:
        meant = [name for name in NAMES if word == ALL or name.lower().startswith(word.lower())]
        if not word or not meant:
            raise NoSuchWorkload(f"no workload is called {word!r}; there are {', '.join(NAMES)} and {ALL}")
        found.update(meant)
    return [name for name in NAMES if name in found]
