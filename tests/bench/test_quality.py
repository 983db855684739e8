"""The core as a list scheduler: no idle executor while a task is ready, Graham's bound, and schedules that stay good."""

import statistics

import pytest

from .quality import EXECUTORS, longest, none, wrong
from .quality_core import Schedule, exact, schedule
from .quality_orders import longest_path, makespan_ms
from .quality_shapes import SHAPES, Instance, Piece, instance, instances

SIZES = (120, 300)
WORST = {
    "blast": 1.15, "bwa": 1.01, "cycles": 1.06, "epigenomics": 1.01, "genome": 1.06, "montage": 1.16, "seismology": 1.04,
    "soykb": 1.02, "srasearch": 1.01,
}  # fmt: skip
"""Shape -> no schedule of it is longer than this multiple of the sharper bound."""
MEAN = 1.012
"""Nor are all of them on average longer than this."""


def cases(shape: str) -> list[tuple[Instance, int]]:
    return [(instance(shape, size), executors) for size in SIZES for executors in EXECUTORS]


def check_legal(workflow: Instance, executors: int, found: Schedule) -> None:
    """Every task once and after its parents, never two at once in a slot, never an idle slot beside a ready task."""
    spans = {span.task: span for span in found.spans}
    assert sorted(spans) == list(range(len(workflow.pieces)))
    assert len(found.spans) == len(spans)
    free_at = [0] * executors
    for span in sorted(found.spans, key=lambda span: (span.start_ms, span.end_ms)):
        assert span.start_ms >= free_at[span.slot]
        assert span.end_ms - span.start_ms == workflow.pieces[span.task].runtime_ms
        free_at[span.slot] = span.end_ms
    ends = sorted(span.end_ms for span in found.spans)
    starts = sorted(span.start_ms for span in found.spans)
    for span in found.spans:
        ready_ms = max((spans[parent].end_ms for parent in workflow.pieces[span.task].parents), default=0)
        assert span.start_ms >= ready_ms
        # While a task waits, all executors are busy; how many are changes only when something starts or ends.
        for moment in (
            {ready_ms, *(end for end in ends if ready_ms < end < span.start_ms)} if span.start_ms > ready_ms else ()
        ):
            busy = sum(start <= moment for start in starts) - sum(end <= moment for end in ends)
            assert busy == executors, f"task {span.task} waits at {moment} while {executors - busy} executors idle"


@pytest.mark.parametrize("shape", SHAPES)
def test_no_executor_idles_while_a_task_is_ready(shape: str) -> None:
    for executors in (2, 8, 32):
        workflow = instance(shape, 120)
        for estimates in (exact(workflow), wrong(workflow, 0), none(workflow, 0)):
            check_legal(workflow, executors, schedule(workflow, executors, estimates))


@pytest.mark.parametrize("shape", SHAPES)
def test_schedules_stay_within_grahams_bound_and_near_the_lower_ones(shape: str) -> None:
    for workflow, executors in cases(shape):
        makespan = schedule(workflow, executors, exact(workflow)).makespan_ms
        assert workflow.bound_ms(executors) <= workflow.cut_bound_ms(executors) <= makespan
        assert makespan <= workflow.graham_ms(executors)
        assert makespan <= WORST[shape] * workflow.cut_bound_ms(executors), (workflow.size, executors)


@pytest.mark.parametrize("shape", SHAPES)
def test_grahams_bound_holds_however_little_is_known(shape: str) -> None:
    for workflow, executors in cases(shape):
        if workflow.size == 120:
            for estimates in (wrong(workflow, 1), longest(workflow, 0), none(workflow, 0)):
                assert schedule(workflow, executors, estimates).makespan_ms <= workflow.graham_ms(executors)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_core_schedules_as_a_plain_list_scheduler_does(shape: str) -> None:
    for executors in EXECUTORS:
        workflow = instance(shape, 300)
        for estimates in (exact(workflow), wrong(workflow, 2)):
            keys = longest_path(workflow, [1.0 if estimate is None else estimate for estimate in estimates])
            assert schedule(workflow, executors, estimates).makespan_ms == makespan_ms(workflow, executors, keys)


def test_known_durations_beat_first_come_first_served() -> None:
    ours, first_come = [], []
    for shape in SHAPES:
        for workflow, executors in cases(shape):
            bound = workflow.cut_bound_ms(executors)
            keys = longest_path(workflow, [piece.runtime_ms for piece in workflow.pieces])
            ours.append(makespan_ms(workflow, executors, keys) / bound)
            first_come.append(makespan_ms(workflow, executors, None) / bound)
    assert statistics.mean(ours) <= MEAN
    assert statistics.mean(first_come) >= 1.07, "the shapes tell no good order from a bad one any more"


def test_the_bounds_of_a_workflow_that_can_be_done_in_the_head() -> None:
    pieces = (Piece(0, 10, ()), *(Piece(0, 6, (0,)) for _ in range(4)), Piece(0, 10, (1, 2, 3, 4)))
    workflow = Instance("by-hand", 6, ("a",), pieces)
    assert (workflow.work_ms, workflow.path_ms) == (44, 26)
    assert workflow.bound_ms(2) == 26
    assert workflow.cut_bound_ms(2) == 10 + 24 / 2 + 10
    assert workflow.graham_ms(2) == 22 + 13
    assert schedule(workflow, 2, exact(workflow)).makespan_ms == 32


def test_instances_are_whole() -> None:
    for shape in SHAPES:
        for workflow in instances(shape):
            assert 0.9 * workflow.size <= len(workflow.pieces) <= workflow.size
            assert any(piece.parents for piece in workflow.pieces)
            assert all(parent < len(workflow.pieces) for piece in workflow.pieces for parent in piece.parents)
