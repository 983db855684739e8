"""Streams, consumers and accounts of the system as data: the only place that declares them. Imports proto and limits.

Invariant: an account may do what its role needs and nothing else. Nobody but ``bootstrap`` makes streams or the log's
consumers; services only bind to the consumers that carry their own name, so nobody can move or overwrite another's.
Viewers never touch the log: they make short-lived consumers on its mirror, which takes away nothing from anybody.
A ``relay``, which carries a whole leaf node, may do what the dispatchers behind it may.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from pto_bus import limits
from pto_ports.lease import LEASE_S
from pto_proto.events import WRITERS
from pto_proto.ids import (
    LANE_CONSOLIDATOR,
    LANE_DOCKER,
    LANE_PLANNER,
    Lane,
    RunId,
    is_instance_id,
    is_lane,
    is_operator,
)
from pto_proto.subjects import (
    ARCHIVE_SUBJECT,
    AUDIT_SUBJECT,
    BLOB_STREAM,
    BLOB_SUBJECTS,
    HEARTBEATS,
    LEASE_STREAM,
    LEASE_SUBJECTS,
    LOG_STREAM,
    LOG_SUBJECTS,
    REQUEST_STREAM,
    REQUEST_SUBJECTS,
    ROLL_CALLS,
    SCHEDULER_LEASE,
    STATE_SUBJECT,
    VIEW_STREAM,
    heartbeat_subject,
    lane_filter,
    live_subject,
    roll_call_subject,
    writer_subjects,
)

Role = Literal[
    "bootstrap", "scheduler", "planner", "dispatcher", "consolidator", "archiver", "relay", "operator", "requester",
    "viewer",
]  # fmt: skip
API = "$JS.API"
DOMAIN = "pto"
"""JetStream domain of brokers that leaf nodes connect to: under this name a leaf node's clients reach JetStream."""
DOMAIN_API = f"$JS.{DOMAIN}.API"
_SERVICES = ("scheduler", "planner", "dispatcher", "consolidator", "archiver")
PEOPLE: tuple[Role, ...] = ("operator", "requester", "viewer")
"""Roles of persons."""
_LANE_ROLES = ("planner", "dispatcher", "consolidator", "relay")
_NS = 1_000_000_000
MAX_USER_CHARS = 64
"""Of an account's name, which is an instance's."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """One NATS user: the name of a service instance or requester, its role, and its lane if the role has one.

    It proves who it is with a password, or with the private half of one of its ``keys`` (nkeys); with neither it is
    known to the topology, and nobody can be it.
    """

    user: str
    role: Role
    lane: Lane | None = None
    password: str = ""
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_instance_id(self.user):
            raise ValueError(f"{self.user!r} cannot name an account: use 1-64 characters of a-z, 0-9 and -")
        if self.role not in get_args(Role):
            raise ValueError(f"account {self.user!r}: there is no role {self.role!r}; use {', '.join(get_args(Role))}")
        if self.role in _LANE_ROLES and self.lane is None:
            raise ValueError(f"account {self.user!r}: role {self.role} needs a lane, such as local")
        if self.role not in _LANE_ROLES and self.lane is not None:
            raise ValueError(f"account {self.user!r}: role {self.role} has no lane: leave out {self.lane!r}")
        if self.lane is not None and not is_lane(self.lane):
            raise ValueError(f"account {self.user!r}: {self.lane!r} is no lane; one is local, docker or slurm-default")
        if is_operator(self.user) != (self.role == "operator"):
            raise ValueError(f"account {self.user!r}: operators, and nobody else, are named operator or operator-...")

    def __repr__(self) -> str:
        return f"Account({self.user!r}, role={self.role!r}, lane={self.lane!r})"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What an operator may choose; everything else is fixed by this version."""

    log_bytes: int = limits.LOG_BYTES
    request_bytes: int = limits.REQUEST_BYTES
    blob_bytes: int = limits.BLOB_BYTES
    replicas: int = 1


def streams(sizes: Sizes) -> list[dict[str, Any]]:
    """The streams' configurations as the broker's API takes them, in the order in which they are made: the log, then
    its mirror, because the server lets a new mirror wait for a tenth of a second before it fills it.

    The log may be purged by permission only (the archiver's), because ``deny_purge`` could never be taken back. The
    server makes the mirror answer direct gets of the log, late as a mirror is (it forces ``mirror_direct``): whoever
    must see its own writes confirms the end of what it got with the log itself, see ``event_log``. The lease is in a
    file too, although it is soon worth nothing: a stream in memory would be gone after a restart of the broker. What
    several servers hold is not compressed: one that was killed may not be able to add to its copy (decision 0029).
    """
    common = {"retention": "limits", "storage": "file", "discard": "new", "num_replicas": sizes.replicas}
    durable = {**common, "allow_direct": True, "compression": "s2" if sizes.replicas == 1 else "none"}
    return [
        {
            **durable, "name": LOG_STREAM, "subjects": LOG_SUBJECTS, "max_bytes": sizes.log_bytes, "deny_delete": True,
            "deny_purge": False, "allow_atomic": True, "duplicate_window": limits.DUPLICATE_WINDOW_S * _NS,
        },
        {
            **durable, "name": VIEW_STREAM, "mirror": {"name": LOG_STREAM},
            "discard": "old", "max_consumers": limits.VIEW_CONSUMERS,
            "consumer_limits": {"inactive_threshold": limits.VIEW_IDLE_S * _NS},
        },
        {
            **durable, "name": REQUEST_STREAM, "subjects": REQUEST_SUBJECTS, "max_bytes": sizes.request_bytes,
            "max_msgs": limits.REQUEST_MESSAGES, "max_msgs_per_subject": limits.REQUESTS_PER_SUBJECT,
            "discard_new_per_subject": True, "max_msg_size": limits.REQUEST_MESSAGE_BYTES, "deny_delete": True,
            "max_age": limits.REQUEST_AGE_S * _NS, "duplicate_window": limits.DUPLICATE_WINDOW_S * _NS,
        },
        {
            **durable, "name": BLOB_STREAM, "subjects": BLOB_SUBJECTS, "max_bytes": sizes.blob_bytes,
            "max_msgs_per_subject": 1, "discard_new_per_subject": True, "compression": "none",
        },
        {
            **common, "name": LEASE_STREAM, "subjects": LEASE_SUBJECTS, "discard": "old",
            "allow_direct": True, "max_bytes": limits.LEASE_BYTES, "max_msgs_per_subject": 1,
            "max_age": int(LEASE_S * _NS), "duplicate_window": int(LEASE_S * _NS),
        },
    ]  # fmt: skip


def reader_name(user: str) -> str:
    """The consumer with which this service reads all of a stream."""
    return user


def lane_reader_name(user: str) -> str:
    """The consumer with which this service reads its lane of the log. No user name has an underscore."""
    return f"{user}_lane"


def consumers(accounts: list[Account]) -> list[tuple[str, dict[str, Any]]]:
    """(stream, configuration) of the consumers that services bind to. They acknowledge nothing; readers reset them.

    Who has a lane reads its lane, everybody else the whole log: each consumer costs the broker something per message.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for account in accounts:
        if account.role not in _SERVICES:
            continue
        if account.lane is None:
            found.append((LOG_STREAM, _consumer(reader_name(account.user))))
        else:
            found.append((LOG_STREAM, _consumer(lane_reader_name(account.user), lane_filter(account.lane))))
        if account.role == "scheduler":
            found.append((REQUEST_STREAM, _consumer(reader_name(account.user))))
    return found


def permissions(account: Account, accounts: Sequence[Account] = ()) -> dict[str, Any]:
    """The account's permissions as the server's configuration has them: ``{publish: {allow}, subscribe: {allow}}``.

    A relay may do what those of ``accounts`` may that it carries.
    """
    if account.role == "relay":
        return _relay_rules(account, accounts)
    publish, subscribe = _ROLE_RULES[account.role](account)
    return {"publish": {"allow": publish}, "subscribe": {"allow": [f"{inbox_prefix(account.user)}.>", *subscribe]}}


def leaf_permissions(account: Account) -> dict[str, Any]:
    """The same at a leaf node, which maps JetStream's API to that of the domain before it looks at permissions."""
    may = permissions(account)
    asked = may["publish"]["allow"]
    mapped = [_in_domain(subject) for subject in asked if subject.startswith(f"{API}.")]
    return {**may, "publish": {"allow": [*asked, *mapped]}}


def _in_domain(subject: str) -> str:
    return subject.replace(f"{API}.", f"{DOMAIN_API}.", 1)


def inbox_prefix(user: str) -> str:
    """Where answers to this user go; nobody else may listen there."""
    return f"_INBOX_{user}"


def _consumer(name: str, subject: str = "") -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": name, "durable_name": name, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant",
        "max_waiting": 64,
    }  # fmt: skip
    return {**config, "filter_subject": subject} if subject else config


def _binds(stream: str, *names: str) -> list[str]:
    verbs = ("RESET", "INFO", "MSG.NEXT")
    return [f"{API}.CONSUMER.{verb}.{stream}.{name}" for name in names for verb in verbs]


def _looks_at(*names: str) -> list[str]:
    return [f"{API}.{verb}.{name}" for name in names for verb in ("STREAM.INFO", "DIRECT.GET")]


def _service_rules(account: Account) -> tuple[list[str], list[str]]:
    user, lane = account.user, account.lane
    publish = [*_looks_at(LOG_STREAM, BLOB_STREAM), f"{API}.STREAM.MSG.GET.{LOG_STREAM}", *BLOB_SUBJECTS]
    publish += _binds(LOG_STREAM, reader_name(user), lane_reader_name(user))
    if lane is None:
        return publish, []
    return [*publish, *writer_subjects(WRITERS["dispatcher"], lane), *_lane_news(lane)], [roll_call_subject(lane)]


def _lane_news(lane: Lane) -> list[str]:
    """What is told of a lane beside the log."""
    return [_log_lines(lane), heartbeat_subject(lane)]


def _log_lines(lane: str) -> str:
    return live_subject("log", Lane(lane), RunId("*"))


def _scheduler_rules(account: Account) -> tuple[list[str], list[str]]:
    publish, _ = _service_rules(account)
    publish += writer_subjects(WRITERS["scheduler"], None)
    publish += [*_looks_at(REQUEST_STREAM), *_binds(REQUEST_STREAM, reader_name(account.user))]
    publish += [*_looks_at(LEASE_STREAM), SCHEDULER_LEASE, STATE_SUBJECT, ROLL_CALLS]
    return publish, [HEARTBEATS, AUDIT_SUBJECT]


def _dispatcher_rules(account: Account) -> tuple[list[str], list[str]]:
    """In the lane of containers plans are made, too."""
    return (_planner_rules if account.lane == LANE_DOCKER else _service_rules)(account)


def _planner_rules(account: Account) -> tuple[list[str], list[str]]:
    publish, subscribe = _service_rules(account)
    return publish + writer_subjects(WRITERS["planner"], account.lane), subscribe


def _consolidator_rules(account: Account) -> tuple[list[str], list[str]]:
    publish, subscribe = _service_rules(account)
    return publish + writer_subjects(WRITERS["consolidator"], account.lane), subscribe


def _archiver_rules(account: Account) -> tuple[list[str], list[str]]:
    publish, subscribe = _service_rules(account)
    publish += [f"{API}.STREAM.PURGE.{name}" for name in (LOG_STREAM, REQUEST_STREAM, BLOB_STREAM)]
    return [*publish, f"{API}.STREAM.INFO.{VIEW_STREAM}", ARCHIVE_SUBJECT], subscribe


def _viewer_rules(account: Account) -> tuple[list[str], list[str]]:
    publish = [
        *_looks_at(VIEW_STREAM),
        f"{API}.CONSUMER.CREATE.{VIEW_STREAM}",
        f"{API}.CONSUMER.CREATE.{VIEW_STREAM}.>",
        f"{API}.CONSUMER.INFO.{VIEW_STREAM}.*",
        f"{API}.CONSUMER.MSG.NEXT.{VIEW_STREAM}.*",
        AUDIT_SUBJECT,
    ]
    return publish, [_log_lines("*"), HEARTBEATS, STATE_SUBJECT]


def _requester_rules(account: Account) -> tuple[list[str], list[str]]:
    publish, subscribe = _viewer_rules(account)
    return [*publish, f"pto.req.*.{account.user}", *_looks_at(BLOB_STREAM), *BLOB_SUBJECTS], subscribe


def accounts_behind(relay: Account, accounts: Sequence[Account]) -> list[Account]:
    """The dispatchers that this relay carries: those of its lane."""
    return [other for other in accounts if other.role == "dispatcher" and other.lane == relay.lane]


def _relay_rules(account: Account, accounts: Sequence[Account]) -> dict[str, Any]:
    """What a leaf node may pass on for the dispatchers behind it, who ask JetStream by the name of its domain."""
    lane = Lane(account.lane or "")
    publish, subscribe = _lane_news(lane), [roll_call_subject(lane)]
    for other in accounts_behind(account, accounts):
        may = permissions(other)
        publish += [_in_domain(subject) for subject in may["publish"]["allow"]]
        subscribe += may["subscribe"]["allow"]
    return {"publish": {"allow": list(dict.fromkeys(publish))}, "subscribe": {"allow": list(dict.fromkeys(subscribe))}}


def _bootstrap_rules(account: Account) -> tuple[list[str], list[str]]:
    return [f"{API}.>"], []


_ROLE_RULES = {
    "bootstrap": _bootstrap_rules,
    "scheduler": _scheduler_rules,
    "planner": _planner_rules,
    "dispatcher": _dispatcher_rules,
    "consolidator": _consolidator_rules,
    "archiver": _archiver_rules,
    "operator": _requester_rules,
    "requester": _requester_rules,
    "viewer": _viewer_rules,
}


def dispatcher_user(lane: Lane) -> str:
    """``dispatcher-<lane>``; of a lane with a long name its beginning and a hash of the whole."""
    user = f"dispatcher-{lane}"
    if is_instance_id(user):
        return user
    mark = hashlib.sha256(lane.encode()).hexdigest()[:8]
    return f"{user[: MAX_USER_CHARS - len(mark) - 1]}-{mark}"


def usual_accounts(lanes: tuple[Lane, ...]) -> list[Account]:
    """One account per role: the services, a dispatcher per lane, an operator, a requester and a viewer.

    Users are named by their role, dispatchers by their lane (``dispatcher_user``), a standby scheduler ``scheduler-2``.
    """
    fixed: list[tuple[str, Role, Lane | None]] = [
        ("bootstrap", "bootstrap", None),
        ("scheduler", "scheduler", None),
        ("scheduler-2", "scheduler", None),
        ("planner", "planner", LANE_PLANNER),
        ("consolidator", "consolidator", LANE_CONSOLIDATOR),
        ("archiver", "archiver", None),
        ("operator", "operator", None),
        ("requester", "requester", None),
        ("viewer", "viewer", None),
    ]
    fixed += [(dispatcher_user(lane), "dispatcher", lane) for lane in lanes]
    return [Account(user=user, role=role, lane=lane) for user, role, lane in fixed]


def single_host_accounts(password: str, lanes: tuple[Lane, ...]) -> list[Account]:
    """The usual accounts with one password, for a broker that only this host can reach."""
    return [replace(account, password=password) for account in usual_accounts(lanes)]
