"""The limiter of a model: bounded concurrency, a pause for all, one who tries first; in virtual time."""

import asyncio

import pytest

from pto_engines.models.access import Models
from pto_engines.models.client import Failed
from pto_engines.models.fault import Fault
from pto_engines.models.limiter import ModelLimiter, Overdue, Pause
from pto_engines.models.question import Question, Reply
from pto_engines.models.settings import ModelSettings
from pto_memory.clock import VirtualClock
from pto_ports.engine import EngineError
from pto_proto.results import Usage

QUESTION = Question(system="s", messages=[{"role": "user", "content": [{"type": "text", "text": "q"}]}], max_tokens=9)
REPLY = Reply(blocks=[{"type": "text", "text": "a"}], stop_reason="end_turn", usage=Usage(), model="m")


class Service:
    """Answers in a second, except while a wall stands."""

    def __init__(self, clock: VirtualClock, wall_s: float = 0.0, retry_after_s: float | None = None) -> None:
        self.clock = clock
        self.wall_s = wall_s
        self.retry_after_s = retry_after_s
        self.asked: list[float] = []
        self.at_once = self.most_at_once = 0

    async def ask(self, question: Question) -> Reply:
        self.asked.append(self.clock.monotonic_s())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.clock.sleep(1.0)
            if self.clock.monotonic_s() < self.wall_s:
                raise Failed(Fault(kind="answer", status=529, retry_after_s=self.retry_after_s))
        finally:
            self.at_once -= 1
        return REPLY

    async def close(self) -> None:
        """Nothing to close."""


def asking(clock: VirtualClock, service: Service, pauses: list[Pause] | None = None, **settings: float) -> object:
    models = Models(
        clock,
        on_pause=None if pauses is None else pauses.append,
        open_client=lambda _: service,  # type: ignore[arg-type,return-value]
    )
    model = models.model(ModelSettings(model="m", **settings))  # type: ignore[arg-type]
    return lambda: model._ask(QUESTION, lambda line: None)


async def all_of(ask: object, count: int) -> list[object]:
    return await asyncio.gather(*(ask() for _ in range(count)), return_exceptions=True)  # type: ignore[operator]


async def test_no_more_than_the_bound_ask_at_once() -> None:
    clock = VirtualClock()
    service = Service(clock)
    answers = await clock.run(all_of(asking(clock, service, at_once=4), 10))
    assert answers == [REPLY] * 10
    assert service.most_at_once == 4
    assert clock.monotonic_s() == pytest.approx(3.0)


async def test_fourteen_minutes_of_overload_fail_nobody_and_cost_few_questions() -> None:
    clock = VirtualClock()
    service = Service(clock, wall_s=14 * 60)
    answers = await clock.run(all_of(asking(clock, service, patience_s=1200.0), 20))
    assert answers == [REPLY] * 20
    during = [at for at in service.asked if at < 14 * 60]
    assert len(during) <= 20 + 20, "the first of each, then one who tries for all"
    assert clock.monotonic_s() < 14 * 60 + 65


async def test_retry_after_is_kept_by_all() -> None:
    clock = VirtualClock()
    service = Service(clock, wall_s=5.0, retry_after_s=40.0)
    await clock.run(all_of(asking(clock, service), 3))
    assert [round(at) for at in service.asked] == [0, 0, 0, 41, 42, 42]


async def test_patience_ends_with_the_time_of_the_next_try() -> None:
    clock = VirtualClock()
    service = Service(clock, wall_s=10_000.0, retry_after_s=300.0)
    (error, *others) = await clock.run(all_of(asking(clock, service, patience_s=120.0), 3))
    for found in (error, *others):
        assert isinstance(found, EngineError)
        assert (found.failure, round(found.retry_after_s)) == ("capacity", 300)
    assert clock.monotonic_s() < 2.0, "who cannot wait long enough does not wait at all"


async def test_watchers_hear_of_the_pause_and_of_its_end() -> None:
    clock = VirtualClock()
    pauses: list[Pause] = []
    await clock.run(all_of(asking(clock, Service(clock, wall_s=0.5 + 1.0, retry_after_s=10.0), pauses), 1))
    first, last = pauses
    assert first.until_ms == VirtualClock().now_ms() + 11_000
    assert "overloaded" in first.reason
    assert last.until_ms == 0


async def test_caller_who_leaves_while_it_waits_takes_no_place() -> None:
    clock = VirtualClock()
    limiter = ModelLimiter("m", clock, 1)
    await limiter.enter(1.0)
    waiting = asyncio.ensure_future(limiter.enter(1.0))
    await asyncio.sleep(0)
    waiting.cancel()
    limiter.leave()
    await clock.run(limiter.enter(1.0))
    limiter.leave()


async def test_waiting_behind_one_who_tries_ends_with_the_callers_patience() -> None:
    clock = VirtualClock()
    limiter = ModelLimiter("m", clock, 4)
    limiter.pause("busy", 1.0)
    await clock.advance(1.0)
    await limiter.enter(5.0)
    with pytest.raises(Overdue):
        await clock.run(limiter.enter(5.0))
    assert clock.monotonic_s() == pytest.approx(6.0)
    limiter.answered()
    await clock.run(limiter.enter(5.0))
