"""Live lines: plain NATS messages for whoever looks on. Imports connect.

Invariant: losing them loses nothing that matters, so nothing here waits, retries or fails because nobody listens.
"""

from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from pto_bus.connect import Connection, end_subscription
from pto_ports.event_log import LogUnavailable


class LiveChannel:
    """Publishes and receives on ``pto-live.<what>.<lane>.<run>`` (see ``pto_proto.subjects.live_subject``)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, subject: str, data: bytes) -> None:
        """Send one message; dropped while the broker is away. Raises NotAllowed."""
        if not self._connection.is_up:
            return
        try:
            await self._connection.publish(subject, data)
        except LogUnavailable:
            return

    async def listen(self, pattern: str, on_line: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        """Call ``on_line(subject, data)`` for every message that matches; returns what ends it. Survives reconnects."""

        async def on_message(message: Msg) -> None:
            on_line(message.subject, message.data)

        subscription = await self._connection.client.subscribe(pattern, cb=on_message)

        async def stop() -> None:
            await end_subscription(subscription)

        return stop
