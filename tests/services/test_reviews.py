"""Plans under review, by scheduler and planner on twins: edited plans of any size, with whoever dies on the way."""

import asyncio

import msgspec
import pytest

from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import Digest, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import PlanApproved, RunRequested
from small_system import SmallSystem

RUN = RunId("run-one")
PLAN = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True, depends_on=("a",))))
EDITED = Plan(
    name="mine",
    tasks=(
        TaskSpec(id=TaskId("c"), noop=True),
        TaskSpec(id=TaskId("d"), command="${matrix.x}", depends_on=("c",), matrix={"x": (1, 2)}),
    ),
)


def waits(view: RunView) -> bool:
    return view.run is not None and view.run.phase.value == "awaiting-approval"


async def waiting(system: SmallSystem, **request: object) -> Digest:
    """The digest of the plan that waits for approval."""
    await system.ask(RunRequested(run=RUN, plan=PLAN, approve=True, **request))
    view = await system.until(waits)
    assert view.run is not None
    assert view.run.plan is not None
    return view.run.plan.plan_digest


async def refusals(system: SmallSystem) -> list[str]:
    return [str(reason) for refused in (await system.view(RUN)).refused for reason in refused.reasons]


@pytest.mark.parametrize("way", ["inside", "by digest"])
async def test_an_edited_plan_runs_in_the_place_of_the_first(way: str) -> None:
    system = SmallSystem()
    system.start_all()
    digest = await waiting(system)
    if way == "inside":
        await system.ask(PlanApproved(run=RUN, plan_digest=digest, plan=EDITED), "edit")
    else:
        stored = await system.blobs.put(msgspec.json.encode(EDITED))
        await system.ask(PlanApproved(run=RUN, plan_digest=digest, edited_digest=stored), "edit")
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.tasks == {"succeeded": 3}
    assert sorted(system.local.started) == [("c", 1), ("d-1", 1), ("d-2", 1)]
    assert view.settled is not None
    assert (view.settled.decision, view.settled.request_id) == ("edited", "edit")
    assert isinstance(view.answers["edit"], ev.PlanEditAccepted)
    assert view.answers["edit"].task_count == 3
    assert [attempt.outcome for attempt in view.attempts[TaskId("_edit")]] == ["succeeded"]
    await system.stop_all()


async def test_an_edited_plan_that_cannot_be_had_or_read_is_refused_with_its_place() -> None:
    system = SmallSystem()
    system.start_all()
    digest = await waiting(system)
    for stored in (Digest("0" * 64), await system.blobs.put(b"no plan")):
        await system.ask(PlanApproved(run=RUN, plan_digest=digest, edited_digest=stored))
    broken = Plan(tasks=(TaskSpec(id=TaskId("x")), TaskSpec(id=TaskId("y"), noop=True, depends_on=("z",))))
    await system.ask(PlanApproved(run=RUN, plan_digest=digest, plan=broken), "last")
    await system.until(lambda view: "last" in view.answers)
    said = await refusals(system)
    assert said[0].startswith("edited_digest: the plan cannot be fetched: ")
    assert said[1].startswith("edited_digest: the stored plan is not a plan: ")
    assert [reason.partition(": ")[0] for reason in said[2:]] == ["plan.tasks[0]", "plan.tasks[1].depends_on[0]"]
    assert waits(await system.view(RUN))
    await system.stop_all()


@pytest.mark.parametrize("victim", ["scheduler", "planner"])
async def test_whoever_is_killed_while_an_edited_plan_is_taken_it_runs_once(victim: str) -> None:
    for moment in range(1, 13):
        system = SmallSystem()
        system.start_all()
        digest = await waiting(system)
        await system.ask(PlanApproved(run=RUN, plan_digest=digest, plan=EDITED))
        for _ in range(moment):
            await asyncio.sleep(0)
            await asyncio.sleep(0.0005)
        await system.kill(victim)
        getattr(system, f"start_{victim}")()
        view = await system.until(lambda view: view.finished)
        assert view.finished is not None
        assert view.finished.tasks == {"succeeded": 3}
        assert sorted(system.local.started) == [("c", 1), ("d-1", 1), ("d-2", 1)]
        await system.stop_all()


async def test_earlier_work_is_looked_up_for_the_edited_plan() -> None:
    system = SmallSystem()
    system.start_all()
    first = RunId("run-first")
    await system.ask(RunRequested(run=first, plan=EDITED))
    await system.until(lambda view: view.finished, first)
    digest = await waiting(system, resumes=first)
    started = len(system.local.started)
    await system.ask(PlanApproved(run=RUN, plan_digest=digest, plan=EDITED))
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.tasks == {"reused": 3}
    assert len(system.local.started) == started
    kinds = [decode_event(recorded.data).kind for recorded in await system.log.read_run(f"pto.*.*.{RUN}")]
    assert kinds.index(ev.PlanEditAccepted) < kinds.index(ev.TaskReused) < kinds.index(ev.PlanSettled)
    await system.stop_all()
