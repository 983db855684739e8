"""Signs of life of one instance, by itself and when it is asked, and whether it slept.

Imports core, ports and proto only. Invariant: after a nap longer than silence is tolerated, ``take_nap`` says so once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import msgspec

from pto_core.limits import AWAY_S, HEARTBEAT_S
from pto_ports.clock import Clock
from pto_ports.live import LiveChannel
from pto_proto.ids import InstanceId, Lane
from pto_proto.live import Heartbeat
from pto_proto.subjects import heartbeat_subject, roll_call_subject

FIRST_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""Pauses after the first signs of life: work is handed to who was heard of only."""


class HeartbeatSender:
    """Beats while the process is awake."""

    def __init__(self, channel: LiveChannel, clock: Clock, lane: Lane, instance: InstanceId, incarnation: str) -> None:
        self._channel = channel
        self._clock = clock
        self._subject = heartbeat_subject(lane)
        self._asked_on = roll_call_subject(lane)
        self._wake = asyncio.Event()
        self._stop_listening: Callable[[], Awaitable[None]] | None = None
        self._data = msgspec.json.encode(Heartbeat(lane=lane, instance=instance, incarnation=incarnation))
        self._awake_at: float | None = None
        self._slept = False

    async def open(self) -> None:
        """Hear roll-calls from now on."""
        self._stop_listening = await self._channel.listen(self._asked_on, lambda subject, data: self._wake.set())

    async def close(self) -> None:
        """Hear none any more; harmless when it was never opened."""
        if self._stop_listening is not None:
            await self._stop_listening()
            self._stop_listening = None

    async def beat(self) -> None:
        """Send signs of life until cancelled; quicker at first, so that a leader that starts just now hears of it."""
        for pause_s in chain(FIRST_PAUSES_S, repeat(HEARTBEAT_S)):
            self._look()
            self._wake.clear()
            await self._channel.send(self._subject, self._data)
            stop_timer = self._clock.call_later(pause_s, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                stop_timer()

    def take_nap(self) -> bool:
        """Whether there was a nap since the last call, so long that others may have concluded something from it."""
        self._look()
        slept, self._slept = self._slept, False
        return slept

    def _look(self) -> None:
        now = self._clock.monotonic_s()
        if self._awake_at is not None and now - self._awake_at >= AWAY_S / 2:
            self._slept = True
        self._awake_at = now
