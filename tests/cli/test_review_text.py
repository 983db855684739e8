"""What a review says of money and time: pure, from the events of a run that asks a real model."""

import pytest

from pto_cli.review import awaits_review, how_to_answer, review_lines
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import LANE_PLANNER, Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested

RUN = RunId("run-one")
TASKS = (
    TaskSpec(id=TaskId("server"), agent="Write the\x1b[2J server.", writes=("src/**",), estimate_s=60.0),
    TaskSpec(id=TaskId("page"), agent="Write the page.", depends_on=("server",)),
)


def waiting(cost_usd: float | None = 0.25, **request: object) -> RunView:
    view = RunView()
    planner, plan = InstanceId("planner-1"), {"at": 2, "task": TaskId("_plan"), "attempt": 1}
    usage = ev.Usage(input_tokens=1_000, output_tokens=500)
    asked = RunRequested(run=RUN, requirement="x", engine="api", approve=True, **request)  # type: ignore[arg-type]
    story: list[tuple[Lane | None, ev.Entry]] = [
        (None, ev.RunAccepted(at=1, content_digest=Digest("c"), request=asked)),
        (LANE_PLANNER, ev.TaskReady(**plan, instance=planner, spec=TaskSpec(id=TaskId("_plan")))),  # type: ignore[arg-type]
        (LANE_PLANNER, ev.TaskPlanned(at=2, plan_digest=Digest("d"), part=0, parts=1, tasks=TASKS)),
        (
            LANE_PLANNER,
            ev.PlanFinished(
                **plan, plan_digest=Digest("d"), name="Shop", parts=1, task_count=2, complexity=40, engine="api",  # type: ignore[arg-type]
                rationale="two halves",
            ),
        ),
        (
            LANE_PLANNER,
            ev.TaskFinished(**plan, instance=planner, outcome="succeeded", usage=usage, cost_usd=cost_usd),  # type: ignore[arg-type]
        ),
    ]  # fmt: skip
    for seq, (lane, entry) in enumerate(story, 1):
        view.apply(seq, Event(id=f"{seq}", source="t", kind=type(entry), lane=lane, run=RUN, entries=(entry,)))
    return view


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    view = waiting()
    assert awaits_review(view)
    lines = review_lines(view, 100)
    assert "complexity 40 of 100: two halves" in lines
    assert "time: unknown, at least 1:00 with 5 at once: 1 of 2 tasks have no estimate" in lines
    assert any(line.startswith("tokens and money so far: $0.25 spent") and "1,500 tokens" in line for line in lines)
    assert lines[-1] == (
        "tokens and money of the tasks: unknown, nothing tells before it runs what 2 agent tasks will cost"
    )
    assert not any("\x1b" in line for line in lines)


def test_a_cost_that_nobody_knows_is_no_zero_and_a_limit_is_named() -> None:
    lines = review_lines(waiting(None, max_cost_usd=5.0), 100)
    (spent,) = [line for line in lines if line.startswith("tokens and money so far")]
    assert "unknown" in spent
    assert lines[-1].endswith("will cost; the run pauses before it comes to more than $5.00")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_and_the_picture_fit_the_screen(width: int) -> None:
    lines = review_lines(waiting(), width)
    assert max(len(line) for line in lines if not line.startswith(("tokens", "time"))) <= width


def test_the_way_to_answer_names_the_broker_only_if_there_is_one() -> None:
    assert "--nats-url" not in how_to_answer(RUN)
    assert f"`orchestrator approve {RUN} --nats-url URL`" in how_to_answer(RUN, is_remote=True)
