"""The names of an attempt in SLURM: the name of its job, by which it is found, and its comment, by which it is known.

Imports proto; pure. Invariants: both follow from the attempt alone; a comment tells the whole attempt, while a name
may only be trusted together with the comment.
"""

import re

import msgspec

from pto_proto.events import TaskReady
from pto_proto.ids import RunId, TaskId, external_name

SHOWN_TASK = 24
"""Characters of the task's id in the job's name, for people who read squeue."""
_COMMENT = re.compile(r"pto:(?P<run>[a-z0-9-]+)/(?P<round>\d+)/(?P<task>[A-Za-z0-9_.-]+)/(?P<attempt>\d+)\Z", re.ASCII)


class Attempt(msgspec.Struct, frozen=True):
    """Which attempt of which task in which round of which run."""

    run: RunId
    task: TaskId
    attempt: int
    round: int = 0

    @property
    def name(self) -> str:
        """Of its files: the same in every outside system."""
        return external_name(self.run, self.task, self.attempt, self.round)

    @property
    def job_name(self) -> str:
        """Of its job: one attempt, one name, whoever submits it and however often."""
        return f"{self.name}-{self.task[:SHOWN_TASK]}"

    @property
    def comment(self) -> str:
        """Everything, to be matched in full."""
        return f"pto:{self.run}/{self.round}/{self.task}/{self.attempt}"


def attempt_of(run: RunId, ready: TaskReady) -> Attempt:
    """The attempt that an order speaks of."""
    return Attempt(run, ready.task, ready.attempt, ready.round)


def attempt_in(comment: str) -> Attempt | None:
    """The attempt that a job's comment names; None: the job is none of ours."""
    match = _COMMENT.match(comment.strip())
    if match is None:
        return None
    return Attempt(RunId(match["run"]), TaskId(match["task"]), int(match["attempt"]), int(match["round"]))
