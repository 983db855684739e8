"""Holding the lease, and hearing who is alive: what only the leader does beside its ticks.

Imports core, ports, proto and structlog. Invariant: silence is judged only by what was heard while the lease could be
renewed, which proves that this process was awake and the broker was there.
"""

import asyncio

import msgspec
import structlog

from pto_core.limits import HEARTBEAT_S
from pto_core.silence import Place, Watch
from pto_core.state import State
from pto_ports.clock import Clock
from pto_ports.event_log import LogUnavailable
from pto_ports.lease import Lease
from pto_ports.live import LiveChannel
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId
from pto_proto.live import Heartbeat
from pto_proto.subjects import HEARTBEATS


class Leadership:
    """The lease of this scheduler and its watch over the dispatchers."""

    def __init__(self, lease: Lease, live: LiveChannel, clock: Clock) -> None:
        self._lease = lease
        self._live = live
        self._clock = clock
        self._watch = Watch()
        self.is_lost = False
        """Whether another scheduler holds the lease."""
        self._is_told = False
        self._logger = structlog.get_logger()

    async def take(self, *, may_claim: bool) -> bool:
        """Whether the lease is ours now."""
        try:
            is_ours = await self._lease.take(may_claim=may_claim)
        except LogUnavailable as away:
            if not self._is_told:
                self._is_told = True
                self._logger.warning("the lease cannot be asked for; trying on", reason=str(away))
            return False
        self._is_told = False
        return is_ours

    async def release(self) -> None:
        """Let a standby lead at once."""
        await self._lease.release()

    def silent(self, state: State) -> dict[Place, float]:
        """Instances that gave no sign of life for long, with the seconds."""
        return self._watch.silent(state)

    def hear(self, event: Event) -> None:
        """An event in a lane is a sign of life of its writer; its wire id begins with the writer's incarnation."""
        role, _, place = event.source.partition("/")
        if role == "dispatcher" and event.lane is not None:
            instance = InstanceId(place.rpartition("/")[2])
            self._watch.hear(event.lane, instance, event.id.partition(".")[0])

    async def keep(self, state: State, wake: asyncio.Event) -> None:
        """Renew the lease and look round, until cancelled or until the lease is another's."""
        self.is_lost = False
        stop_listening = await self._live.listen(HEARTBEATS, self._on_heartbeat)
        known: set[Place] = set()
        try:
            while True:
                can_hear = await self._renew()
                self._watch.look(self._clock.monotonic_s(), can_hear=can_hear)
                silent = self._watch.silent(state)
                if silent or self.is_lost:
                    wake.set()  # silence is no news that would wake anybody
                if self.is_lost:
                    return
                known = self._tell(known, set(silent))
                await self._clock.sleep(HEARTBEAT_S)
        finally:
            await stop_listening()

    async def _renew(self) -> bool:
        try:
            self.is_lost = not await self._lease.take()
        except LogUnavailable:
            return False
        return True

    def _tell(self, known: set[Place], silent: set[Place]) -> set[Place]:
        for lane, instance in sorted(silent - known):
            self._logger.warning("a dispatcher gives no sign of life", lane=lane, instance=instance)
        for lane, instance in sorted(known - silent):
            self._logger.info("a dispatcher is heard of again", lane=lane, instance=instance)
        return silent

    def _on_heartbeat(self, subject: str, data: bytes) -> None:
        try:
            beat = msgspec.json.decode(data, type=Heartbeat)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        self._watch.hear(beat.lane, beat.instance, beat.incarnation)
