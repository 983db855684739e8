import asyncio

import pytest

from pto_memory import MemoryEventLog, VirtualClock
from pto_ports.event_log import Outgoing


async def test_sleepers_wake_in_order_and_see_their_own_moment() -> None:
    clock, seen = VirtualClock(), []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(sleeper(*args)) for args in (("late", 2.0), ("first", 1.0), ("second", 1.0))]
    await clock.advance(1.5)
    assert seen == [("first", 1.0), ("second", 1.0)]
    assert clock.monotonic_s() == 1.5
    await clock.advance(1)
    assert seen[-1] == ("late", 2.0)
    await asyncio.gather(*tasks)


async def test_run_jumps_over_sleeps() -> None:
    clock = VirtualClock()
    before = clock.now_ms()
    await clock.run(clock.sleep(3600))
    assert clock.now_ms() - before == 3_600_000


async def test_run_says_when_nothing_can_happen_any_more() -> None:
    clock = VirtualClock()
    with pytest.raises(RuntimeError, match="nothing can happen"):
        await clock.run(asyncio.Event().wait())


async def test_readers_of_the_memory_log_wait_by_the_virtual_clock() -> None:
    clock = VirtualClock()
    log = MemoryEventLog(clock)
    reader = await log.read()
    assert await clock.run(reader.next(600)) == []
    assert clock.monotonic_s() == 600

    async def write_later() -> None:
        await clock.sleep(5)
        await log.append([Outgoing("pto.run-accepted._.run-0001", b"x", "1")])

    writer = asyncio.create_task(write_later())
    assert [m.seq for m in await clock.run(reader.next(600))] == [1]
    assert clock.monotonic_s() == 605
    await writer
