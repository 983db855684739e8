"""The broker, and what stands between it and each process: wrappers around the in-memory twins that break things.

Invariant: what the broker promises is kept (order, all or nothing, the fence); what a network may do is done. What was
sent goes on its way even if its sender dies meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from functools import cache
from random import Random
from typing import Any, TypeVar

import msgspec

from pto_memory import MemoryBlobStore, MemoryEventLog, MemoryLease, MemoryLeases, MemoryLiveChannel
from pto_ports.event_log import Fence, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_proto.ids import Digest
from pto_proto.live import Heartbeat
from pto_proto.subjects import HEARTBEATS, subject_filter

from .loop import Life, LoopClock, SimLoop
from .roughness import Network

ACK_WAIT_S = 2.0
"""How long a writer waits for its answer."""

_T = TypeVar("_T")
_beats = msgspec.json.Decoder(Heartbeat)
OnStored = Callable[[Recorded, "Wire | None"], None]


@cache
def known_filter(pattern: str | None) -> Callable[[str], bool]:
    """As ``subject_filter``; the answer about each subject is looked for once."""
    return cache(subject_filter(pattern))


def at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a twin waits")


class Stream:
    """One stream at the broker."""

    def __init__(self, clock: LoopClock, on_stored: OnStored, name: str = "") -> None:
        self.name = name
        self.store = MemoryEventLog(clock)
        self.known: set[str] = set()
        """Wire ids that were stored."""
        self._on_stored = on_stored
        self._waiters: list[tuple[Callable[[str], bool], asyncio.Future[None]]] = []
        self.size = 0

    def put(self, messages: Sequence[Outgoing], fence: Fence | None, wire: "Wire | None", *, again: bool) -> int:
        """Store them now. Raises NotSettled. ``again``: store them even if they are there already."""
        if again:
            messages = [Outgoing(message.subject, message.data, "") for message in messages]
        seq = at_once(self.store.append(messages, fence))
        self.known.add(messages[0].wire_id)
        news = self.store.stored(self.size)
        self.size += len(news)
        for recorded in news:
            self._on_stored(recorded, wire)
        if news:
            kept = []
            for wants, wake in self._waiters:
                if any(wants(recorded.subject) for recorded in news):
                    if not wake.done():
                        wake.set_result(None)
                else:
                    kept.append((wants, wake))
            self._waiters = kept
        return seq

    async def news(self, wants: Callable[[str], bool], max_wait_s: float) -> None:
        """Return when something of that kind is stored, at the latest after ``max_wait_s``."""
        loop = asyncio.get_running_loop()
        wake: asyncio.Future[None] = loop.create_future()
        self._waiters.append((wants, wake))
        timer = loop.call_later(max_wait_s, _wake, wake)
        try:
            await wake
        finally:
            timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Wire:
    """What one process has of the world: its connection, with everything that can go wrong on it."""

    def __init__(
        self, loop: SimLoop, life: Life, network: Network, random: Random, trace: Callable[[str], None]
    ) -> None:
        self.loop = loop
        self.life = life
        self.network = network
        self.random = random
        self.trace = trace
        self.is_cut = False
        self.is_choked = False
        """Whether what it sends arrives, and nothing comes back."""
        self.is_mute = False
        """Whether its signs of life vanish."""
        self.interruptions = 0
        """How often the connection was lost for so long that both ends noticed."""
        self.read_up_to: dict[str, int] = {}
        """Sequence up to which the process was given the messages of these subjects ("": the whole log)."""
        self._outside = Context()
        self._sent_until = 0.0
        self._last_sent = ""

    def chance(self, probability: float) -> bool:
        """Whether it happens this time."""
        return probability > 0 and self.random.random() < probability

    def travel_s(self) -> float:
        """How long one message takes."""
        return self.network.latency_s * (0.5 + self.random.random())

    def lag_s(self) -> float:
        """How late a read gets its news."""
        return self.random.choice((0.1, 0.5, 2.0, 6.0)) if self.chance(self.network.lag) else self.travel_s()

    async def check(self) -> None:
        """One short exchange with the broker. Raises LogUnavailable."""
        await asyncio.sleep(self.travel_s())
        if self.is_cut or self.chance(self.network.unavailable):
            raise LogUnavailable("the broker is away")

    def check_answer(self) -> None:
        """The answer to an exchange comes back. Raises LogUnavailable."""
        if self.is_choked:
            raise LogUnavailable("the broker does not answer")

    async def send(self, stream: Stream, messages: Sequence[Outgoing], fence: Fence | None) -> int:
        """Append through the network. What is on its way arrives in the order in which it was sent."""
        for message in messages:
            self.life.hearing.sent_at.setdefault(message.wire_id, self.loop.time())
            self.life.hearing.had_read.setdefault(message.wire_id, self.read_up_to.get("", 0))
        await self.check()
        network, self._last_sent = self.network, messages[0].wire_id
        answer: asyncio.Future[int] = self.loop.create_future()
        timer = self.loop.call_later(ACK_WAIT_S, _settle, answer, NotSettled("no answer in time"))
        if self.chance(network.lost_request):
            self.trace(f"{self.life.name}: a write is lost: {messages[0].wire_id}")
        else:
            delay = self.travel_s()
            if self.chance(network.parked):
                delay += self.random.choice((1.0, 3.0, 8.0))
                self.trace(f"{self.life.name}: a write is delayed by {delay:.1f} s: {messages[0].wire_id}")
            self._sent_until = max(self._sent_until, self.loop.time() + delay)
            self.loop.call_at(self._sent_until, self._arrive, stream, messages, fence, answer, context=self._outside)
        try:
            return await answer
        finally:
            timer.cancel()

    def _arrive(
        self, stream: Stream, messages: Sequence[Outgoing], fence: Fence | None, answer: asyncio.Future[int]
    ) -> None:
        again = messages[0].wire_id in stream.known and self.chance(self.network.forgetful)
        if again:
            self.trace(f"{self.life.name}: a write is stored once more: {messages[0].wire_id}")
        result: int | NotSettled
        try:
            result = stream.put(messages, fence, self, again=again)
        except NotSettled as unsettled:
            result = unsettled
        if isinstance(result, int) and self.chance(self.network.echo):
            delay = self.random.choice((0.0, self.travel_s(), 0.1, 2.0))
            self.loop.call_later(delay, self._store_again, stream, messages, fence, context=self._outside)
        if self.is_choked or self.chance(self.network.lost_answer):
            self.trace(f"{self.life.name}: an answer is lost: {messages[0].wire_id}")
            return
        self.loop.call_later(self.travel_s(), _settle, answer, result, context=self._outside)

    def _store_again(self, stream: Stream, messages: Sequence[Outgoing], fence: Fence | None) -> None:
        """As if the sender had sent it again and the broker had forgotten it, with nothing newer between."""
        if self._last_sent == messages[0].wire_id:
            self.trace(f"{self.life.name}: a write is stored twice: {messages[0].wire_id}")
            with suppress(NotSettled):
                stream.put(messages, fence, self, again=True)


def _settle(answer: asyncio.Future[int], result: int | NotSettled) -> None:
    if answer.done():
        return
    if isinstance(result, NotSettled):
        answer.set_exception(result)
    else:
        answer.set_result(result)


class FaultyLog:
    """The EventLog port of one process."""

    def __init__(self, wire: Wire, stream: Stream, on_ack: Callable[[Sequence[Outgoing], int], None]) -> None:
        self._wire = wire
        self._stream = stream
        self._on_ack = on_ack

    async def read(self, *, after: int = 0, subject: str | None = None) -> "FaultyReader":
        await self._wire.check()
        self._wire.check_answer()
        return FaultyReader(self._wire, self._stream, after, subject)

    async def read_run(self, subject: str, *, after: int = 0, up_to: int | None = None) -> list[Recorded]:
        await self._wire.check()
        self._wire.check_answer()
        return await self._stream.store.read_run(subject, after=after, up_to=up_to)

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        seq = await self._wire.send(self._stream, messages, fence)
        self._on_ack(messages, seq)
        return seq

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        for result in await asyncio.gather(*(self.append([one]) for one in messages), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def last_seq(self, subject: str | None = None) -> int:
        await self._wire.check()
        self._wire.check_answer()
        return await self._stream.store.last_seq(subject)


class FaultyReader:
    """A LogReader that is late or gives its news in pieces, always in order."""

    def __init__(self, wire: Wire, stream: Stream, after: int, subject: str | None) -> None:
        self._wire = wire
        self._stream = stream
        self._key = stream.name + (subject or "")
        self._wants = known_filter(subject)
        self._position = after
        owed = stream.store.stored(after)
        self._owed_up_to = max((m.seq for m in owed if self._wants(m.subject)), default=0)
        wire.read_up_to[self._key] = after

    @property
    def caught_up(self) -> bool:
        return self._position >= self._owed_up_to

    @property
    def interruptions(self) -> int:
        return self._wire.interruptions

    async def next(self, max_wait_s: float) -> list[Recorded]:
        wire, end = self._wire, self._wire.loop.time() + max_wait_s
        while not (found := self._look()):
            left = end - wire.loop.time()
            if left <= 0:
                return []
            await self._stream.news(self._wants, left)
        lag, left = wire.lag_s(), end - wire.loop.time()
        if lag > left > 0:
            await asyncio.sleep(left)
            return []
        await asyncio.sleep(lag)
        if wire.is_cut or wire.is_choked:
            await asyncio.sleep(max(0.0, end - wire.loop.time()))
            return []
        if len(found) > 1 and wire.chance(wire.network.pieces):
            found = found[: wire.random.randrange(1, len(found))]
        self._position = wire.read_up_to[self._key] = found[-1].seq
        return found

    async def close(self) -> None:
        pass

    def _look(self) -> list[Recorded]:
        return [message for message in self._stream.store.stored(self._position) if self._wants(message.subject)]


class FaultyLease:
    """The Lease port of one process."""

    def __init__(self, wire: Wire, leases: MemoryLeases) -> None:
        self._wire = wire
        self._lease: MemoryLease = leases.lease(wire.life.name, wire.life.incarnation)

    async def take(self, *, may_claim: bool = False) -> bool:
        await self._wire.check()
        is_ours = await self._lease.take(may_claim=may_claim)
        self._wire.check_answer()
        return is_ours

    async def release(self) -> None:
        try:
            await self._wire.check()
        except LogUnavailable:
            return
        await self._lease.release()


class FaultyChannel:
    """The LiveChannel port of one process."""

    def __init__(self, wire: Wire, channel: MemoryLiveChannel) -> None:
        self._wire = wire
        self._channel = channel

    async def send(self, subject: str, data: bytes) -> None:
        wire = self._wire
        if not (wire.is_cut or wire.is_mute or wire.chance(wire.network.lost_beat)):
            await self._channel.send(subject, data)

    async def listen(self, pattern: str, on_line: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        wire = self._wire

        def take_in(subject: str, data: bytes) -> None:
            if known_filter(HEARTBEATS)(subject):
                beat = _beats.decode(data)
                wire.life.hearing.hear((beat.lane, beat.instance, beat.incarnation), wire.loop.time())
            on_line(subject, data)

        def deliver(subject: str, data: bytes) -> None:
            if not (wire.is_cut or wire.is_choked):
                wire.loop.call_soon(take_in, subject, data, context=wire.life.context)

        stop = await self._channel.listen(pattern, deliver)
        wire.life.at_death.append(lambda: at_once(stop()))  # type: ignore[arg-type]
        return stop


class FaultyBlobs(MemoryBlobStore):
    """The BlobStore port of one process on the store of all."""

    def __init__(self, wire: Wire, shared: MemoryBlobStore) -> None:
        super().__init__()
        self.blobs = shared.blobs
        self._wire = wire

    async def get(self, digest: Digest) -> bytes:
        await self._wire.check()
        if self._wire.chance(self._wire.network.lost_blob):
            raise LogUnavailable("the blob store is away")
        return await super().get(digest)
