"""The yardstick itself: undisturbed runs of random graphs end as a few lines about the graph say."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pto_proto.ids import MERGE_TASK, TaskId

from .plans import Ask, draw_asks
from .stories import PLAN_BOUND, ROUND_BOUND
from .undisturbed import end_of


def fails(ask: Ask, task: TaskId, retries: int) -> bool:
    return sum(failure in ("task", "timeout") for failure in ask.behaviour(task).failures) > retries


def states(ask: Ask) -> dict[TaskId, str]:
    found: dict[TaskId, str] = {}
    waiting = list(ask.plan.tasks)
    while waiting:
        spec = waiting.pop(0)
        if any(name not in found for name in spec.depends_on):
            waiting.append(spec)
            continue
        retries = ask.request.max_retries if spec.retries is None else spec.retries
        if any(found[name] != "succeeded" for name in spec.depends_on):
            found[spec.id] = "skipped"
        else:
            found[spec.id] = "failed" if fails(ask, spec.id, retries) else "succeeded"
    return found


@given(st.integers(0, 2**32))
def test_an_undisturbed_run_ends_as_its_graph_says(seed: int) -> None:
    for ask in draw_asks(Random(seed)):
        if ask.request.on_failure == "stop" or ask.reds:
            continue
        end, expected = end_of(ask), Counter(states(ask).values())
        assert end.tasks == dict(expected)
        if fails(ask, MERGE_TASK, PLAN_BOUND) or not expected["succeeded"]:
            assert end.status == "failed"
        else:
            assert end.status == ("succeeded" if set(expected) == {"succeeded"} else "partial")


@given(st.integers(0, 2**32))
def test_an_undisturbed_run_with_red_merges_ends_as_its_rounds_say(seed: int) -> None:
    for ask in draw_asks(Random(seed)):
        if fails(ask, MERGE_TASK, PLAN_BOUND) or any(state != "succeeded" for state in states(ask).values()):
            continue
        for behaviour in ask.behaviours.values():
            behaviour.again = ()
        agents = {spec.id for spec in ask.plan.tasks if spec.agent}
        rounds = Counter[TaskId]()
        expected = "succeeded"
        for culprit in ask.reds:
            if culprit not in agents or rounds[culprit] == ROUND_BOUND:
                expected = "partial"
                break
            rounds[culprit] += 1
        assert end_of(ask).status == expected
