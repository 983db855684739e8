"""The engine ports: who makes a plan from a requirement, and who does an agent's task.

Invariant: an engine reports, it does not judge; the harness decides whether a task succeeded.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from pto_proto.events import Usage
from pto_proto.plans import Plan, TaskSpec


class PlanDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a planning engine returns."""

    plan: Plan
    complexity: int
    """0-100."""
    rationale: str
    usage: Usage = Usage()
    cost_usd: float | None = 0.0


class EngineError(Exception):
    """An engine could not do its work; the message says why, for the person who asked."""


class PlanEngine(Protocol):
    """Makes a plan from a requirement."""

    name: str

    def plan(self, requirement: str, max_executors: int) -> PlanDraft:
        """A valid plan. Called in a worker thread. Raises EngineError."""


class TaskEngine(Protocol):
    """Does an agent's task by writing files."""

    name: str

    def execute(self, requirement: str, spec: TaskSpec, workspace: Path) -> None:
        """Do the task in ``workspace``, which holds the outputs of its ancestors. Called in a worker thread.

        Raises EngineError.
        """
