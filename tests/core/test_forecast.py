"""The forecast of a plan is what the real core makes of it when every estimate is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench.quality_core import exact, schedule
from tests.bench.quality_shapes import Instance, Piece, plan_of

from pto_core.forecast import forecast
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec


@st.composite
def workflows(draw: st.DrawFn) -> Instance:
    count = draw(st.integers(1, 12))
    pieces = []
    for at in range(count):
        before = draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else set()
        pieces.append(Piece(0, draw(st.integers(1, 9)) * 1000, tuple(sorted(before))))
    return Instance("drawn", count, ("work",), tuple(pieces))


@given(workflows(), st.integers(1, 5))
def test_a_forecast_is_the_time_that_the_core_needs(workflow: Instance, executors: int) -> None:
    plan = plan_of(workflow, exact(workflow))
    assert forecast(plan.tasks, executors).wall_s == schedule(workflow, executors, exact(workflow)).makespan_ms / 1000


def test_what_has_no_estimate_is_counted_and_makes_a_lower_bound() -> None:
    tasks = (
        TaskSpec(id=TaskId("a"), command="x", estimate_s=3.0),
        TaskSpec(id=TaskId("b"), command="x", depends_on=(TaskId("a"),)),
        TaskSpec(id=TaskId("c"), noop=True, depends_on=(TaskId("b"),)),
        TaskSpec(id=TaskId("d"), agent="x", estimate_s=4.0),
    )
    assert forecast(tasks, 1) == (7.0, 7.0, 1)
    assert forecast(tasks, 2) == (4.0, 7.0, 1)
    assert forecast((), 3) == pytest.approx((0.0, 0.0, 0))
