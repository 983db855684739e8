"""The workbench of an agent on this machine: the harness's desk, in the words of the engine port.

Imports harness and ports. Invariant: it adds nothing to what the desk allows.
"""

from collections.abc import Callable, Mapping, Sequence

from pto_harness import Desk
from pto_ports.engine import Ended, Spent


class LocalBench:
    """A Workbench around one desk."""

    def __init__(self, desk: Desk) -> None:
        self.workspace = desk.workspace
        self.scratch = desk.scratch
        self.cancel = desk.cancel
        self.total = Spent()
        """What the engine said last about its costs."""
        self.is_final = False
        """Whether the engine has ended and said what it has cost in all."""
        self.retry_after_s = 0.0
        """When the engine said that another try makes sense."""
        self._desk = desk

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
        self.total = spent
