"""Batched direct gets (ADR-31): reads stored messages by sequence or subject without a consumer. Imports connect.

Invariant: a batch is complete and in order or it is an error; each message names the one before it, so a lost one is
seen.
"""

import asyncio
from typing import Any

import msgspec
from nats.aio.msg import Msg

from pto_bus import limits
from pto_bus.connect import Connection, end_subscription, status_of
from pto_bus.topology import API
from pto_ports.event_log import LogUnavailable, Recorded


class _Batch:
    """Collects the answers to one request until the end mark."""

    def __init__(self, connection: Connection) -> None:
        self.messages: list[Recorded] = []
        self.more = False
        self.source = ""
        self.last = 0
        self.end = connection.new_wait()
        self.heard = 0

    async def on_message(self, message: Msg) -> None:
        self.heard += 1
        if self.end.done():
            return
        headers = message.headers or {}
        status = status_of(message)
        if status == "204":
            self.more = int(headers.get("Nats-Num-Pending", "0")) > 0
            if int(headers.get("Nats-Last-Sequence", "0")) != self.last:
                self.end.set_exception(LogUnavailable("a message of a direct get was lost on the way"))
            else:
                self.end.set_result(None)
        elif status == "404":
            self.end.set_result(None)
        elif status:
            self.end.set_exception(LogUnavailable(f"direct get: status {status} {headers.get('Description', '')}"))
        elif int(headers.get("Nats-Last-Sequence", "0")) != self.last:
            self.end.set_exception(LogUnavailable("a message of a direct get was lost on the way"))
        else:
            self.last = int(headers["Nats-Sequence"])
            self.source = headers["Nats-Stream"]
            self.messages.append(Recorded(self.last, headers["Nats-Subject"], message.data))


class Page(msgspec.Struct, frozen=True):
    """The answer to one batched request."""

    messages: list[Recorded]
    more: bool
    source: str
    """The stream that answered: the one asked, or a mirror of it, which may lag; empty for no message."""


async def get_batch(connection: Connection, stream: str, request: dict[str, Any]) -> Page:
    """One batched request. Raises LogUnavailable, NotAllowed."""
    if not connection.is_up:
        raise LogUnavailable(f"the broker at {connection.url} is not connected")
    batch, inbox = _Batch(connection), connection.client.new_inbox()
    subscription = await connection.client.subscribe(
        inbox, cb=batch.on_message, pending_msgs_limit=0, pending_bytes_limit=0
    )
    try:
        await connection.publish(f"{API}.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox)
        heard = -1
        while not batch.end.done():
            if heard == batch.heard:
                raise LogUnavailable(f"the broker at {connection.url} stopped answering a direct get on {stream}")
            heard = batch.heard
            await asyncio.wait({batch.end}, timeout=limits.DIRECT_SILENCE_S)
        batch.end.result()
    finally:
        batch.end.cancel()
        await end_subscription(subscription)
    return Page(batch.messages, batch.more, batch.source)


async def get_last(connection: Connection, stream: str, subject: str) -> Msg | None:
    """The last message on a subject as it was stored, with its headers (None: there is none)."""
    request = msgspec.json.encode({"last_by_subj": subject})
    message = await connection.ask(f"{API}.DIRECT.GET.{stream}", request)
    status = status_of(message)
    if status == "404":
        return None
    if status:
        raise LogUnavailable(f"direct get on {stream}: status {status}")
    return message
