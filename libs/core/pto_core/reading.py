"""Takes stored messages, readable or not, into a state: what a reader of the whole log does that looks at nothing else.

Imports pto_proto and siblings only. Invariant: two readers of the same messages have the same state.
"""

from pto_core.fold import evolve, poison
from pto_core.state import State
from pto_proto.envelope import ProtocolError, UnknownVersion, decode_event
from pto_proto.ids import RunId
from pto_proto.subjects import parse_event_subject


def fold_message(state: State, seq: int, subject: str, data: bytes) -> str:
    """Fold the message stored at ``seq``; returns its event's id, or nothing if it is none. Raises UnknownVersion."""
    try:
        event = decode_event(data)
    except UnknownVersion:
        raise
    except ProtocolError as error:
        poison(state, run_of(subject), seq, str(error))
        return ""
    evolve(state, seq, event)
    return event.id


def run_of(subject: str) -> RunId | None:
    """The run that an event's subject names; None for none, and for the subject of no event."""
    try:
        return parse_event_subject(subject)[2]
    except ValueError:
        return None
