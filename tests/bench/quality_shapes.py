"""Workflow instances as this repository keeps them, their lower bounds, and the plans made of them.

``quality_shapes/<shape>.jsonl`` holds one instance per line, written by ``quality_generate``. All times are whole
milliseconds, so that every figure is exact and the same on every machine.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

FOLDER = Path(__file__).parent / "quality_shapes"
SHAPES = tuple(sorted(path.stem for path in FOLDER.glob("*.jsonl")))


class Piece(NamedTuple):
    """One task of an instance."""

    kind: int
    """Position of its type among the instance's kinds."""
    runtime_ms: int
    parents: tuple[int, ...]


class Cut(NamedTuple):
    """Tasks that cannot start before some moment and have something behind them: they need their work spread evenly."""

    around_ms: int
    """The longest path before them and the one behind them, at least."""
    work_ms: int


class Instance(NamedTuple):
    """One workflow."""

    shape: str
    size: int
    """Tasks asked of the recipe."""
    kinds: tuple[str, ...]
    pieces: tuple[Piece, ...]

    @property
    def work_ms(self) -> int:
        """The run times of all tasks together."""
        return sum(piece.runtime_ms for piece in self.pieces)

    @property
    def path_ms(self) -> int:
        """The critical path: the longest chain of run times."""
        return int(max(remaining_paths(self.pieces, [piece.runtime_ms for piece in self.pieces])))

    def bound_ms(self, executors: int) -> float:
        """No schedule is shorter than the critical path or than the work spread evenly."""
        return max(self.path_ms, self.work_ms / executors)

    def cut_bound_ms(self, executors: int) -> float:
        """A sharper bound (Fernandez and Bussell 1973): serial heads and tails cannot overlap the wide middle."""
        return max(self.path_ms, *(cut.around_ms + cut.work_ms / executors for cut in _cuts(self)))

    def graham_ms(self, executors: int) -> float:
        """No list schedule, however bad its order, is longer than this (Graham 1969)."""
        return self.work_ms / executors + (1 - 1 / executors) * self.path_ms


@cache
def instances(shape: str) -> tuple[Instance, ...]:
    """The instances of this shape, smallest first."""
    found = []
    for line in (FOLDER / f"{shape}.jsonl").read_text().splitlines():
        data = json.loads(line)
        pieces = tuple(Piece(kind, runtime_ms, tuple(parents)) for kind, runtime_ms, parents in data["tasks"])
        found.append(Instance(shape, data["size"], tuple(data["kinds"]), pieces))
    return tuple(found)


def instance(shape: str, size: int) -> Instance:
    return next(found for found in instances(shape) if found.size == size)


def name_of(position: int) -> TaskId:
    return TaskId(f"t{position}")


def position_of(task: str) -> int:
    return int(task[1:])


@cache
def _cuts(workflow: Instance) -> tuple[Cut, ...]:
    """For every pair of times the tasks with at least that much before and that much behind them."""
    pieces = workflow.pieces
    runtimes = [piece.runtime_ms for piece in pieces]
    behind = [path - own for path, own in zip(remaining_paths(pieces, runtimes), runtimes, strict=True)]
    before = _paths_before(pieces)
    falling = sorted(range(len(pieces)), key=lambda at: -behind[at])
    cuts = []
    for head in sorted(set(before)):
        work = 0
        inside = [at for at in falling if before[at] >= head]
        for at, following in zip(inside, [*inside[1:], None], strict=True):
            work += runtimes[at]
            if following is None or behind[following] != behind[at]:
                cuts.append(Cut(head + behind[at], work))
    return tuple(cuts)


def _paths_before(pieces: Sequence[Piece]) -> list[int]:
    """Per task the longest chain of run times that ends before it."""
    before = [0] * len(pieces)
    children = children_of(pieces)
    unmet = [len(piece.parents) for piece in pieces]
    order = [at for at, count in enumerate(unmet) if count == 0]
    for at in order:
        for child in children[at]:
            before[child] = max(before[child], before[at] + pieces[at].runtime_ms)
            unmet[child] -= 1
            if unmet[child] == 0:
                order.append(child)
    return before


def plan_of(workflow: Instance, estimates_s: Sequence[float | None]) -> Plan:
    """The plan that a person would write for it; its order is the recipe's."""
    tasks = tuple(
        TaskSpec(
            id=name_of(at),
            title=workflow.kinds[piece.kind],
            noop=True,
            depends_on=tuple(map(name_of, piece.parents)),
            estimate_s=estimate,
        )
        for at, (piece, estimate) in enumerate(zip(workflow.pieces, estimates_s, strict=True))
    )
    return Plan(name=workflow.shape, tasks=tasks)


def children_of(pieces: Sequence[Piece]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in pieces]
    for at, piece in enumerate(pieces):
        for parent in piece.parents:
            children[parent].append(at)
    return children


def remaining_paths(pieces: Sequence[Piece], weights: Sequence[float]) -> list[float]:
    """Per task the longest chain of weights that begins with it."""
    remaining = [-1.0] * len(pieces)
    children = children_of(pieces)
    for start in range(len(pieces)):
        stack = [start]
        while stack:
            at = stack[-1]
            waiting = [child for child in children[at] if remaining[child] < 0]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            remaining[at] = weights[at] + max((remaining[child] for child in children[at]), default=0)
    return remaining
