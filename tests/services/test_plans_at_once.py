"""Plans that wait in threads take nothing away from what they wait for."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pto_planning.backend import PlannerBackend
from pto_ports.backend import Order
from pto_ports.engine import Cancel, PlanDraft
from pto_ports.event_log import Outgoing
from pto_proto import events as ev
from pto_proto.envelope import Event, encode_event
from pto_proto.ids import PLAN_TASK, Digest, InstanceId, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.clock import SystemClock
from small_system import SmallSystem, no_lines


class PlannerElsewhere:
    """Its work is done by the event loop of the service, which needs threads for it."""

    name = "elsewhere"

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None, model: str = "") -> PlanDraft:
        async def work() -> PlanDraft:
            return await asyncio.to_thread(lambda: PlanDraft(plan=PLAN, complexity=1, rationale=""))

        return asyncio.run_coroutine_threadsafe(work(), self.loop).result()


PLAN = Plan(name="p", tasks=(TaskSpec(id=TaskId("a"), command="true"),))


async def accepted(system: SmallSystem, run: RunId) -> int:
    entry = ev.RunAccepted(at=1, content_digest=Digest("c"), request=RunRequested(run=run, requirement="r"))
    event = Event(id=run, source="t", kind=ev.RunAccepted, lane=None, run=run, entries=(entry,))
    return await system.log.append([Outgoing(event.subject, encode_event(event), run)])


async def test_plans_do_not_take_the_threads_that_they_wait_for() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    ends: list[ev.TaskFinished] = []
    all_ended = asyncio.Event()

    def report(order: Order, *entries: Any) -> None:
        ends.extend(entry for entry in entries if isinstance(entry, ev.TaskFinished))
        if len(ends) == 5:
            all_ended.set()

    system = SmallSystem()
    backend = PlannerBackend(
        log=system.log, blobs=system.blobs, clock=SystemClock(), instance=InstanceId("d-1"),
        engines=lambda order, request: PlannerElsewhere(),
    )  # fmt: skip
    await backend.open(report, no_lines)
    for number in range(5):
        run = RunId(f"run-{number}")
        seq = await accepted(system, run)
        spec = TaskSpec(id=PLAN_TASK, agent="plan")
        ready = ev.TaskReady(at=1, task=PLAN_TASK, attempt=1, slot=0, instance=InstanceId("d-1"), spec=spec)
        await backend.start(Order(run, seq, ready))
    async with asyncio.timeout(20):
        await all_ended.wait()
    await backend.close()
    assert {end.outcome for end in ends} == {"succeeded"}, ends
