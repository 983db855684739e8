"""A log of any length as the services would have written it, made without them: runs of noops that all succeeded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar

from pto_proto import events as ev
from pto_proto.envelope import Event, encode_event
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_LOCAL, LANE_PLANNER, Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.subjects import event_subject

T = TypeVar("T")
HOST = InstanceId("local-1")
PART = 500
PER_EVENT = 100
PER_TASK = 3
"""Entries of a task: ready, started, finished."""
AT = 1_700_000_000_000
PLAN = Digest("d" * 64)


@dataclass(frozen=True)
class Written:
    """One event and who writes such."""

    account: str
    subject: str
    data: bytes
    entries: int
    wire_id: str


def history(entries: int, runs: int) -> Iterator[Written]:
    """A log of about this many entries in all."""
    number = 0
    for at in range(runs):
        run = RunId(f"history-{at:06d}")
        for account, lane, batch in _run(run, max(1, entries // (PER_TASK * runs))):
            number += 1
            event = Event(
                id=f"h.{number}", source="history", kind=type(batch[0]), lane=lane, run=run, entries=tuple(batch)
            )
            subject = event_subject(event.kind, lane, run)
            yield Written(account, subject, encode_event(event), len(batch), event.id)


def _run(run: RunId, tasks: int) -> Iterator[tuple[str, Lane | None, Sequence[ev.Entry]]]:
    specs = [TaskSpec(id=TaskId(f"task-{at:06d}"), title=f"Task number {at}", noop=True) for at in range(tasks)]
    plan: dict[str, Any] = {"at": AT, "task": TaskId("_plan"), "attempt": 1}
    merge: dict[str, Any] = {"at": AT, "task": TaskId("_merge"), "attempt": 1}
    planner, consolidator = InstanceId("planner-1"), InstanceId("consolidator-1")
    request = RunRequested(run=run, name="history", max_executors=1000)
    yield "scheduler", None, [ev.RunAccepted(at=AT, content_digest=Digest("c"), request=request)]
    yield "scheduler", LANE_PLANNER, [ev.TaskReady(**plan, instance=planner, spec=TaskSpec(id=TaskId("_plan")))]
    parts = list(_batches(specs, PART))
    for at, part in enumerate(parts):
        yield (
            "planner",
            LANE_PLANNER,
            [ev.TaskPlanned(at=AT, plan_digest=PLAN, part=at, parts=len(parts), tasks=tuple(part))],
        )
    finished = ev.PlanFinished(**plan, plan_digest=PLAN, name="history", parts=len(parts), task_count=tasks)
    yield "planner", LANE_PLANNER, [finished]
    yield "planner", LANE_PLANNER, [ev.TaskFinished(**plan, instance=planner, outcome="succeeded")]
    yield "scheduler", None, [ev.PlanSettled(at=AT, plan_digest=PLAN)]
    for batch in _batches(specs, PER_EVENT):
        yield from _tasks(batch)
    yield "scheduler", None, [ev.RunExecuted(at=AT)]
    yield (
        "scheduler",
        LANE_CONSOLIDATOR,
        [ev.TaskReady(**merge, instance=consolidator, spec=TaskSpec(id=TaskId("_merge")))],
    )
    yield "consolidator", LANE_CONSOLIDATOR, [ev.TaskFinished(**merge, instance=consolidator, outcome="succeeded")]
    yield "scheduler", None, [ev.RunFinished(at=AT, status="succeeded", tasks={"succeeded": tasks})]


def _tasks(specs: Sequence[TaskSpec]) -> Iterator[tuple[str, Lane | None, Sequence[ev.Entry]]]:
    """From the hand-out to the end of some tasks."""
    who: list[dict[str, Any]] = [
        {"at": AT, "cause": 17, "task": spec.id, "attempt": 1, "instance": HOST} for spec in specs
    ]
    keys = [Digest(sha256(spec.id.encode()).hexdigest()) for spec in specs]
    yield (
        "scheduler",
        LANE_LOCAL,
        [
            ev.TaskReady(**names, slot=at % 1000, spec=spec, key=key)
            for at, (names, spec, key) in enumerate(zip(who, specs, keys, strict=True))
        ],
    )
    yield "dispatcher-local", LANE_LOCAL, [ev.TaskStarted(**names, job=f"{at}") for at, names in enumerate(who)]
    yield (
        "dispatcher-local",
        LANE_LOCAL,
        [ev.TaskFinished(**names, outcome="succeeded", duration_s=0.25) for names in who],
    )


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
