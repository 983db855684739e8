"""Subject grammar and stream names: the only place that builds or takes apart a subject.

Imports ids and events only. Invariant: an event's subject is ``pto.<kind>.<lane|_>.<run|_>``, always four tokens; a
request's is ``pto.req.<kind>.<requester>``; a live line's is ``pto-live.<what>.<lane>.<run>``.
"""

import re
from collections.abc import Callable

from pto_proto.events import EVENTS, Entry
from pto_proto.ids import Digest, Lane, RunId
from pto_proto.requests import REQUESTS, Request

LOG_STREAM = "PTO"
REQUEST_STREAM = "PTO_REQ"
VIEW_STREAM = "PTO_VIEW"
BLOB_STREAM = "PTO_BLOB"
LEASE_STREAM = "PTO_LEASE"
NONE = "_"

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def kind_of(struct: type[Entry] | type[Request]) -> str:
    """The subject token of an event or request type: ``TaskReady`` -> ``task-ready``."""
    return _WORD.sub("-", struct.__name__).lower()


KINDS: dict[str, type[Entry]] = {kind_of(event): event for event in EVENTS}
REQUEST_KINDS: dict[str, type[Request]] = {kind_of(request): request for request in REQUESTS}
_KIND_NAMES: dict[type, str] = {struct: kind for kind, struct in (KINDS | REQUEST_KINDS).items()}


def event_subject(kind: type[Entry], lane: Lane | None, run: RunId | None) -> str:
    """Subject of an event of this type, in this lane (None: the scheduler's own) about this run (None: no run)."""
    return f"pto.{_KIND_NAMES[kind]}.{lane or NONE}.{run or NONE}"


def request_subject(kind: type[Request], requester: str) -> str:
    """Subject on which this requester asks."""
    return f"pto.req.{_KIND_NAMES[kind]}.{requester}"


def requester_of(subject: str) -> str:
    """Who asked on this subject of ``PTO_REQ``: the broker lets nobody use another's name."""
    return subject.rsplit(".", 1)[-1]


def lane_filter(lane: Lane) -> str:
    """Everything in one lane, of all kinds and runs."""
    return f"pto.*.{lane}.*"


def run_filter(run: RunId) -> str:
    """Everything about one run, of all kinds and lanes."""
    return f"pto.*.*.{run}"


def kind_filter(kind: type[Entry]) -> str:
    """Every event of one type."""
    return f"pto.{_KIND_NAMES[kind]}.*.*"


def writer_subjects(kinds: tuple[type[Entry], ...], lane: Lane | None) -> list[str]:
    """What an account that writes these types in this lane may publish (None: in every lane and outside lanes)."""
    return [f"pto.{_KIND_NAMES[kind]}.{lane or '*'}.*" for kind in kinds]


EPOCH_SUBJECT = f"pto.{kind_of(EVENTS[0])}.{NONE}.{NONE}"
"""The fence: the last sequence on this subject is the leader's."""
ARCHIVE_SUBJECT = f"pto.log-archived.{NONE}.{NONE}"
"""Where it is written how much of the log was archived."""
LOG_SUBJECTS = [f"pto.{kind}.*.*" for kind in KINDS]
REQUEST_SUBJECTS = [f"pto.req.{kind}.*" for kind in REQUEST_KINDS]
BLOB_SUBJECTS = ["pto-blob.*.*"]
LEASE_SUBJECTS = ["pto-lease.*"]
SCHEDULER_LEASE = "pto-lease.scheduler"
"""Who leads; the message vanishes when it is not renewed."""
LIVE = "pto-live."
"""With this begins what is told beside the streams."""
HEARTBEATS = "pto-live.heartbeat.*._"
"""Signs of life of all dispatcher instances."""
ROLL_CALLS = "pto-live.roll-call.*._"
"""Where a scheduler that begins to lead asks all instances of a lane for a sign of life; the message is empty."""
AUDIT_SUBJECT = f"pto-live.audit.{NONE}.{NONE}"
"""Where somebody asks the schedulers for the digest of their state; nothing in the message is read."""
STATE_SUBJECT = f"pto-live.state.{NONE}.{NONE}"
"""Where schedulers answer that."""


def blob_subject(digest: Digest, chunk: int) -> str:
    """Where chunk ``chunk`` (from 0) of a blob is stored."""
    return f"pto-blob.{digest}.{chunk}"


def live_subject(what: str, lane: Lane, run: RunId) -> str:
    """Plain NATS subject for news that may be lost: ``log`` lines and ``heartbeat`` signs of life."""
    return f"pto-live.{what}.{lane}.{run}"


def heartbeat_subject(lane: Lane) -> str:
    """Plain NATS subject on which the instances of a lane show that they are alive."""
    return f"pto-live.heartbeat.{lane}.{NONE}"


def roll_call_subject(lane: Lane) -> str:
    """Plain NATS subject on which the instances of a lane are asked for a sign of life."""
    return f"pto-live.roll-call.{lane}.{NONE}"


def parse_event_subject(subject: str) -> tuple[str, Lane | None, RunId | None]:
    """(kind, lane, run) of an event's subject. Raises ValueError for anything else."""
    tokens = subject.split(".")
    if len(tokens) != 4 or tokens[0] != "pto" or tokens[1] not in KINDS:
        raise ValueError(f"not the subject of an event: {subject!r}")
    _, kind, lane, run = tokens
    return kind, None if lane == NONE else Lane(lane), None if run == NONE else RunId(run)


def subject_filter(pattern: str | None) -> Callable[[str], bool]:
    """Whether a subject matches a NATS pattern with ``*`` and a last ``>`` (None: every subject does)."""
    if pattern is None:
        return lambda _: True
    wanted = pattern.split(".")
    is_open = wanted[-1] == ">"
    fixed = wanted[:-1] if is_open else wanted

    def matches(subject: str) -> bool:
        tokens = subject.split(".")
        if len(tokens) < len(fixed) + is_open or (not is_open and len(tokens) != len(fixed)):
            return False
        return all(want in ("*", token) for want, token in zip(fixed, tokens, strict=False))

    return matches
