"""The front door: stores requests in ``PTO_REQ``. Imports publisher.

Invariant: a request's id is its message id, so asking again with the same bytes within the duplicate window is one
request.
"""

from pto_bus.connect import Connection
from pto_bus.event_log import NatsEventLog
from pto_bus.publisher import Publisher
from pto_bus.puller import Puller
from pto_ports.event_log import Outgoing
from pto_proto.subjects import REQUEST_STREAM


class NatsRequestQueue:
    """``submit`` is for requesters, ``read`` for the scheduler."""

    def __init__(self, connection: Connection) -> None:
        self._publisher = Publisher(connection)
        self._log = NatsEventLog(connection, REQUEST_STREAM)

    async def submit(self, subject: str, data: bytes, request_id: str) -> int:
        """Store a request; returns its sequence in ``PTO_REQ``, the first one's for a repeated id.

        Raises LogUnavailable (not stored; the front door may be full) and NotSettled (ask again with the same id).
        """
        return await self._publisher.append([Outgoing(subject, data, request_id)])

    async def read(self, *, after: int = 0) -> Puller:
        """A reader of the requests after this sequence."""
        return await self._log.read(after=after)
