"""From records to figures: repeats of the same thing together, the disturbed ones left out, median and spread.

Invariant: a figure never mixes sizes, variants or scales.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .meter import Record

DISTURBED = 0.5
"""Processors that others used, from which on a repeat is left out where there are better ones."""
LEAST = 2
"""Repeats that are kept when all are disturbed: the least disturbed ones."""


@dataclass(frozen=True)
class Spread:
    """A median and what it lies between."""

    median: float
    low: float
    high: float

    def shown(self) -> str:
        if number(self.low) == number(self.high):
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)}-{number(self.high)})"


@dataclass(frozen=True)
class Figure:
    """The repeats of one workload on one system."""

    workload: str
    peer: str
    variant: str
    n: int
    workers: int
    records: Sequence[Record]
    is_disturbed: bool

    def spread(self, field: str) -> Spread | None:
        values = [float(record[field]) for record in self.records if record.get(field) is not None]
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def median(self, field: str) -> float | None:
        spread = self.spread(field)
        return None if spread is None else spread.median


def figures(records: Iterable[Record]) -> list[Figure]:
    """In the order in which they were first measured; failures and the machine's own records are left out."""
    groups: dict[tuple[str, str, str, int, int, float], list[Record]] = {}
    for record in records:
        if "error" in record or record["workload"] == "machine":
            continue
        key = (
            record["workload"], record["peer"], record.get("variant", ""), record["n"], record["workers"],
            record["scale"],
        )  # fmt: skip
        groups.setdefault(key, []).append(record)
    found = []
    for (workload, peer, variant, n, workers, _), repeats in groups.items():
        calm = [record for record in repeats if record.get("other_cores", 0.0) <= DISTURBED]
        kept = calm or sorted(repeats, key=lambda record: float(record["other_cores"]))[:LEAST]
        found.append(Figure(workload, peer, variant, n, workers, kept, not calm))
    return found


def first(found: Iterable[Figure], matches: Callable[[Figure], bool]) -> Figure | None:
    return next((figure for figure in found if matches(figure)), None)


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 0.1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3g}"
