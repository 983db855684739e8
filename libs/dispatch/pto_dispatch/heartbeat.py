"""Signs of life of one instance, and whether it slept.

Imports core, ports and proto only. Invariant: after a nap longer than silence is tolerated, ``take_nap`` says so once.
"""

from itertools import chain, repeat

import msgspec

from pto_core.limits import AWAY_S, HEARTBEAT_S
from pto_ports.clock import Clock
from pto_ports.live import LiveChannel
from pto_proto.ids import InstanceId, Lane
from pto_proto.live import Heartbeat
from pto_proto.subjects import heartbeat_subject

FIRST_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""Pauses after the first signs of life: work is handed to who was heard of only."""


class HeartbeatSender:
    """Beats while the process is awake."""

    def __init__(self, channel: LiveChannel, clock: Clock, lane: Lane, instance: InstanceId, incarnation: str) -> None:
        self._channel = channel
        self._clock = clock
        self._subject = heartbeat_subject(lane)
        self._data = msgspec.json.encode(Heartbeat(lane=lane, instance=instance, incarnation=incarnation))
        self._awake_at: float | None = None
        self._slept = False

    async def beat(self) -> None:
        """Send signs of life until cancelled; quicker at first, so that a leader that starts just now hears of it."""
        for pause_s in chain(FIRST_PAUSES_S, repeat(HEARTBEAT_S)):
            self._look()
            await self._channel.send(self._subject, self._data)
            await self._clock.sleep(pause_s)

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
