"""The EventLog port on a JetStream stream. Imports puller, publisher, direct and topology.

Invariant: a service reads through the consumers that bootstrap made for it, one open reader each; an account of the
mirror ``PTO_VIEW`` makes a consumer of its own with a random name, which the broker removes when nobody pulls from it.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from nats.nuid import NUID

from pto_bus import limits
from pto_bus.connect import ApiError, Connection
from pto_bus.direct import get_batch
from pto_bus.publisher import Publisher
from pto_bus.puller import Puller, Start
from pto_bus.topology import lane_reader_name, reader_name
from pto_ports.event_log import Fence, LogCorrupt, LogUnavailable, Outgoing, Recorded
from pto_proto.subjects import LOG_STREAM, REQUEST_STREAM, VIEW_STREAM, subject_filter

_STREAM_NOT_FOUND = 10059
_NO_MESSAGE = 10037


class NatsEventLog:
    """One stream of the broker. Services use ``PTO`` (and the scheduler ``PTO_REQ``), requesters and viewers
    ``PTO_VIEW``.
    """

    def __init__(self, connection: Connection, stream: str = LOG_STREAM) -> None:
        self._connection = connection
        self._stream = stream
        self._publisher = Publisher(connection)
        self._taken: set[str] = set()
        self._names = NUID()

    async def read(self, *, after: int = 0, subject: str | None = None) -> Puller:
        """As the port says. On ``PTO`` and ``PTO_REQ`` each consumer serves one open reader: close it before the next.

        A reader of exactly the account's lane is filtered by the broker, any other filter here. Raises LogUnavailable,
        LogCorrupt; RuntimeError when the account's consumer already has an open reader.
        """
        if self._stream == VIEW_STREAM:
            place = self._placing_own(subject)
            reader = Puller(self._connection, self._stream, place, after=after, is_contiguous=subject is None)
        else:
            reader = await self._bound_reader(after, subject)
        await reader.open()
        return reader

    async def read_run(self, subject: str, *, after: int = 0, up_to: int | None = None) -> list[Recorded]:
        """As the port says, by batched direct gets. Raises LogUnavailable.

        A mirror may have answered: what it gives is right, but its end may be behind, so the log confirms the end.
        """
        found: list[Recorded] = []
        start = after + 1
        while up_to is None or start <= up_to:
            request = {"seq": start, "batch": limits.DIRECT_BATCH, "next_by_subj": subject}
            page = await get_batch(self._connection, self._stream, request)
            found += page.messages if up_to is None else [message for message in page.messages if message.seq <= up_to]
            if page.messages:
                start = page.messages[-1].seq + 1
            if page.messages and page.more:
                continue
            if page.source == self._stream or not await self._find({"seq": start, "next_by_subj": subject}):
                break
        return found

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        """As the port says."""
        return await self._publisher.append(messages, fence)

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        """As the port says."""
        await self._publisher.append_each(messages)

    async def last_seq(self, subject: str | None = None) -> int:
        """As the port says. Raises LogUnavailable, LogCorrupt."""
        if subject is None:
            return await self._last()
        return await self._find({"last_by_subj": subject})

    async def purge(self, up_to: int) -> None:
        """As the port says, for the archiver's account."""
        await self._connection.api(f"STREAM.PURGE.{self._stream}", {"seq": up_to + 1}, limits.BOOTSTRAP_S)

    async def _find(self, request: dict[str, Any]) -> int:
        """The sequence of one message, by the stream's own word and never a mirror's; 0: there is none."""
        if self._stream != LOG_STREAM:
            page = await get_batch(self._connection, self._stream, {**request, "batch": 1})
            return page.messages[0].seq if page.messages else 0
        try:
            found = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", request)
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return 0
            raise self._unknown(error) from error
        return int(found["message"]["seq"])

    async def _last(self) -> int:
        try:
            state = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["state"]
        except ApiError as error:
            raise self._unknown(error) from error
        return int(state["last_seq"])

    def _unknown(self, error: ApiError) -> Exception:
        if error.err_code == _STREAM_NOT_FOUND:
            return LogCorrupt(f"the stream {self._stream} is gone: look at the broker's store")
        return LogUnavailable(f"the broker says nothing about {self._stream}: {error}")

    async def _bound_reader(self, after: int, subject: str | None) -> Puller:
        user = self._connection.user
        name, wants = reader_name(user), None if subject is None else subject_filter(subject)
        is_contiguous = self._stream != REQUEST_STREAM
        if subject is not None and self._stream == LOG_STREAM and await self._lane_filter() == subject:
            name, wants, is_contiguous = lane_reader_name(user), None, False
        if name in self._taken:
            raise RuntimeError(f"{user!r} already has an open reader on {self._stream}: close it first")
        self._taken.add(name)
        return Puller(
            self._connection, self._stream, partial(self._place_bound, name), after=after, wants=wants,
            is_contiguous=is_contiguous, on_close=partial(self._taken.discard, name),
        )  # fmt: skip

    async def _lane_filter(self) -> str | None:
        """The filter of this account's lane consumer, if it has one."""
        try:
            info = await self._connection.api(f"CONSUMER.INFO.{self._stream}.{lane_reader_name(self._connection.user)}")
        except ApiError:
            return None
        found: str = info["config"].get("filter_subject", "")
        return found

    async def _place_bound(self, name: str, after: int) -> Start:
        if after > (last := await self._last()):
            raise LogCorrupt(
                f"the stream {self._stream} ends at sequence {last}, but {after} was read from it before: "
                "the broker lost its end, or this is another store"
            )
        try:
            reset = await self._connection.api(f"CONSUMER.RESET.{self._stream}.{name}", {"seq": after + 1})
        except LogUnavailable:
            # The consumer itself takes the reset: a missing one is silent, so ask whether it exists (ApiError if not).
            await self._connection.api(f"CONSUMER.INFO.{self._stream}.{name}")
            raise
        return Start(name, reset["num_pending"])

    def _placing_own(self, subject: str | None) -> Callable[[int], Awaitable[Start]]:
        """Each time a new consumer: that of before counts as delivered what was lost on its way here, and never gives
        it again. Only where nobody heard whether it was made, the same one is asked for once more.
        """
        name, made = self._names.next().decode(), 0

        async def place(after: int) -> Start:
            nonlocal made
            start = await self._place_own(f"{name}-{made}-{after}", subject, after)
            made += 1
            return start

        return place

    async def _place_own(self, name: str, subject: str | None, after: int) -> Start:
        config = {
            "name": name, "ack_policy": "none", "deliver_policy": "by_start_sequence", "opt_start_seq": after + 1,
            "inactive_threshold": limits.VIEW_IDLE_S * 1_000_000_000, "mem_storage": True,
        }  # fmt: skip
        api = f"CONSUMER.CREATE.{self._stream}.{name}"
        if subject is not None:
            config["filter_subject"] = subject
            api += f".{subject}"
        made = await self._connection.api(api, {"stream_name": self._stream, "config": config})
        return Start(name, made["num_pending"])
