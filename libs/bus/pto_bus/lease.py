"""The Lease port on a stream whose messages vanish with age: one subject, written by compare-and-set.

Imports connect, direct, publisher and topology. Invariant: it is ours only after the broker said so; a time-out means
that it is not known, which counts as not ours.
"""

from contextlib import suppress

import msgspec

from pto_bus.connect import Connection
from pto_bus.direct import get_last
from pto_bus.errors import BusError
from pto_bus.publisher import Publisher
from pto_ports.event_log import Fence, LogUnavailable, NotSettled, Outgoing
from pto_proto.subjects import LEASE_STREAM, SCHEDULER_LEASE


class _Holder(msgspec.Struct, frozen=True):
    instance: str
    incarnation: str
    is_released: bool = False


class NatsLease:
    """The scheduler's lease, for one incarnation of one instance."""

    def __init__(self, connection: Connection, instance: str, incarnation: str) -> None:
        self._connection = connection
        self._publisher = Publisher(connection)
        self._me = _Holder(instance, incarnation)

    async def take(self, *, may_claim: bool = False) -> bool:
        """As the port says. Raises LogUnavailable."""
        seq, holder = await self._look()
        if holder is not None and not holder.is_released and holder != self._me:
            is_earlier_self = holder.instance == self._me.instance
            if not (may_claim and is_earlier_self):
                return False
        return await self._write(self._me, seq)

    async def release(self) -> None:
        """As the port says."""
        with suppress(LogUnavailable, BusError):  # an orderly end must not fail for want of a courtesy
            seq, holder = await self._look()
            if holder == self._me:
                await self._write(msgspec.structs.replace(self._me, is_released=True), seq)

    async def _look(self) -> tuple[int, _Holder | None]:
        message = await get_last(self._connection, LEASE_STREAM, SCHEDULER_LEASE)
        if message is None or message.headers is None:
            return 0, None
        return int(message.headers["Nats-Sequence"]), msgspec.json.decode(message.data, type=_Holder)

    async def _write(self, holder: _Holder, seq: int) -> bool:
        try:
            await self._publisher.append(
                [Outgoing(SCHEDULER_LEASE, msgspec.json.encode(holder), "")], Fence(SCHEDULER_LEASE, seq)
            )
        except NotSettled as unsettled:
            # Somebody was quicker, or the broker took it without saying so, or it cannot write just now.
            _, found = await self._look()
            if found is None or (found != holder and found.is_released):
                raise LogUnavailable(f"the lease cannot be written: {unsettled}") from unsettled
            return found == holder
        return True
