"""Two ways to put events on a wire: server-sent events (Anthropic) and AWS event-stream frames (Bedrock).

Standard library only. Invariant: a frame holds one event whole, and its lengths and checksums are right.
"""

import base64
import json
import struct
from typing import Any, Protocol
from zlib import crc32

from .wording import stream_exception_name

STRING_HEADER = 7


class Framing(Protocol):
    content_type: str

    def event(self, event: dict[str, Any]) -> bytes:
        """One event of a message's stream."""

    def error(self, type_: str, message: str) -> bytes:
        """The event by which a stream that has begun reports an error."""

    def garbage(self, data: str) -> bytes:
        """An event of a known name with data that is no event."""


class ServerSentEvents:
    content_type = "text/event-stream; charset=utf-8"

    def event(self, event: dict[str, Any]) -> bytes:
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    def error(self, type_: str, message: str) -> bytes:
        return self.event({"type": "error", "error": {"type": type_, "message": message}})

    def garbage(self, data: str) -> bytes:
        lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
        return f"event: content_block_delta\n{lines}\n".encode()


class AwsEventStream:
    content_type = "application/vnd.amazon.eventstream"

    def event(self, event: dict[str, Any]) -> bytes:
        return self._chunk(json.dumps(event))

    def error(self, type_: str, message: str) -> bytes:
        headers = {
            ":exception-type": stream_exception_name(type_),
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return frame(headers, json.dumps({"message": message}).encode())

    def garbage(self, data: str) -> bytes:
        return self._chunk(data)

    def _chunk(self, data: str) -> bytes:
        headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
        padding = "abcdefghijklmnopqrstuvwxyz"[: len(data) % 26 + 1]  # Bedrock hides the lengths of texts by it
        payload = {"bytes": base64.b64encode(data.encode()).decode(), "p": padding}
        return frame(headers, json.dumps(payload).encode())


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Total length, length of headers, their checksum; headers; payload; checksum of all."""
    packed = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", STRING_HEADER, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack(">I", crc32(prelude)) + packed + payload
    return message + struct.pack(">I", crc32(message))
