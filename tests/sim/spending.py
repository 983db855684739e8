"""What the judge knows of agents: money, what they may write, and models that rest.

Invariant: it counts from the log alone, by rules of its own; what the writer of a decision had not read yet does not
count against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pto_proto import events as ev
from pto_proto.ids import PLAN_TASK, Lane

from .agents import share_a_path
from .stories import Attempt, RunStory

MILLION = 1_000_000
LONGEST_WAIT_MS = 3_600_000


@dataclass
class Wait:
    """The model (or the lane: no model) of one lane asked to be left alone."""

    seq: int
    lane: Lane
    model: str
    until: int


def model_of(run: RunStory, entry: ev.TaskReady) -> str:
    """Which model this attempt asks."""
    request = run.request
    plans = entry.task == PLAN_TASK and request.requirement and request.plan is None and not request.plan_digest
    return (request.model or request.engine) if entry.spec.agent or plans else ""


def check_money(run: RunStory, attempt: Attempt, writer_read: int, what: str) -> Iterator[str]:
    """Spent, set aside and the new attempt stay within the limit; an attempt that asks a model is never for free."""
    if not attempt.model:
        if attempt.reserved:
            yield f"promise 14: {what} sets money aside and asks no model"
        return
    if not attempt.reserved:
        yield f"promise 14: {what} without any money set aside"
    total = 0
    for story in run.tasks.values():
        for other in story.attempts:
            is_known = 0 < other.end_seq <= writer_read
            total += other.cost if is_known and other.cost is not None else other.reserved
    if run.limit is not None and total > run.limit:
        yield f"promise 14: {what}, which makes {total} of the {run.limit} that are allowed"


def check_scopes(run: RunStory, entry: ev.TaskReady, what: str) -> Iterator[str]:
    """No other agent is out that may write the same."""
    for other in run.out() if entry.spec.agent else ():
        spec = run.story(other.name[1]).spec
        is_other = other.name[1] != entry.task and spec is not None and spec.agent
        if is_other and spec is not None and share_a_path(entry.spec.writes, spec.writes):
            yield f"promise 15: {what} while {spec.id} is out, which may write the same"


def check_waits(waits: list[Wait], attempt: Attempt, writer_read: int, what: str) -> Iterator[str]:
    """Nothing asks a model before the latest moment that it named."""
    for wait in waits:
        is_meant = wait.lane == attempt.lane and wait.model in ("", attempt.model)
        if is_meant and wait.seq <= writer_read and attempt.ready_at < wait.until:
            yield f"promise 11: {what}, {wait.until - attempt.ready_at} ms before {wait.model or wait.lane} is to be asked"


def bill_of(entry: ev.TaskFinished) -> int | None:
    """What it came to, in millionths; None: nobody knows."""
    return None if entry.cost_usd is None else round(entry.cost_usd * MILLION)
