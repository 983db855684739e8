"""From single entries to the messages of one tick: entries of one kind, lane and run share an event.

Imports pto_proto and siblings only. Invariant: the same entries and prefix give the same bytes and wire ids; within a
run and lane the first entries of each kind keep their order.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pto_core.decide import Decision
from pto_proto.envelope import MAX_ENTRIES, MAX_EVENT_BYTES, Event, encode_event
from pto_proto.events import Entry
from pto_proto.ids import Lane, RunId


class Message(NamedTuple):
    """One message to store: where, its wire id, its bytes, and the event that they are."""

    subject: str
    wire_id: str
    data: bytes
    event: Event


def coalesce(decisions: Iterable[Decision], *, prefix: str, source: str) -> list[Message]:
    """The messages for these entries, with wire ids ``<prefix>.<n>`` from 0.

    At most 100 entries and 256 kB each, unless one entry alone is bigger.
    """
    groups: dict[tuple[type[Entry], Lane | None, RunId | None], list[Entry]] = {}
    for lane, run, entry in decisions:
        groups.setdefault((type(entry), lane, run), []).append(entry)
    messages: list[Message] = []
    for (kind, lane, run), entries in groups.items():
        waiting = [entries[at : at + MAX_ENTRIES] for at in range(0, len(entries), MAX_ENTRIES)]
        waiting.reverse()
        while waiting:
            part = waiting.pop()
            wire_id = f"{prefix}.{len(messages)}"
            event = Event(id=wire_id, source=source, kind=kind, lane=lane, run=run, entries=tuple(part))
            data = encode_event(event)
            if len(data) > MAX_EVENT_BYTES and len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                messages.append(Message(event.subject, wire_id, data, event))
    return messages
