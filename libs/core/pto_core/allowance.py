"""What one run may still hand out in this tick: executors and their slots, money, and what its agents may write.

Imports pto_proto and siblings only. Invariants: what was handed out in this tick counts as out; no two agents are out
whose scopes overlap; nothing is set aside that the run's limit of cost does not leave. Who waits for a scope keeps it
from those that are less urgent, so that nobody waits for ever.
"""

from collections.abc import Iterable, Sequence

from pto_core.limits import MAX_SCOPES_KEPT
from pto_core.money import Estimates, Kind, asking, first_estimate
from pto_core.scopes import overlap
from pto_core.state import Run, Task


class Allowance:
    """Of one run in one tick."""

    def __init__(self, run: Run, estimates: Estimates) -> None:
        self.run = run
        self.left = run.max_executors - len(run.open)
        self.must_ask = False
        """Whether the run has to pause, because its limit leaves nothing and nothing that is out can change that."""
        self._estimates = estimates
        self._used: set[int] | None = None
        self._next = 0
        self._reserved = 0
        """Set aside in this tick."""
        self._scopes: list[Sequence[str]] | None = None
        """Scopes that are taken, or kept for somebody more urgent."""
        self._kept = 0
        self._is_poor = False
        """Whether one attempt had to wait for money: the others would cost the same."""

    @property
    def out(self) -> int:
        """Attempts that are out, those of this tick included."""
        return self.run.max_executors - self.left

    def lets(self, task: Task) -> bool:
        """Whether this task, which asks a model, may be handed out as far as scopes and money go."""
        if task.index >= 0 and not self._is_apart(task.spec.writes):
            return False
        if self._is_poor:
            return False
        left = self.run.money.left
        if left is not None and self._reserved + self.estimate(task) > left:
            self._is_poor = True
            self.must_ask = not self.run.money.reserved and not self._reserved
            return False
        return True

    @property
    def is_closed(self) -> bool:
        """Whether no attempt that asks a model can be handed out any more."""
        return self._is_poor or (self._scopes is not None and () in self._scopes)

    def take(self, task: Task, *, asks_model: bool) -> tuple[int, int]:
        """(slot, what to set aside in millionths of a dollar) of an attempt of this task."""
        reserved = 0
        if asks_model:
            reserved = self.estimate(task)
            self._reserved += reserved
            if task.index >= 0:
                self._taken().append(task.spec.writes)
        return self._take_slot(), reserved

    def estimate(self, task: Task) -> int:
        """What an attempt of this task is assumed to cost."""
        request = self.run.request
        return self.run.money.estimate(kind_of(task), first_estimate(self._estimates, request.engine, request.model))

    def reason_to_ask(self, task: Task) -> str:
        """Why the run has to pause."""
        return asking(self.run.id, self.run.money, self.estimate(task))

    def _take_slot(self) -> int:
        if self._used is None:
            self._used = {task.slot for task in self.run.open.values()}
        while self._next in self._used:
            self._next += 1
        self._next += 1
        self.left -= 1
        return self._next - 1

    def _taken(self) -> list[Sequence[str]]:
        if self._scopes is None:
            self._scopes = [task.spec.writes for task in self.run.open.values() if task.spec.agent]
        return self._scopes

    def _is_apart(self, scope: Sequence[str]) -> bool:
        taken = self._taken()
        if not any(overlap(scope, other) for other in taken):
            return True
        self._kept += 1
        if self._kept > MAX_SCOPES_KEPT:
            self._scopes = [()]  # everything: to look on costs more than what it could find
        else:
            taken.append(scope)
        return False


def kind_of(task: Task) -> Kind:
    """Which attempts tell what the next attempt of this task costs."""
    return "agent" if task.index >= 0 else "plan"


def in_the_way(run: Run, task: Task) -> Iterable[Task]:
    """The agents that are out and may write what this one, an agent too, may write."""
    return [
        other
        for other in run.open.values()
        if other.spec.agent and other is not task and overlap(task.spec.writes, other.spec.writes)
    ]
