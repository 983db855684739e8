"""Stores messages in one stream: a plain publish for one, an atomic batch (ADR-50) for several. Imports connect.

Invariant: ``append`` returns a sequence only for a clean acknowledgement. After a silent ACK_S the same bytes are sent
once more: the broker takes a connection's messages in order, so any answer to the second also settles the first, and
nothing of an append can arrive after something that was sent later.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.nuid import NUID

from pto_bus import limits
from pto_bus.connect import Connection, status_of
from pto_ports.event_log import MAX_BATCH, MAX_EACH, Fence, LogFull, LogUnavailable, NotSettled, Outgoing

_FENCED_OFF = {10071, 10164}
_REPEATED = {10201, 10158}
_NOT_STORED = {10077, 10023, 10047, 10122, 10054}
"""The stream or the disk is full, or the message is too large: surely not stored."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_acks = msgspec.json.Decoder(_Ack)


class Refused(NotSettled):
    """An answer with an error code; ``err_code`` is the broker's."""

    def __init__(self, reason: str, err_code: int) -> None:
        super().__init__(reason)
        self.err_code = err_code


class NotStored(LogFull):
    """The broker said that it stored nothing, mostly for lack of room; ``err_code`` is the broker's."""

    def __init__(self, reason: str, err_code: int) -> None:
        super().__init__(reason)
        self.err_code = err_code


class _Sent(NamedTuple):
    """What was sent and not answered yet."""

    wait: "asyncio.Future[Msg]"
    timer: asyncio.TimerHandle


class Publisher:
    """Writes to one stream over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = NUID()

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        """As the port says. A batch carries the fence and the wire id of its first message for the whole of it.

        An empty wire id leaves out the check for duplicates.
        """
        return await self._finish(messages, fence, await self._begin(messages, fence))

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        """As the port says: sent one behind the other, then all answers are waited for."""
        if not 0 < len(messages) <= MAX_EACH:
            raise ValueError(f"1 to {MAX_EACH} messages are stored each by itself, got {len(messages)}")
        begun: list[tuple[Outgoing, _Sent]] = []
        try:
            for message in messages:
                begun.append((message, await self._begin([message], None)))
            for message, sent in begun:
                await self._finish([message], None, sent)
        finally:
            for _, sent in begun:
                sent.wait.cancel()

    async def _begin(self, messages: Sequence[Outgoing], fence: Fence | None, *, is_first: bool = True) -> "_Sent":
        """Send them; the answer is still to come."""
        _check(messages)
        if is_first and not self._connection.is_up:
            self._connection.check()
            raise LogUnavailable(f"the broker at {self._connection.url} is not connected")
        reply, wait = self._connection.expect()
        try:
            await self._send(messages, fence, reply, is_first=is_first)
        except BaseException:
            wait.cancel()
            raise
        return _Sent(wait, asyncio.get_running_loop().call_later(limits.ACK_S, _give_up, wait))

    async def _finish(self, messages: Sequence[Outgoing], fence: Fence | None, sent: "_Sent") -> int:
        """Wait for the answer; without one, send the same bytes again."""
        for attempt in range(1, limits.ACK_TRIES + 1):
            if attempt > 1:
                sent = await self._begin(messages, fence, is_first=False)
            try:
                answer = await sent.wait
            except TimeoutError:
                continue
            except LogUnavailable as error:  # it was sent, and the connection broke
                raise NotSettled(str(error)) from error
            finally:
                sent.timer.cancel()
                sent.wait.cancel()
            return _settle(answer, is_retry=attempt > 1, is_fenced=fence is not None, size=len(messages))
        raise NotSettled(f"no acknowledgement within {limits.ACK_TRIES * limits.ACK_S:g} s")

    async def _send(self, messages: Sequence[Outgoing], fence: Fence | None, reply: str, *, is_first: bool) -> None:
        headers = {"Nats-Msg-Id": messages[0].wire_id} if messages[0].wire_id else {}
        if fence is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(fence.seq)
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = fence.subject
        batch = self._ids.next().decode() if len(messages) > 1 else ""
        for number, message in enumerate(messages, 1):
            is_last = number == len(messages)
            if batch:
                headers.update({"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)})
            if batch and is_last:
                headers["Nats-Batch-Commit"] = "1"
            try:
                await self._connection.publish(message.subject, message.data, reply if is_last else "", headers)
            except LogUnavailable as error:
                if is_first:  # the commit was not sent, so nothing of a batch can have been stored
                    raise
                raise NotSettled(f"sent once without an answer, then: {error}") from error
            headers = {}


def _give_up(wait: "asyncio.Future[Msg]") -> None:
    if not wait.done():
        wait.set_exception(TimeoutError())
        wait.exception()  # nobody may be waiting any more


def _check(messages: Sequence[Outgoing]) -> None:
    if not 0 < len(messages) <= MAX_BATCH:
        raise ValueError(f"an append takes 1 to {MAX_BATCH} messages, got {len(messages)}")
    for message in messages:
        if len(message.data) > limits.MAX_MESSAGE_BYTES:
            raise ValueError(
                f"{message.subject}: {len(message.data)} bytes; at most {limits.MAX_MESSAGE_BYTES} are allowed"
            )


def _settle(answer: Msg, *, is_retry: bool, is_fenced: bool, size: int) -> int:
    if status_of(answer) == "503":
        if is_retry:
            raise NotSettled("sent twice: no answer, then no JetStream")
        raise LogUnavailable("the broker has no JetStream just now")
    ack = _acks.decode(answer.data)
    if ack.error is not None:
        raise _refusal(ack.error, is_retry)
    if ack.duplicate and (is_fenced or size > 1):
        raise NotSettled(f"duplicate of sequence {ack.seq}")
    return ack.seq


def _refusal(error: _Error, is_retry: bool) -> Exception:
    words = f"{error.description} ({error.err_code})"
    if error.err_code in _FENCED_OFF:
        return Refused(f"fence lost: {words}", error.err_code)
    if error.err_code in _REPEATED:
        return Refused(f"already stored: {words}", error.err_code)
    if error.err_code in _NOT_STORED and not is_retry:
        return NotStored(f"the broker cannot store this: {words}", error.err_code)
    return Refused(words, error.err_code)
