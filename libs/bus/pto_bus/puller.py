"""Reads one stream in order through a pull consumer: overlapping raw pulls on an own inbox. Imports connect.

Invariant: what ``next`` yields has strictly rising sequences, without a gap for an unfiltered reader of a gap-free
stream. The position is the reader's own: after a reconnect, silence or a message out of turn it starts its consumer
anew behind the last message it took in. Silence is what was waited through in ``next``, in however many calls: the time
between them, or that of a process that was stopped, says nothing about the broker.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from pto_bus import limits
from pto_bus.connect import ApiError, Connection, end_subscription, status_of
from pto_bus.topology import API
from pto_ports.event_log import LogCorrupt, LogUnavailable, Recorded

_PULL = msgspec.json.encode(
    {
        "batch": limits.PULL_BATCH,
        "expires": int(limits.PULL_EXPIRES_S * 1e9),
        "idle_heartbeat": int(limits.HEARTBEAT_S * 1e9),
    }
)
_STREAM_GONE = {10059}
_CONSUMER_GONE = {10014}


class Start(msgspec.Struct, frozen=True):
    """A consumer that stands behind the wanted position."""

    consumer: str
    pending: int
    """Messages between its position and the end of the stream."""


class Puller:
    """The LogReader of a stream. ``place`` puts the consumer behind a sequence and is called again after every
    trouble.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        place: Callable[[int], Awaitable[Start]],
        *,
        after: int,
        is_contiguous: bool,
        wants: Callable[[str], bool] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._connection, self._stream, self._place = connection, stream, place
        self._is_contiguous, self._wants, self._on_close = is_contiguous, wants, on_close
        self._position = after
        self._owed = 0
        self._interruptions = -1
        self._buffer: deque[Recorded] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._generation = 0
        self._delivered = 0
        self._credit = 0
        self._heard = 0.0
        self._silent_s = 0.0
        """For how long ``next`` has waited since something came."""
        self._is_stale = True
        self._not_before = 0.0
        """When a stale reader may start its consumer anew."""
        self._gap: tuple[int, int] = (0, 0)
        self._failure: Exception | None = None

    async def open(self) -> None:
        """Place the consumer for the first time. Raises LogUnavailable, LogCorrupt."""
        self._connection.listen(self._mark_stale)
        try:
            self._owed = await self._start()
        except BaseException:
            await self.close()
            raise

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the stream when the reader was opened has been yielded."""
        return self._owed <= 0

    @property
    def interruptions(self) -> int:
        """How often the consumer had to be started anew."""
        return max(0, self._interruptions)

    async def next(self, max_wait_s: float) -> list[Recorded]:
        """What is new, in order; an empty list after ``max_wait_s`` (or earlier: when a filtered reader caught up)."""
        now = time.monotonic()
        deadline = now + max_wait_s
        while True:
            self._connection.check()
            if self._failure is not None and not self._buffer:
                raise self._failure
            if self._buffer:
                was_behind = not self.caught_up
                batch = self._take()
                await self._pull()
                if batch or (was_behind and self.caught_up):
                    return batch
            elif self._is_stale and now >= self._not_before:
                await self._try_start(deadline)
            elif self._is_stale:
                await self._sleep(min(deadline, self._not_before) - now)
            now = time.monotonic()
            if self._buffer or (self._is_stale and now < deadline) or self._failure is not None:
                continue
            if now >= deadline:
                return []
            if self._silent_s >= limits.SILENCE_S:
                self._is_stale = True
                continue
            await self._listen(min(deadline - now, limits.HEARTBEAT_S))

    async def close(self) -> None:
        """End the reader; its position is not kept."""
        self._connection.unlisten(self._mark_stale)
        self._generation += 1
        if self._subscription is not None:
            await end_subscription(self._subscription)
            self._subscription = None
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def _take(self) -> list[Recorded]:
        batch = list(self._buffer)
        self._buffer.clear()
        self._owed -= len(batch)
        wants = self._wants
        return batch if wants is None else [message for message in batch if wants(message.subject)]

    async def _listen(self, seconds: float) -> None:
        """Sleep, and count as silence what was slept since something came.

        Of a nap of the whole process no more counts than was asked for: what came meanwhile is still to be taken in.
        """
        started = time.monotonic()
        await self._sleep(seconds)
        self._silent_s += min(seconds, time.monotonic() - max(started, self._heard))

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        timer = loop.call_later(seconds, self._wake_up)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _mark_stale(self) -> None:
        self._is_stale = True
        self._wake_up()

    async def _try_start(self, deadline: float) -> None:
        try:
            await self._start()
        except LogUnavailable:
            await asyncio.sleep(max(0.0, min(limits.RESTART_PAUSE_S, deadline - time.monotonic())))

    async def _start(self) -> int:
        """A fresh inbox first, so that nothing of the old consumer's deliveries can mix with the new one's."""
        self._generation += 1
        self._interruptions += 1
        if self._subscription is not None:
            await end_subscription(self._subscription)
            self._subscription = None
        self._is_stale = False
        try:
            start = await self._placed()
        except BaseException:
            self._is_stale = True
            raise
        self._consumer, self._delivered, self._credit = start.consumer, 0, 0
        generation = self._generation

        async def on_message(message: Msg) -> None:
            if generation == self._generation:
                await self._on_message(message)

        self._inbox = self._connection.client.new_inbox()
        self._subscription = await self._connection.client.subscribe(
            self._inbox, cb=on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._silent_s = 0.0
        await self._pull()
        return start.pending

    async def _placed(self) -> Start:
        try:
            return await self._place(self._position)
        except ApiError as error:
            if error.err_code in _STREAM_GONE:
                raise LogCorrupt(f"the stream {self._stream} is gone: look at the broker's store") from error
            if error.err_code in _CONSUMER_GONE:
                raise LogCorrupt(
                    f"the consumer of {self._connection.user!r} on {self._stream} is missing: run the bootstrap step"
                ) from error
            raise LogUnavailable(f"the broker could not start a reader on {self._stream}: {error}") from error

    async def _pull(self) -> None:
        """Keep PULLS pulls under way, counting what is already waiting to be taken."""
        while not self._is_stale and self._credit + len(self._buffer) <= (limits.PULLS - 1) * limits.PULL_BATCH:
            self._credit += limits.PULL_BATCH
            subject = f"{API}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
            try:
                await self._connection.publish(subject, _PULL, reply=self._inbox)
            except LogUnavailable:
                self._mark_stale()

    async def _on_message(self, message: Msg) -> None:
        self._heard, self._silent_s = time.monotonic(), 0.0
        if message.headers and status_of(message):
            await self._on_status(message)
            return
        tokens = message.reply.split(".")
        first = 5 if len(tokens) == 9 else 7
        sequence, delivered = int(tokens[first]), int(tokens[first + 1])
        if self._is_stale or self._failure is not None:
            return
        if delivered != self._delivered + 1 or sequence <= self._position:
            self._mark_stale()
            return
        if self._is_contiguous and sequence != self._position + 1:
            self._on_gap(sequence)
            return
        self._delivered = delivered
        self._position = sequence
        self._credit -= 1
        self._buffer.append(Recorded(sequence, message.subject, message.data))
        self._wake_up()
        if self._credit <= 0:
            await self._pull()

    async def _on_status(self, message: Msg) -> None:
        status = status_of(message)
        headers = message.headers or {}
        if status == "100":
            # A server between us and the stream ended with messages for us, or they went to a pull of before: nothing
            # need ever follow them. The broker serves such a pull until it is old, so a new one at once is no help.
            if not self._is_stale and int(headers.get("Nats-Last-Consumer") or 0) > self._delivered:
                self._not_before = time.monotonic() + limits.OLD_PULL_S
                self._mark_stale()
            return
        left = headers.get("Nats-Pending-Messages")
        if status in ("404", "408") or (status == "409" and left is not None):
            self._credit -= int(left or 0)
            await self._pull()
        else:
            self._mark_stale()

    def _on_gap(self, sequence: int) -> None:
        """The same gap from a fresh consumer is a fact; the first time it may be somebody's reset of our consumer."""
        found, times = self._gap
        self._gap = (sequence, times + 1 if found == sequence else 1)
        if self._gap[1] >= limits.GAP_TRIES:
            self._failure = LogCorrupt(
                f"the stream {self._stream} lacks sequences {self._position + 1} to {sequence - 1}: "
                "restore the broker's store from a copy"
            )
        self._mark_stale()
