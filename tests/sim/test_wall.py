"""A model that takes nothing for fourteen minutes, in a world without faults and in rough ones."""

import pytest

from pto_core.limits import CAPACITY_PAUSE_CAP_MS
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested

from .plans import Ask
from .roughness import calm_profile
from .simulation import play
from .world import World

WALL_S = 14 * 60.0
RUN = RunId("run-001")


def walled(seed: int, *, calm: bool) -> World:
    """One run of twelve agents and a command, whose model is away from the start."""
    world = World(seed)
    if calm:
        world.profile = calm_profile()
    agents = [TaskSpec(id=TaskId(f"a{at}"), agent="do it", writes=(f"src/{at}",), retries=0) for at in range(12)]
    plan = Plan(name="wall", tasks=(*agents, TaskSpec(id=TaskId("c"), command="true")))
    request = RunRequested(run=RUN, plan=plan, max_executors=6, max_retries=0)
    world.asks = {RUN: Ask(request, plan, 0.5, "inline")}
    world.wall_until_s = WALL_S
    return world


def test_nothing_fails_nothing_is_burnt_and_nothing_is_done_again() -> None:
    world = walled(1, calm=True)
    verdict = play(world)
    assert verdict.violations == []
    story = world.judge.runs[RUN]
    assert story.finished is not None
    assert story.finished.tasks == {"succeeded": 13}
    ends = [attempt.failure for task in story.tasks.values() for attempt in task.attempts]
    assert set(ends) == {"", "capacity"}
    assert ends.count("") == 15, "each task, the plan and the merge succeed once"
    entries = [entry for recorded in world.log.store.stored() for entry in decode_event(recorded.data).entries]
    ready = {(entry.task, entry.attempt): entry.at for entry in entries if isinstance(entry, ev.TaskReady)}
    began = min(entry.at for entry in entries)
    assert ready[TaskId("c"), 1] - began < 60_000, "the command does not wait for the model"
    last = max(entry.at for entry in entries if isinstance(entry, ev.TaskFinished) and entry.task.startswith("a"))
    assert last - began < WALL_S * 1000 + CAPACITY_PAUSE_CAP_MS + 60_000
    rests = sum(isinstance(entry, ev.LanePaused) for entry in entries)
    assert 3 <= rests <= 10


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_in_a_rough_world_every_promise_is_kept_too(seed: int) -> None:
    world = walled(seed, calm=False)
    world.profile.cancels = world.profile.again = 0.0
    assert play(world).violations == []
    story = world.judge.runs[RUN]
    assert all(not task.failures("task", "timeout") for task in story.tasks.values())
