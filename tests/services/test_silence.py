"""Leases, standbys and silence, on a virtual clock: who leads, and what becomes of attempts nobody hears of."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pto_memory import VirtualClock
from pto_ports.backend import Order
from pto_ports.event_log import Outgoing
from pto_ports.lease import LEASE_S
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested, RunRequested
from pto_proto.subjects import EPOCH_SUBJECT
from pto_runtime.service import CannotServe
from small_system import FakeBackend, SmallSystem

PAIR = Plan(tasks=(TaskSpec(id=TaskId("a"), noop=True), TaskSpec(id=TaskId("b"), noop=True, depends_on=("a",))))


class Virtual:
    """A small system whose time moves only when it is told to."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.system = SmallSystem(clock=self.clock)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def ask(self, **fields: Any) -> None:
        await self.system.ask(RunRequested(run=RunId("run-one"), plan=PAIR, **fields))

    async def kinds(self, *wanted: type[ev.Entry]) -> list[ev.Entry]:
        events = [decode_event(r.data) for r in await self.system.log.read_run(">") if b"garbage" not in r.data]
        return [entry for event in events if event.kind in wanted for entry in event.entries]

    async def epochs(self) -> list[str]:
        events = await self.system.log.read_run(EPOCH_SUBJECT)
        return [decode_event(recorded.data).entries[0].instance for recorded in events]


def virtual(test: Callable[[Virtual], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        it = Virtual()
        it.system.start_all()
        await it.pass_time(0.5)
        await test(it)
        for name in list(it.system.services):
            await it.system.kill(name)

    run.__name__ = test.__name__
    return run


@virtual
async def test_a_standby_waits_for_the_end_of_the_lease_and_then_leads_at_once(it: Virtual) -> None:
    it.system.start_scheduler("scheduler-2")
    await it.pass_time(3 * LEASE_S)
    assert await it.epochs() == ["scheduler"]
    await it.system.kill("scheduler")
    await it.pass_time(LEASE_S - 1.0)
    assert await it.epochs() == ["scheduler"]
    await it.pass_time(1.5)
    assert await it.epochs() == ["scheduler", "scheduler-2"]
    await it.ask()
    await it.pass_time(1)
    assert (await it.system.view("run-one")).finished is not None


@virtual
async def test_an_orderly_end_hands_the_lease_over(it: Virtual) -> None:
    it.system.start_scheduler("scheduler-2")
    await it.pass_time(1)
    task, stop = it.system.services.pop("scheduler")
    stop.set()
    await it.pass_time(0.5)
    assert task.done()
    assert await it.epochs() == ["scheduler", "scheduler-2"]


@virtual
async def test_a_restarted_instance_leads_at_once(it: Virtual) -> None:
    await it.system.kill("scheduler")
    it.system.start_scheduler()
    await it.pass_time(0.1)
    assert await it.epochs() == ["scheduler", "scheduler"]


@virtual
async def test_the_same_instance_started_twice_ends_with_one_leader(it: Virtual) -> None:
    older = it.system.services.pop("scheduler")
    it.system.start_scheduler()
    await it.pass_time(10)
    await it.ask()
    await it.pass_time(10)
    assert await it.epochs() == ["scheduler", "scheduler"]
    assert (await it.system.view("run-one")).finished is not None
    assert not older[0].done()
    it.system.services["older"] = older


@virtual
async def test_a_silent_dispatcher_makes_its_attempts_unknown_then_lost_and_they_run_elsewhere(it: Virtual) -> None:
    it.system.local.held.add("a")
    await it.ask()
    await it.pass_time(1)
    await it.system.kill("local")
    other = FakeBackend("local-2", "noop")
    it.system.start_local(other)
    await it.pass_time(12)
    assert len(await it.kinds(ev.AttemptUnknown)) == 1
    assert not await it.kinds(ev.AttemptLost)
    await it.pass_time(25)
    (lost,) = await it.kinds(ev.AttemptLost)
    assert (lost.task, lost.attempt, lost.instance) == ("a", 1, "local-1")  # type: ignore[attr-defined]
    view = await it.system.view("run-one")
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    assert other.started == [("a", 2), ("b", 1)]
    # The silent one comes back: it confirms the end of what was lost, and nothing of it is applied.
    it.system.start_local()
    await it.pass_time(1)
    assert it.system.local.started == [("a", 1)]
    last = (await it.kinds(ev.TaskFinished))[-1]
    assert (last.task, last.attempt, last.outcome) == ("a", 1, "cancelled")  # type: ignore[attr-defined]


@virtual
async def test_nothing_is_handed_to_who_gives_no_sign_of_life(it: Virtual) -> None:
    await it.system.kill("local")
    await it.pass_time(15)
    await it.ask()
    await it.pass_time(60)
    assert [entry.task for entry in await it.kinds(ev.TaskReady)] == ["_plan"]  # type: ignore[attr-defined]
    it.system.start_local()
    await it.pass_time(2)
    assert (await it.system.view("run-one")).finished is not None


@virtual
async def test_a_judge_that_slept_does_not_count_its_own_sleep(it: Virtual) -> None:
    it.system.local.held.add("a")
    await it.ask()
    await it.pass_time(1)
    scheduler, _ = it.system.services.pop("scheduler")
    await it.system.kill("local")
    scheduler.cancel()
    await it.pass_time(300)
    it.system.start_scheduler()
    await it.pass_time(8)
    assert not await it.kinds(ev.AttemptUnknown)
    await it.pass_time(25)
    assert len(await it.kinds(ev.AttemptLost)) == 1


@virtual
async def test_an_attempt_that_is_heard_of_again_is_known_again(it: Virtual) -> None:
    it.system.local.held.add("a")
    await it.ask()
    await it.pass_time(1)
    send = it.system.channel.send

    async def lose(subject: str, data: bytes) -> None:
        if "local" not in subject:
            await send(subject, data)

    it.system.channel.send = lose  # type: ignore[method-assign]
    await it.pass_time(15)
    it.system.channel.send = send  # type: ignore[method-assign]
    await it.pass_time(60)
    assert len(await it.kinds(ev.AttemptUnknown)) == 1
    assert len(await it.kinds(ev.JobStateChanged)) == 1
    assert not await it.kinds(ev.AttemptLost)


@virtual
async def test_a_cancelled_run_ends_without_the_word_of_a_silent_dispatcher_and_lists_it(it: Virtual) -> None:
    it.system.local.held.add("a")
    await it.ask()
    await it.pass_time(1)
    await it.system.kill("local")
    await it.system.ask(RunCancelRequested(run=RunId("run-one")))
    await it.pass_time(20)
    assert (await it.system.view("run-one")).finished is None
    await it.pass_time(60)
    finished = (await it.system.view("run-one")).finished
    assert finished is not None
    assert (finished.status, finished.unconfirmed) == ("cancelled", ("a.1",))


@virtual
async def test_an_order_that_was_given_up_while_its_dispatcher_slept_never_starts(it: Virtual) -> None:
    """The orders wait in the dispatcher's socket; when it wakes up, it reads to the head before it starts any."""
    task, _ = it.system.services.pop("local")
    reader = FakeBackend("local-1", "noop")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await it.ask()
    await it.pass_time(0.2)  # "a" is handed out to local-1, which does not read it
    await it.system.ask(RunCancelRequested(run=RunId("run-one")))
    await it.pass_time(1)
    it.system.start_local(reader)
    await it.pass_time(1)
    assert reader.started == []
    finished = (await it.system.view("run-one")).finished
    assert finished is not None
    assert finished.unconfirmed == ()


@virtual
async def test_who_died_long_ago_gets_nothing_from_a_new_leader(it: Virtual) -> None:
    it.system.start_local(other := FakeBackend("local-2", "noop"))
    await it.pass_time(1)
    await it.system.kill("local")
    await it.pass_time(600)
    await it.system.kill("scheduler")
    it.system.start_scheduler("scheduler-3")
    await it.ask()
    await it.pass_time(10)
    assert other.started == [("a", 1), ("b", 1)]
    assert not await it.kinds(ev.AttemptLost)


@virtual
async def test_who_is_heard_of_again_gets_work_at_once(it: Virtual) -> None:
    send = it.system.channel.send

    async def lose(subject: str, data: bytes) -> None:
        """Nobody hears anything."""

    it.system.channel.send = lose  # type: ignore[method-assign]
    await it.pass_time(20)
    await it.ask()
    await it.pass_time(5)
    assert it.system.local.started == []
    it.system.channel.send = send  # type: ignore[method-assign]
    await it.pass_time(2.5)
    assert (await it.system.view("run-one")).finished is not None


@virtual
async def test_a_second_process_of_an_instance_ends_the_first(it: Virtual) -> None:
    older, _ = it.system.services.pop("local")
    it.system.start_local()
    await it.pass_time(1)
    assert isinstance(older.exception(), CannotServe)
    await it.ask()
    await it.pass_time(2)
    assert it.system.local.started == [("a", 1), ("b", 1)]


@virtual
async def test_a_cancel_is_honoured_between_the_starts_of_one_batch(it: Virtual) -> None:
    started: list[str] = []

    async def start_slowly(order: Order) -> None:
        await it.clock.sleep(2)
        started.append(order.ready.task)

    it.system.local.start = start_slowly  # type: ignore[method-assign]
    plan = Plan(tasks=tuple(TaskSpec(id=TaskId(f"t{i}"), noop=True) for i in range(4)))
    await it.system.ask(RunRequested(run=RunId("run-one"), plan=plan))
    await it.pass_time(1)
    await it.system.ask(RunCancelRequested(run=RunId("run-one")))
    await it.pass_time(20)
    assert started == ["t0"]


@virtual
async def test_a_cancelled_run_ends_although_the_end_of_an_attempt_cannot_be_read(it: Virtual) -> None:
    it.system.local.held.add("a")

    async def knows_nothing(order: Order, reason: str) -> bool:
        return False

    it.system.local.stop = knows_nothing  # type: ignore[method-assign]
    await it.ask()
    await it.pass_time(1)
    await it.system.log.append([Outgoing("pto.task-finished.local.run-one", b"{garbage", "broken")])
    await it.pass_time(1)
    await it.system.ask(RunCancelRequested(run=RunId("run-one")))
    await it.pass_time(5)
    finished = await it.kinds(ev.RunFinished)
    assert [entry.status for entry in finished] == ["cancelled"]  # type: ignore[attr-defined]
