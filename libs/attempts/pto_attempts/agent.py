"""An agent's work at the harness's desk: the workbench of the engine port, and what the agent has cost.

Imports harness and ports. Invariant: the bench adds nothing to what the desk allows.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pto_harness import Desk, WorkFailed
from pto_harness.stopwatch import awake_s
from pto_ports.backend import Order
from pto_ports.engine import AgentTask, AttemptLimits, Ended, EngineError, Spent, TaskEngine


class AgentWork:
    """One agent's work, as the harness calls it; ``spent`` and the rest are what came of it."""

    def __init__(self, engine: TaskEngine, task: AgentTask) -> None:
        self._engine = engine
        self._task = task
        self.spent = Spent()
        """What the engine said last about its costs."""
        self.is_final = False
        """Whether the engine has ended and said what it has cost in all."""
        self.retry_after_s = 0.0
        """When the engine said that another try makes sense."""

    def __call__(self, desk: Desk) -> None:
        """Do the work. Raises WorkFailed."""
        bench = DeskBench(desk, self._note_spent)
        try:
            self.spent = self._engine.execute(_with_notes(self._task, desk.notes), bench).spent
            self.is_final = True
        except EngineError as error:
            self.spent, self.retry_after_s = error.spent, error.retry_after_s
            self.is_final = True
            raise WorkFailed(str(error), error.failure, error.hint) from error

    def _note_spent(self, spent: Spent) -> None:
        self.spent = spent


def agent_task(order: Order, time_limit_s: float) -> AgentTask:
    """What the engine is told about the order's task; it has to end by itself at the limit (0: the engine's own),
    because the harness leaves its thread alone then.
    """
    ready = order.ready
    return AgentTask(
        requirement=ready.requirement,
        spec=ready.spec,
        model=ready.model,
        limits=AttemptLimits(time_s=time_limit_s) if time_limit_s else AttemptLimits(),
        evidence=ready.evidence,
    )


class DeskBench:
    """A Workbench around one desk; ``note_spent`` hears what the attempt has cost so far."""

    def __init__(self, desk: Desk, note_spent: Callable[[Spent], None]) -> None:
        self.workspace = desk.workspace
        self.scratch = desk.scratch
        self.cancel = desk.cancel
        self._desk = desk
        self._note_spent = note_spent

    def now_s(self) -> float:
        """By the harness's own clock of time limits."""
        return awake_s()

    def refusal(self, path: str) -> str:
        """By the task's scope: ``writes``, or else its outputs; without both, any path of the workspace."""
        return self._desk.refusal(path)

    def run(
        self,
        command: str | Sequence[str],
        *,
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        """In the sandbox that this host and the run's ``--sandbox`` give."""
        ended = self._desk.run(command, feed, time_limit_s, environment, stdin)
        return Ended(ended.exit_code, ended.why)  # type: ignore[arg-type]

    def judge(self) -> str:
        """What the harness finds wrong; empty: the work as it is now is kept."""
        return self._desk.judge()

    def note(self, line: str) -> None:
        """To the attempt's log, and to those who watch."""
        self._desk.note(line)

    def keep_notes(self, text: str) -> None:
        """For the next attempt, should this one be cut off."""
        self._desk.keep_notes(text)

    def spent(self, spent: Spent) -> None:
        """The attempt's own limits are the only ones here."""
        self._note_spent(spent)


def _with_notes(task: AgentTask, notes: str) -> AgentTask:
    return msgspec.structs.replace(task, notes=notes)
