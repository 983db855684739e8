"""What ``pto-attempt`` is told and what it answers: the files between a dispatcher and where its attempt runs.

Imports ports only. Invariants: a job holds no secret (``credentials`` names the file that does); an answer is complete
or not there.
"""

from pathlib import Path
from typing import Any

import msgspec

from pto_ports.engine import AgentTask, EngineError, PlanDraft, Spent


class AgentJob(msgspec.Struct, frozen=True, kw_only=True, tag="agent", tag_field="kind"):
    """Do an agent's task: ``task`` is what the harness is told (see ``TaskRun``), with places as they are there."""

    task: dict[str, Any]
    agent: AgentTask
    engine: str
    credentials: str = ""
    """A JSON object of environment variables, for the engine alone."""


class PlanJob(msgspec.Struct, frozen=True, kw_only=True, tag="plan", tag_field="kind"):
    """Make a plan."""

    requirement: str
    max_executors: int
    engine: str
    model: str = ""
    credentials: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An EngineError."""

    reason: str
    failure: str
    hint: str = ""
    retry_after_s: float = 0.0
    spent: Spent = Spent()

    @classmethod
    def of(cls, error: EngineError) -> "Failure":
        """The error, to be written down."""
        return cls(
            reason=str(error),
            failure=error.failure,
            hint=error.hint,
            retry_after_s=error.retry_after_s,
            spent=error.spent,
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a job: a harness's ``result`` with what it has cost, a ``draft``, or a ``failure``."""

    result: dict[str, Any] | None = None
    spent: Spent = Spent()
    is_final: bool = True
    retry_after_s: float = 0.0
    draft: PlanDraft | None = None
    failure: Failure | None = None


def read_job(path: Path) -> AgentJob | PlanJob:
    """The job in this file. Raises OSError, msgspec.MsgspecError."""
    return msgspec.json.decode(path.read_bytes(), type=AgentJob | PlanJob)


def read_answer(data: bytes) -> Answer:
    """An answer, which may come from a hostile place: only its shape is certain. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=Answer)
