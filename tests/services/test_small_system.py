"""Services on the in-memory log: hand-out, restarts, unsure writes, refusals."""

import asyncio
import itertools
from typing import Any

import msgspec

from pto_memory import MemoryEventLog
from pto_ports.engine import EngineError, PlanDraft, Spent
from pto_ports.event_log import LogUnavailable, Outgoing
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import RunId, TaskId, digest_of
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested, RunRequested
from pto_proto.results import Usage
from small_system import SmallSystem, UnsureLog

CHAIN = Plan(
    tasks=(
        TaskSpec(id=TaskId("a"), noop=True),
        TaskSpec(id=TaskId("b"), noop=True, depends_on=("a",)),
        TaskSpec(id=TaskId("c"), noop=True, depends_on=("b",)),
    )
)


def chain_run(run: str = "run-one", **fields: object) -> RunRequested:
    return RunRequested(run=RunId(run), plan=CHAIN, **fields)


async def test_a_requested_run_is_planned_run_and_merged() -> None:
    system = SmallSystem()
    system.start_all()
    await system.ask(chain_run())
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    assert system.local.started == [("a", 1), ("b", 1), ("c", 1)]
    await system.stop_all()


async def test_a_plan_by_digest_is_fetched_and_a_missing_one_is_refused() -> None:
    system = SmallSystem()
    system.start_all()
    digest = await system.blobs.put(msgspec.json.encode(CHAIN))
    await system.ask(RunRequested(run=RunId("run-one"), plan_digest=digest))
    await system.ask(RunRequested(run=RunId("run-two"), plan_digest=digest_of(b"nowhere")))
    await system.until(lambda view: view.finished)
    view = await system.until(lambda view: view.refused, "run-two")
    assert view.refused[0].reasons[0].where == "plan_digest"
    await system.stop_all()


async def test_bad_requests_are_refused_with_all_reasons_and_hurt_nobody() -> None:
    system = SmallSystem()
    system.start_all()
    await system.requests.append([Outgoing("pto.req.run-requested.tester", b"{not json", "bad-1")])
    plan = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True, depends_on=("zz",)), TaskSpec(id=TaskId("a"), noop=True)))
    await system.ask(RunRequested(run=RunId("run-bad"), plan=plan, max_executors=0), "bad-2")
    await system.ask(chain_run())
    await system.until(lambda view: view.finished)
    view = await system.view("run-bad")
    assert view.refused[0].request_id == "bad-2"
    assert len(view.refused[0].reasons) >= 3
    unreadable = await system.log.read_run("pto.request-refused._._")
    assert decode_event(unreadable[0].data).entries[0].kind == "unreadable"
    await system.stop_all()


async def test_a_scheduler_killed_at_any_moment_is_replaced_without_loss_or_repeat() -> None:
    for moment in range(1, 16):
        system = SmallSystem()
        system.start_all()
        await system.ask(chain_run())
        for _ in range(moment):
            await asyncio.sleep(0)
            await asyncio.sleep(0.0005)
        await system.kill("scheduler")
        system.start_scheduler()
        view = await system.until(lambda view: view.finished)
        assert view.finished is not None
        assert view.finished.status == "succeeded"
        assert system.local.started == [("a", 1), ("b", 1), ("c", 1)]
        await system.stop_all()


async def test_unsure_answers_are_settled_by_reading_the_log() -> None:
    system = SmallSystem(UnsureLog())
    system.start_all()
    await system.ask(chain_run())
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    assert system.local.started == [("a", 1), ("b", 1), ("c", 1)]
    identities = [
        (event.kind, entry.task, entry.attempt)
        for recorded in await system.log.read_run(">")
        if (event := decode_event(recorded.data)).kind in (ev.TaskReady, ev.TaskFinished)
        for entry in event.entries
    ]
    assert len(identities) == len(set(identities))
    await system.stop_all()


async def test_what_a_dead_dispatcher_ran_is_an_infrastructure_failure_and_runs_again() -> None:
    system = SmallSystem()
    system.local.held = {"b"}
    system.start_all()
    await system.ask(chain_run(max_retries=0))
    await system.until(lambda view: "b" in view.attempts)
    await asyncio.sleep(0.05)
    await system.kill("local")
    system.local.held = set()
    system.start_local()
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    assert [(a.outcome, a.failure) for a in view.attempts[TaskId("b")]] == [("failed", "infra"), ("succeeded", None)]
    await system.stop_all()


async def test_cancel_stops_what_runs_and_the_run_ends_cancelled() -> None:
    system = SmallSystem()
    system.local.held = {"b"}
    system.start_all()
    await system.ask(chain_run())
    await system.until(lambda view: "b" in view.attempts)
    await system.ask(RunCancelRequested(run=RunId("run-one"), reason="enough"))
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.status == "cancelled"
    assert system.local.stopped == ["b"]
    await system.stop_all()


async def test_a_request_is_answered_once_however_often_it_is_stored() -> None:
    system = SmallSystem()
    scheduler = system.start_all()
    ids = itertools.count()
    for _ in range(5):
        await system.ask(chain_run(), f"again-{next(ids)}")
    await system.until(lambda view: view.finished)
    accepted = await system.log.read_run("pto.run-accepted.*.*")
    assert len(accepted) == 1
    assert scheduler.state.request_seq == 1
    await system.stop_all()


async def test_a_cancel_in_the_tick_of_a_hand_out_still_ends_the_run() -> None:
    for moment in range(12):
        system = SmallSystem()
        system.start_all()
        await system.ask(chain_run())
        for _ in range(moment):
            await asyncio.sleep(0.0004)
        await system.ask(RunCancelRequested(run=RunId("run-one")))
        view = await system.until(lambda view: view.finished)
        assert view.finished is not None
        assert view.finished.status in ("cancelled", "succeeded")
        assert view.run is not None
        assert view.run.poisoned is None
        await system.stop_all()


async def test_a_monstrous_request_is_refused_in_few_words() -> None:
    system = SmallSystem()
    system.start_all()
    await system.ask(RunCancelRequested(run=RunId("\x7f" * 900_000)))
    await system.ask(chain_run())
    await system.until(lambda view: view.finished)
    refused = await system.log.read_run("pto.request-refused.*.*")
    assert len(refused[0].data) < 10_000
    await system.stop_all()


async def test_a_fault_of_an_engine_is_reported_and_the_run_ends() -> None:
    class Broken:
        name = "simulated"

        def plan(self, requirement: str, max_executors: int, cancel: object = None, model: str = "") -> PlanDraft:
            raise KeyError("a bug")

    system = SmallSystem()
    system.start_all()
    await system.kill("planner")
    system.start_planner({"simulated": Broken()})
    await system.ask(RunRequested(run=RunId("run-one"), requirement="anything"))
    view = await system.until(
        lambda view: view.attempts.get(TaskId("_plan"), [None])[0] and view.attempts[TaskId("_plan")][0].outcome
    )
    assert "a bug" in view.attempts[TaskId("_plan")][0].reason
    await system.stop_all()


async def test_what_a_planning_engine_says_of_money_and_time_is_reported() -> None:
    class BusyAtFirst:
        name = "simulated"
        asked = 0

        def plan(self, requirement: str, max_executors: int, *more: object) -> PlanDraft:
            self.asked += 1
            if self.asked == 1:
                spent = Spent(usage=Usage(input_tokens=7), cost_usd=0.25)
                raise EngineError("busy", failure="capacity", hint="Wait.", retry_after_s=0.05, spent=spent)
            return PlanDraft(plan=CHAIN, complexity=1, rationale="", usage=Usage(output_tokens=3), cost_usd=None)

    system = SmallSystem()
    system.start_all()
    await system.kill("planner")
    system.start_planner({"simulated": BusyAtFirst()})
    await system.ask(RunRequested(run=RunId("run-one"), requirement="anything", model="big"))
    view = await system.until(lambda view: view.finished)
    first, second = view.attempts[TaskId("_plan")]
    assert (first.failure, first.hint, first.cost, first.usage.input_tokens) == ("capacity", "Wait.", 0.25, 7)
    assert (second.outcome, second.cost, second.usage.output_tokens) == ("succeeded", None, 3)
    assert view.run is not None
    assert view.run.money.unknown_count == 1
    events = [decode_event(recorded.data) for recorded in system.log.stored()]
    (paused,) = [entry for event in events if event.kind is ev.LanePaused for entry in event.entries]
    assert (paused.model, paused.until - paused.at) == ("big", 50)
    await system.stop_all()


class AwayAtFirst(MemoryEventLog):
    """A log whose broker is away when a service starts."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 6

    async def read(self, *, after: int = 0, subject: str | None = None) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("the broker is away")
        return await super().read(after=after, subject=subject)


async def test_services_that_start_while_the_broker_is_away_wait_for_it() -> None:
    system = SmallSystem(AwayAtFirst())
    system.start_all()
    await system.ask(chain_run())
    view = await system.until(lambda view: view.finished)
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    await system.stop_all()
