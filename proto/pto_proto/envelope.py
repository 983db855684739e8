"""The CloudEvents 1.0 envelope in structured JSON: the bytes of every message in ``PTO`` and ``PTO_REQ``.

Imports msgspec only. Invariant: the same event always encodes to the same bytes, so a retry is byte-identical.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from pto_proto.events import EVENTS, SCHEMA_LEVEL, VERSIONS, Entry
from pto_proto.ids import Lane, RunId
from pto_proto.requests import REQUESTS, AnyRequest, Request
from pto_proto.subjects import event_subject, request_subject

MAX_ENTRIES = 100
"""Entries of one event: above this, one event costs a reader a noticeable pause and gains nothing (measured)."""
MAX_EVENT_BYTES = 256 * 1024
"""Bytes of one event, well below the broker's 1 MiB limit on a message; bigger payloads travel by digest."""


class ProtocolError(ValueError):
    """These bytes are no event or request this version can read. The writer's fault; reading again will not help."""


class UnknownVersion(ProtocolError):
    """This version does not know the event's type or version: upgrade the reader; nothing is wrong with the event."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One message of the log: entries of one type, about one run, in one lane."""

    id: str
    source: str
    kind: type[Entry]
    lane: Lane | None
    run: RunId | None
    entries: tuple[Any, ...]

    @property
    def subject(self) -> str:
        """Where it is published."""
        return event_subject(self.kind, self.lane, self.run)


class _EventData(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    run: RunId | None = None
    lane: Lane | None = None
    entries: msgspec.Raw = msgspec.Raw()


class _Wire(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: msgspec.Raw = msgspec.Raw()


_encoder = msgspec.json.Encoder()
_wire_decoder = msgspec.json.Decoder(_Wire)
_data_decoder = msgspec.json.Decoder(_EventData)
_TYPE_NAMES = {kind: f"pto.{kind.__name__}.v{VERSIONS[kind]}" for kind in EVENTS}
_ENTRY_DECODERS: dict[str, tuple[type[Entry], msgspec.json.Decoder[Any]]] = {
    name: (kind, msgspec.json.Decoder(tuple[kind, ...]))  # type: ignore[valid-type]
    for kind, name in _TYPE_NAMES.items()
}
_REQUEST_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    f"pto.{kind.__name__}.v1": msgspec.json.Decoder(kind) for kind in REQUESTS
}


def type_name(kind: type[Entry] | type[Request]) -> str:
    """CloudEvents type of an event or request, with its current version: ``pto.TaskReady.v1``."""
    return _TYPE_NAMES[kind] if issubclass(kind, Entry) else f"pto.{kind.__name__}.v1"


def rfc3339(unix_ms: int) -> str:
    """``2026-01-31T10:20:30.123Z``."""
    return f"{_to_the_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


@lru_cache(16)
def _to_the_second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def encode_event(event: Event) -> bytes:
    """The bytes of an event. Its CloudEvents time is that of its last entry."""
    data = _EventData(run=event.run, lane=event.lane, entries=msgspec.Raw(_encoder.encode(event.entries)))
    at = event.entries[-1].at if event.entries else 0
    return _encode(event.id, _TYPE_NAMES[event.kind], event.source, event.subject, at, _encoder.encode(data))


def decode_event(data: bytes) -> Event:
    """The event in these bytes, older versions lifted to the current one. Raises ProtocolError."""
    try:
        wire = _wire_decoder.decode(data)
        body = _data_decoder.decode(wire.data)
        known = _ENTRY_DECODERS.get(wire.type)
        if known is None:
            raise UnknownVersion(f"unknown event type {wire.type!r}; this version reads schema level {SCHEMA_LEVEL}")
        kind, decoder = known
        entries = decoder.decode(body.entries)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"unreadable event: {error}") from error
    return Event(id=wire.id, source=wire.source, kind=kind, lane=body.lane, run=body.run, entries=entries)


def encode_request(request_id: str, requester: str, at: int, request: Request) -> bytes:
    """The bytes of a request by this requester (an instance id), asked at this Unix time in milliseconds."""
    subject = request_subject(type(request), requester)
    data = _encoder.encode(request)
    return _encode(request_id, type_name(type(request)), f"requester/{requester}", subject, at, data)


def decode_request(data: bytes) -> tuple[str, AnyRequest]:
    """(request id, request). Raises ProtocolError with a readable reason."""
    try:
        wire = _wire_decoder.decode(data)
        decoder = _REQUEST_DECODERS.get(wire.type)
        if decoder is None:
            raise ProtocolError(f"unknown request type {wire.type!r}; known are {', '.join(sorted(_REQUEST_DECODERS))}")
        request: AnyRequest = decoder.decode(wire.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"unreadable request: {error}") from error
    return wire.id, request


def _encode(id_: str, type_: str, source: str, subject: str, at: int, data: bytes) -> bytes:
    wire = _Wire(
        specversion="1.0", id=id_, type=type_, source=source, subject=subject, time=rfc3339(at), data=msgspec.Raw(data)
    )
    return _encoder.encode(wire)
