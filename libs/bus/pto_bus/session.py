"""One connection of one account with all adapters on it: what a service or a requester opens first.

Imports the siblings.

Invariant: what one session opens, ``close`` ends.
"""

from dataclasses import dataclass
from pathlib import Path

from pto_bus.blob_store import NatsBlobStore
from pto_bus.connect import Connection, TlsFiles, connect
from pto_bus.event_log import NatsEventLog
from pto_bus.lease import NatsLease
from pto_bus.live import LiveChannel
from pto_bus.request_queue import NatsRequestQueue
from pto_proto.subjects import LOG_STREAM, REQUEST_STREAM, VIEW_STREAM


@dataclass(frozen=True, kw_only=True)
class Session:
    """The adapters of one account. ``log`` is for services; requesters and viewers read ``view``."""

    connection: Connection
    log: NatsEventLog
    view: NatsEventLog
    requests: NatsEventLog
    queue: NatsRequestQueue
    live: LiveChannel
    blobs: NatsBlobStore

    def lease(self, instance: str, incarnation: str) -> NatsLease:
        """The scheduler's lease, for one incarnation of an instance."""
        return NatsLease(self.connection, instance, incarnation)

    async def close(self) -> None:
        """End the connection."""
        await self.connection.close()


async def open_session(
    url: str,
    *,
    user: str,
    password: str | None = None,
    credentials: Path | None = None,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    name: str = "",
) -> Session:
    """Connect and make the adapters. Raises CannotConnect, AccessRefused."""
    tls = TlsFiles(ca=ca, cert=cert, key=key) if ca is not None or cert is not None else None
    connection = await connect(url, user=user, password=password, credentials=credentials, tls=tls, name=name)
    return Session(
        connection=connection,
        log=NatsEventLog(connection, LOG_STREAM),
        view=NatsEventLog(connection, VIEW_STREAM),
        requests=NatsEventLog(connection, REQUEST_STREAM),
        queue=NatsRequestQueue(connection),
        live=LiveChannel(connection),
        blobs=NatsBlobStore(connection),
    )
