"""Brings an answer to the caller: whole, in pieces, late, cut off, or broken as the fault says.

May import aiohttp. Invariant: what went out and how it ended is in the record before the caller can ask for it.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .dialect import Dialect, Problem
from .message import Message, events_of, whole
from .record import RecordedRequest
from .scenario import CutFault, Fault, MalformedFault, SlowFault, StreamErrorFault
from .wording import STATUS_OF_TYPE

NO_MESSAGE = '{"hello": "world"}'
NO_EVENT = '{"type": "content_block_delta", "index": 0, "del'


@dataclass(frozen=True)
class Pace:
    first_byte_s: float
    between_s: float
    chunk_chars: int

    def slowed(self, fault: SlowFault) -> "Pace":
        return Pace(fault.first_byte_s or self.first_byte_s, fault.between_s or self.between_s, self.chunk_chars)


@dataclass(frozen=True)
class Delivery:
    """One answer on its way."""

    http: web.Request
    dialect: Dialect
    record: RecordedRequest

    async def problem(self, problem: Problem) -> web.StreamResponse:
        kind, body = self.dialect.error(problem, self.record.request_id)
        return await self.value(body, problem.status, {**kind, **dict(problem.headers)})

    async def value(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.StreamResponse:
        return await self.text(json.dumps(body), status, headers)

    async def text(self, body: str, status: int = 200, headers: dict[str, str] | None = None) -> web.StreamResponse:
        self.record.status, self.record.delivered = status, True
        every = self.dialect.headers(self.record.request_id)
        return web.Response(
            body=body.encode(), status=status, headers={**every, **(headers or {})}, content_type="application/json"
        )

    def cut(self) -> web.StreamResponse:
        """End the connection; what was written before still arrives."""
        if self.http.transport is not None:
            self.http.transport.close()
        return web.Response()  # goes nowhere

    async def message(self, message: Message, fault: Fault | None) -> web.StreamResponse:
        """A whole message in one body."""
        usage = self.dialect.headers(self.record.request_id, message["usage"])
        if isinstance(fault, StreamErrorFault):
            return await self.problem(Problem(STATUS_OF_TYPE[fault.type], said(fault), fault.type))
        if isinstance(fault, MalformedFault):
            return await self.text(NO_MESSAGE if fault.body is None else fault.body)
        if not isinstance(fault, CutFault):
            return await self.value(whole(message), headers=usage)
        body = json.dumps(whole(message)).encode()
        response = web.StreamResponse(headers={**usage, "content-type": "application/json"})
        response.content_length = len(body)
        self.record.status = 200
        await response.prepare(self.http)
        await response.write(body[: len(body) // 2])
        return self.cut()

    async def stream(self, message: Message, fault: Fault | None, pace: Pace) -> web.StreamResponse:
        """A message in events. A caller who leaves is no error of this server."""
        headers = self.dialect.headers(self.record.request_id, message["usage"])
        response = web.StreamResponse(headers={**headers, "content-type": self.dialect.framing.content_type})
        self.record.status = 200
        try:
            await response.prepare(self.http)
            for piece in self._pieces(message, fault, pace):
                await response.write(piece)
                if pace.between_s:
                    await asyncio.sleep(pace.between_s)
            if isinstance(fault, CutFault):
                return self.cut()
            self.record.delivered = True
            await response.write_eof()
        except ConnectionError:
            self.record.delivered = False
        return response

    def _pieces(self, message: Message, fault: Fault | None, pace: Pace) -> Iterator[bytes]:
        framing = self.dialect.framing
        after = fault.after_events if isinstance(fault, CutFault | StreamErrorFault | MalformedFault) else None
        events = events_of(message, pace.chunk_chars)
        for number, event in enumerate(events):
            if number == after:
                break
            if event["type"] == "message_stop" and after is None:
                event = self.dialect.last_event(event, message["usage"])
            yield framing.event(event)
        if isinstance(fault, StreamErrorFault):
            yield framing.error(fault.type, said(fault))
        elif isinstance(fault, MalformedFault):
            yield framing.garbage(NO_EVENT if fault.body is None else fault.body)


def said(fault: StreamErrorFault) -> str:
    return fault.message or f"scripted {fault.type}"
