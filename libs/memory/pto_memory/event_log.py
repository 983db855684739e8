"""The EventLog port in memory. Imports ports and the standard library only.

Invariant: an append checks the fence first, then the wire id of its first message, and stores all of its messages or
none, as the broker does. Nothing is ever taken away.
"""

import asyncio
from collections.abc import Sequence

from pto_ports.clock import Clock
from pto_ports.event_log import MAX_BATCH, MAX_EACH, Fence, LogCorrupt, NotSettled, Outgoing, Recorded
from pto_proto.subjects import subject_filter

MAX_MESSAGE_BYTES = 1000 * 1024
"""As in the broker's adapter."""


class MemoryEventLog:
    """One stream, shared by everybody who holds it. ``clock`` times the waits of readers (None: the event loop's)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._messages: list[Recorded] = []
        self._purged = 0
        """The last sequence that was purged."""
        self._last: dict[str, int] = {}
        self._wire_ids: dict[str, int] = {}
        self._wakes: list[asyncio.Future[None]] = []

    async def read(self, *, after: int = 0, subject: str | None = None) -> "MemoryReader":
        """As the port says."""
        return MemoryReader(self, after, subject)

    async def read_run(self, subject: str, *, after: int = 0, up_to: int | None = None) -> list[Recorded]:
        """As the port says."""
        wants = subject_filter(subject)
        last = self._messages[-1].seq if up_to is None and self._messages else up_to or 0
        return [found for found in self._messages if after < found.seq <= last and wants(found.subject)]

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        """As the port says. A repeated message alone and without a fence gives the first one's sequence."""
        if not 0 < len(messages) <= MAX_BATCH:
            raise ValueError(f"an append takes 1 to {MAX_BATCH} messages, got {len(messages)}")
        for message in messages:
            if len(message.data) > MAX_MESSAGE_BYTES:
                raise ValueError(f"{message.subject}: {len(message.data)} bytes, above {MAX_MESSAGE_BYTES}")
        if fence is not None and (last := self._last_on(fence.subject)) != fence.seq:
            raise NotSettled(f"fence lost: the last sequence on {fence.subject} is {last}, expected {fence.seq}")
        wire_id = messages[0].wire_id
        if wire_id and (seq := self._wire_ids.get(wire_id)):
            if fence is None and len(messages) == 1:
                return seq
            raise NotSettled(f"duplicate of sequence {seq}")
        if wire_id:
            self._wire_ids[wire_id] = self._end + 1
        for message in messages:
            self._messages.append(Recorded(self._end + 1, message.subject, message.data))
            self._last[message.subject] = self._end
        wakes, self._wakes = self._wakes, []
        for wake in wakes:
            if not wake.done():
                wake.set_result(None)
        return self._end

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        """As the port says."""
        if not 0 < len(messages) <= MAX_EACH:
            raise ValueError(f"1 to {MAX_EACH} messages are stored each by itself, got {len(messages)}")
        for message in messages:
            await self.append([message])

    async def purge(self, up_to: int) -> None:
        """As the port says."""
        gone = min(max(up_to, self._purged), self._end) - self._purged
        del self._messages[:gone]
        self._purged += gone
        self._last = {subject: seq for subject, seq in self._last.items() if seq > self._purged}

    async def last_seq(self, subject: str | None = None) -> int:
        """As the port says."""
        return self._end if subject is None else self._last_on(subject)

    def stored(self, after: int = 0) -> list[Recorded]:
        """What is stored after this sequence, at once."""
        return self._messages[max(0, after - self._purged) :]

    async def wait_for_news(self, max_wait_s: float) -> None:
        """Return when something is appended, at the latest after ``max_wait_s``."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wakes.append(wake)
        sleep = asyncio.sleep(max_wait_s) if self._clock is None else self._clock.sleep(max_wait_s)
        timer = asyncio.ensure_future(sleep)
        try:
            await asyncio.wait({wake, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if wake in self._wakes:
                self._wakes.remove(wake)

    def now_s(self) -> float:
        """The moment by the clock that times the waits."""
        return asyncio.get_running_loop().time() if self._clock is None else self._clock.monotonic_s()

    @property
    def _end(self) -> int:
        return self._purged + len(self._messages)

    def _last_on(self, subject: str) -> int:
        if "*" not in subject and ">" not in subject:
            return self._last.get(subject, 0)
        wants = subject_filter(subject)
        return max((seq for known, seq in self._last.items() if wants(known)), default=0)


class MemoryReader:
    """The LogReader of a MemoryEventLog."""

    def __init__(self, log: MemoryEventLog, after: int, subject: str | None) -> None:
        self._log = log
        self._is_whole = subject is None
        self._wants = subject_filter(subject)
        self._position = after
        self._owed_up_to = max((m.seq for m in log.stored(after) if self._wants(m.subject)), default=0)

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the log when the reader was opened has been yielded."""
        return self._position >= self._owed_up_to

    @property
    def interruptions(self) -> int:
        """None ever."""
        return 0

    async def next(self, max_wait_s: float) -> list[Recorded]:
        """As the port says."""
        deadline = self._log.now_s() + max_wait_s
        while not (found := self._take()) and (left := deadline - self._log.now_s()) > 0:
            await self._log.wait_for_news(left)
        return found

    async def close(self) -> None:
        """Nothing is held."""

    def _take(self) -> list[Recorded]:
        news = self._log.stored(self._position)
        if news:
            if self._is_whole and news[0].seq > self._position + 1:
                raise LogCorrupt(f"sequence {self._position + 1} is missing")
            self._position = news[-1].seq
        return [message for message in news if self._wants(message.subject)]
