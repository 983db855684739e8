"""Waits for the mirror ``PTO_VIEW`` to have what the log has. Imports connect and limits.

Invariant: right after a broker's start the mirror may lack the log's end for a moment, although both lie in one store;
whoever reads it once, without following, must wait for it first.
"""

import asyncio
import time

from pto_bus import limits
from pto_bus.connect import Connection
from pto_proto.subjects import LOG_STREAM, VIEW_STREAM

_LOOK_S = 0.02


async def wait_for_mirror(connection: Connection) -> bool:
    """Return when the mirror is level with the log as it is now; False: it was not in time. For role ``bootstrap``."""
    deadline = time.monotonic() + limits.MIRROR_S
    wanted = await _last(connection, LOG_STREAM)
    while await _last(connection, VIEW_STREAM) < wanted:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def _last(connection: Connection, stream: str) -> int:
    return int((await connection.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])
