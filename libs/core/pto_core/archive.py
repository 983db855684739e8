"""What may leave the log, and the form in which it is kept: segments of lines, each message as it was stored.

Imports pto_proto and siblings only. Invariants: nothing that an open run or the leading scheduler's fence needs may
leave; a segment gives back every message byte for byte, and its digest names exactly these bytes.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from pto_core.state import State


class SegmentDamaged(Exception):
    """A segment is not what it should be; the message says where. It must be fetched from a copy."""


class Cut(NamedTuple):
    """How much may leave: all up to ``seq``; ``held_by`` says what keeps the rest."""

    seq: int
    held_by: str


class SegmentHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a segment."""

    stream: str
    first: int
    last: int
    format: int = 1


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. ``data`` holds it as it is; ``base64`` if it is no line of text."""

    seq: int
    subject: str
    data: msgspec.Raw = msgspec.Raw()
    base64: str = ""


_encoder = msgspec.json.Encoder()
_line_decoder = msgspec.json.Decoder(Line)
_head_decoder = msgspec.json.Decoder(SegmentHead)


def find_cut(state: State, first_recent: int | None = None) -> Cut:
    """The longest prefix that may leave the log of which ``state`` is the whole fold.

    ``first_recent`` is the first sequence that is to stay anyway; None: there is none.
    """
    cuts = [Cut(state.seq, "")]
    for run in state.active.values():
        cuts.append(Cut(run.accepted_seq - 1, f"run {run.id} is open"))
    if state.epoch_seq:
        # The broker must know the last epoch's sequence, or it refuses all that the leader writes behind that fence.
        cuts.append(Cut(state.epoch_seq - 1, "the scheduler's epoch began there; when it starts anew, more may leave"))
    if first_recent is not None:
        cuts.append(Cut(first_recent - 1, "what comes after is too recent"))
    return min(cuts, key=lambda cut: cut.seq)


def segment_head(head: SegmentHead) -> bytes:
    """The first line of a segment."""
    return _encoder.encode(head) + b"\n"


def segment_line(seq: int, subject: str, data: bytes) -> bytes:
    """The line of one message."""
    if _is_line(data):
        line = Line(seq=seq, subject=subject, data=msgspec.Raw(data))
    else:
        line = Line(seq=seq, subject=subject, base64=base64.b64encode(data).decode())
    return _encoder.encode(line) + b"\n"


def read_segment(lines: Iterable[bytes]) -> Iterator[tuple[int, str, bytes]]:
    """(sequence, subject, message) of each line. Raises SegmentDamaged."""
    rest = iter(lines)
    try:
        head = _head_decoder.decode(next(rest, b""))
        expected = head.first
        for text in rest:
            line = _line_decoder.decode(text)
            if line.seq != expected:
                raise SegmentDamaged(f"sequence {expected} is missing")
            expected += 1
            yield line.seq, line.subject, base64.b64decode(line.base64) if line.base64 else bytes(line.data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SegmentDamaged(f"a line cannot be read: {error}") from error
    if expected != head.last + 1:
        raise SegmentDamaged(f"it ends before sequence {expected}; {head.last} should be its last")


def _is_line(data: bytes) -> bool:
    if not data or b"\n" in data or b"\r" in data:
        return False
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return data == data.strip()
