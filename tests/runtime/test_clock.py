"""The machine's clock behind the port."""

import time

from pto_ports.clock import Clock
from pto_runtime.clock import SystemClock


async def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    before = clock.monotonic_s()
    await clock.sleep(0.01)
    assert clock.monotonic_s() - before >= 0.009
