"""The bases of all entries of events.

Imports msgspec and ids only. Invariant: a new field has a default, so that older messages can still be read.
"""

import msgspec

from pto_proto.ids import TaskId


class Entry(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of all entries: when it happened, and the log sequence of the event that caused it (0: none)."""

    at: int
    cause: int = 0


class TaskEntry(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all entries about one attempt of one task. ``round`` counts reopenings by a red merged tree."""

    task: TaskId
    attempt: int
    round: int = 0


class AnswerEntry(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the scheduler's answers: the request's id, its sequence in ``PTO_REQ`` (0: not asked by a request), who
    asked (empty in logs of before that was recorded), and the request's size.
    """

    request_id: str = ""
    request_seq: int = 0
    requester: str = ""
    request_bytes: int = 0
