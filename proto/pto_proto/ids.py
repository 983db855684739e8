"""The identifiers that cross the bus, as distinct string types, and their grammar.

Imports the standard library only. Invariant: an identifier that passes its check here is safe as one token of a NATS
subject, as a file name and as a job name.
"""

import hashlib
import re
from typing import NewType

RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
Lane = NewType("Lane", str)
InstanceId = NewType("InstanceId", str)
Digest = NewType("Digest", str)
"""Lower-case hex SHA-256 of a blob; the empty string means "no blob" (for a manifest: no files)."""

NO_DIGEST = Digest("")
PLAN_TASK = TaskId("_plan")
EDIT_TASK = TaskId("_edit")
"""Writes down the plan that a person put in the place of the planner's."""
MERGE_TASK = TaskId("_merge")
LANE_PLANNER = Lane("planner")
LANE_CONSOLIDATOR = Lane("consolidator")
LANE_LOCAL = Lane("local")
LANE_DOCKER = Lane("docker")

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{5,39}\Z")
TASK_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z", re.IGNORECASE | re.ASCII)
LANE = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
INSTANCE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def is_run_id(text: str) -> bool:
    """Whether ``text`` may name a run: 6-40 characters of ``a-z0-9-``, starting with a letter or digit."""
    return RUN_ID.match(text) is not None


def is_task_id(text: str) -> bool:
    """Whether ``text`` may name a task of a plan: a slug of at most 64 characters, first a letter or digit."""
    return TASK_ID.match(text) is not None


def is_lane(text: str) -> bool:
    """Whether ``text`` may name a lane, such as ``local`` or ``slurm-hpc1``."""
    return LANE.match(text) is not None


def is_instance_id(text: str) -> bool:
    """Whether ``text`` may name a service instance or a requester (one token of a subject)."""
    return INSTANCE_ID.match(text) is not None


def is_operator(requester: str) -> bool:
    """Whether who asks under this name may speak for every run. The broker lets only operators' accounts use it."""
    return requester == "operator" or requester.startswith("operator-")


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 in lower-case hex."""
    return DIGEST.match(text) is not None


def digest_of(data: bytes) -> Digest:
    """The digest that names ``data`` in every blob store."""
    return Digest(hashlib.sha256(data).hexdigest())


def trace_id(run: RunId) -> str:
    """OpenTelemetry trace id of a run: 32 hex characters, the same in every service."""
    return hashlib.sha256(run.encode()).hexdigest()[:32]


def span_id(run: RunId, task: TaskId, attempt: int) -> str:
    """OpenTelemetry span id of one attempt: 16 hex characters."""
    return hashlib.sha256(f"{run}/{task}/{attempt}".encode()).hexdigest()[:16]


def external_name(run: RunId, task: TaskId, attempt: int, round_: int = 0) -> str:
    """Deterministic name of an attempt in an outside system (job, container): ``pto-`` and 24 hex characters.

    It hashes the whole identity, because outside systems cut long names; callers match on the full comment or label.
    """
    identity = f"{run}/{round_}/{task}/{attempt}"
    return "pto-" + hashlib.sha256(identity.encode()).hexdigest()[:24]
