"""Holding the lease, and hearing who is alive: what only the leader does beside its ticks.

Imports core, ports, proto and runtime. Invariant: silence is judged only by what was heard while the lease could be
renewed, which proves that this process was awake and the broker was there.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from pto_core.silence import Heard, Place, Watch
from pto_core.state import State
from pto_ports.clock import Clock
from pto_ports.event_log import LogUnavailable
from pto_ports.lease import LEASE_S, RENEW_S, Lease
from pto_ports.live import LiveChannel
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId
from pto_proto.live import Heartbeat
from pto_proto.subjects import HEARTBEATS, roll_call_subject
from pto_runtime.logs import get_logger


class Leadership:
    """The lease of this scheduler and its watch over the dispatchers, which a standby keeps too."""

    def __init__(self, lease: Lease, live: LiveChannel, clock: Clock) -> None:
        self._lease = lease
        self._live = live
        self._clock = clock
        self._watch = Watch()
        self._wake = asyncio.Event()
        self._stop_listening: Callable[[], Awaitable[None]] | None = None
        self.is_lost = False
        """Whether another scheduler holds the lease."""
        self._away_since: float | None = None
        """Since when nobody can say whose the lease is."""
        self._why_away = ""
        self._logger = get_logger()

    async def open(self, wake: asyncio.Event) -> None:
        """Listen from now on; ``wake`` is set when somebody is heard of who was not, or not heard of any more."""
        self._wake = wake
        self._watch.look(self._clock.monotonic_s(), can_hear=True)
        self._stop_listening = await self._live.listen(HEARTBEATS, self._on_heartbeat)

    async def close(self) -> None:
        """Listen no more; harmless when it was never opened."""
        if self._stop_listening is not None:
            await self._stop_listening()
            self._stop_listening = None

    async def call_roll(self, state: State) -> None:
        """Ask for signs of life in every lane: a new leader hands out only to who is heard of."""
        for lane in state.lanes:
            await self._live.send(roll_call_subject(lane), b"")

    async def take(self, *, may_claim: bool = False) -> bool | None:
        """Whether the lease is ours now; None: nobody can say. A look round goes with every try."""
        try:
            is_ours = await self._lease.take(may_claim=may_claim)
        except LogUnavailable as away:
            if self._away_since is None:
                self._away_since = self._clock.monotonic_s()
                self._logger.warning("the lease cannot be asked for; trying on", reason=str(away))
            self._why_away = str(away)
            is_ours = None
        else:
            self._away_since = None
        self._watch.look(self._clock.monotonic_s(), can_hear=is_ours is not None)
        return is_ours

    def trouble(self) -> str:
        """Why nobody can lead just now; empty if the lease can be asked for, or could be until a moment ago."""
        if self._away_since is None or (away_s := self._clock.monotonic_s() - self._away_since) < LEASE_S:
            return ""
        return f"the lease cannot be had for {away_s:.0f} s: {self._why_away}"

    async def release(self) -> None:
        """Let a standby lead at once."""
        await self._lease.release()

    def heard(self, state: State) -> Heard:
        """Which instances are alive, and which have been silent for long."""
        return self._watch.heard(state)

    def hear(self, event: Event) -> None:
        """An event in a lane is a sign of life of its writer; its wire id begins with the writer's incarnation."""
        role, _, place = event.source.partition("/")
        if role == "dispatcher" and event.lane is not None:
            instance = InstanceId(place.rpartition("/")[2])
            self._watch.hear(event.lane, instance, event.id.partition(".")[0])

    async def keep(self, state: State) -> None:
        """Renew the lease and look round, until cancelled or until the lease is another's."""
        self.is_lost = False
        known = Heard({}, frozenset())
        while True:
            self.is_lost = await self.take() is False
            now = self._watch.heard(state)
            if now.silent or self.is_lost or now.alive != known.alive:
                self._wake.set()  # silence is no news that would wake anybody
            if self.is_lost:
                return
            self._tell(set(known.silent), set(now.silent))
            known = now
            await self._clock.sleep(RENEW_S)

    def _tell(self, known: set[Place], silent: set[Place]) -> None:
        for lane, instance in sorted(silent - known):
            self._logger.warning("a dispatcher gives no sign of life", lane=lane, instance=instance)
        for lane, instance in sorted(known - silent):
            self._logger.info("a dispatcher is heard of again", lane=lane, instance=instance)

    def _on_heartbeat(self, subject: str, data: bytes) -> None:
        try:
            beat = msgspec.json.decode(data, type=Heartbeat)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if self._watch.hear(beat.lane, beat.instance, beat.incarnation):
            self._wake.set()
