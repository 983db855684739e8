"""How good the order of hand-out is: the core's schedules of real workflow shapes against lower bounds, in virtual time.

    python -m tests.bench.quality [--write-docs]

Every figure is virtual time, so it is the same on every machine. ``--write-docs`` puts the tables between the markers of
``docs/scheduling.md`` and draws ``docs/scheduling.svg``.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .quality_core import exact, schedule
from .quality_orders import makespan_ms, shuffled
from .quality_picture import draw
from .quality_shapes import SHAPES, Instance, instances

EXECUTORS = (2, 4, 8, 16, 32, 64)
SIGMA = 0.5
"""Of the lognormal factor by which an estimate is wrong: two of three estimates within 0.6 to 1.65 of the truth."""
SEEDS = range(3)
DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"

Estimates = Callable[[Instance, int], list[float | None]]


def wrong(workflow: Instance, seed: int) -> list[float | None]:
    """Estimates with a lognormal factor."""
    rng = random.Random(f"{workflow.shape} {workflow.size} {seed}")
    return [piece.runtime_ms / 1000 * rng.lognormvariate(0, SIGMA) for piece in workflow.pieces]


def half(workflow: Instance, seed: int) -> list[float | None]:
    """True estimates for half of the tasks, none for the others."""
    rng = random.Random(f"{workflow.shape} {workflow.size} {seed}")
    return [piece.runtime_ms / 1000 if rng.random() < 0.5 else None for piece in workflow.pieces]


def longest(workflow: Instance, _: int) -> list[float | None]:
    """True estimates for the longest tenth of the tasks, as people give them."""
    limit = sorted(piece.runtime_ms for piece in workflow.pieces)[len(workflow.pieces) * 9 // 10]
    return [piece.runtime_ms / 1000 if piece.runtime_ms >= limit else None for piece in workflow.pieces]


def none(workflow: Instance, _: int) -> list[float | None]:
    return [None] * len(workflow.pieces)


KNOWLEDGE: dict[str, tuple[Estimates, Sequence[int]]] = {
    "estimates exact": (lambda workflow, _: exact(workflow), (0,)),
    f"estimates wrong (lognormal, sigma {SIGMA})": (wrong, SEEDS),
    "only the longest tenth estimated": (longest, (0,)),
    "half of the estimates missing, by chance": (half, SEEDS),
    "no estimates": (none, (0,)),
}
FIRST_COME, AT_RANDOM = "first ready, first served", "random order"


class Row(NamedTuple):
    """Makespans of one workflow on so many executors: per order, one per seed, as multiples of the bound."""

    workflow: Instance
    executors: int
    ratios: dict[str, list[float]]
    sharpness: float
    """The sharper bound as a multiple of the plain one."""

    def mean(self, order: str) -> float:
        return statistics.mean(self.ratios[order])


def measure() -> Iterator[Row]:
    """All shapes, sizes and numbers of executors."""
    for shape in SHAPES:
        for workflow in instances(shape):
            for executors in EXECUTORS:
                yield _row(workflow, executors)


def _row(workflow: Instance, executors: int) -> Row:
    bound = workflow.bound_ms(executors)
    ratios = {
        name: [schedule(workflow, executors, estimates(workflow, seed)).makespan_ms / bound for seed in seeds]
        for name, (estimates, seeds) in KNOWLEDGE.items()
    }
    ratios[FIRST_COME] = [makespan_ms(workflow, executors, None) / bound]
    ratios[AT_RANDOM] = [makespan_ms(workflow, executors, shuffled(workflow, seed)) / bound for seed in SEEDS]
    return Row(workflow, executors, ratios, workflow.cut_bound_ms(executors) / bound)


def summary(rows: Sequence[Row]) -> list[str]:
    """Per order: how far above the two bounds, over all rows."""
    lines = [
        "| Order | mean over the bound | mean over the sharper bound | worst tenth from | worst |",
        "|---|---|---|---|---|",
    ]
    for order in rows[0].ratios:
        plain = [ratio for row in rows for ratio in row.ratios[order]]
        sharp = sorted(ratio / row.sharpness for row in rows for ratio in row.ratios[order])
        tenth = sharp[int(len(sharp) * 0.9)]
        lines.append(
            f"| {order} | {statistics.mean(plain):.3f} | {statistics.mean(sharp):.3f} | {tenth:.3f} | {sharp[-1]:.3f} |"
        )
    return lines


def details(rows: Sequence[Row]) -> list[str]:
    """Per workflow and number of executors: ours, beside it the sharper bound and the yardsticks."""
    lines = [
        f"| Workflow | Tasks | {' | '.join(f'M = {executors}' for executors in EXECUTORS)} |",
        f"|---|---|{'---|' * len(EXECUTORS)}",
    ]
    for at in range(0, len(rows), len(EXECUTORS)):
        part = rows[at : at + len(EXECUTORS)]
        workflow = part[0].workflow
        cells = [
            f"**{row.mean('estimates exact'):.2f}** ≥{row.sharpness:.2f} {row.mean(FIRST_COME):.2f} {row.mean(AT_RANDOM):.2f}"
            for row in part
        ]
        lines.append(f"| {workflow.shape} | {len(workflow.pieces)} | {' | '.join(cells)} |")
    return lines


def report(rows: Sequence[Row]) -> str:
    return "\n".join(
        [
            *summary(rows),
            "",
            "Columns 3 to 5 are multiples of the sharper bound. Below, per cell, multiples of the bound: **longest",
            "remaining path with exact estimates**, ≥ the sharper bound (nothing can be below it), first ready first",
            "served, random order.",
            "",
            *details(rows),
        ]
    )


def between(text: str, begin: str, end: str, new: str) -> str:
    """The text with what is between the markers replaced."""
    head, rest = text.split(begin)
    return f"{head}{begin}\n{new}\n{end}{rest.split(end)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write-docs", action="store_true", help="refresh docs/scheduling.md and its picture")
    typed = parser.parse_args()
    rows = list(measure())
    print(report(rows))
    if typed.write_docs:
        page = DOCS / "scheduling.md"
        page.write_text(between(page.read_text(), BEGIN, END, report(rows)))
        lines = {"estimates exact": "longest remaining path", FIRST_COME: FIRST_COME, AT_RANDOM: AT_RANDOM}
        chosen = {
            shape: {
                label: [row.mean(order) for row in rows if row.workflow.shape == shape and row.workflow.size == 300]
                for order, label in lines.items()
            }
            | {"sharper bound": [r.sharpness for r in rows if r.workflow.shape == shape and r.workflow.size == 300]}
            for shape in SHAPES
        }
        (DOCS / "scheduling.svg").write_text(draw(chosen, EXECUTORS))


if __name__ == "__main__":
    main()
