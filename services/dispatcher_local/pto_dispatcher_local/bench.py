"""The workbench of an agent on this machine: the harness's rules and processes, in the words of the engine port.

Imports harness and ports. Invariant: what an agent runs has the task's own environment and ends with the task; an
engine's program has only what its engine gives it, and the marks by which strays are found.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pto_harness import Cancel
from pto_harness.globs import matches
from pto_harness.guard import Guard
from pto_harness.paths import refused_path
from pto_harness.process import Command, run_command
from pto_ports.engine import Ended, Spent

OURS = "PTO_"
"""Variables that say whose a process is; the guard and the search for strays go by them."""


class LocalBench:
    """A Workbench around one harness task, given as ``run_task`` takes it."""

    def __init__(
        self,
        task: Mapping[str, Any],
        workspace: Path,
        *,
        cancel: Cancel,
        guard: Guard | None,
        note: Callable[[str], None],
    ) -> None:
        self.workspace = workspace
        self.scratch = Path(task["out"]) / "engine"
        self.cancel = cancel
        self._task = task
        self._guard = guard
        self._note = note

    def refusal(self, path: str) -> str:
        """By the task's scope: ``writes``, or else its outputs; without both, any path of the workspace."""
        reason = refused_path(path)
        scope = self._task.get("writes") or self._task["outputs"]
        if reason or not scope or any(matches(glob, path) for glob in scope):
            return reason or ""
        return f"it is outside of what the task may write ({', '.join(scope)})"

    def run(
        self,
        command: str | Sequence[str],
        *,
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        """See the port. There is no sandbox here yet: commands have the rights of this process."""
        own = dict(self._task["env"])
        given = own
        if environment is not None:
            given = {**environment, **{name: own[name] for name in own if name.startswith(OURS)}}
        wanted = Command(
            command if isinstance(command, str) else list(command),
            str(self.workspace),
            given,
            time_limit_s=time_limit_s,
            memory_bytes=self._task.get("memory_bytes") or 0,
            marker=str(self._task["marker"]),
            stdin=stdin,
        )
        ended = run_command(wanted, feed, self.cancel, self._guard)
        return Ended(ended.exit_code, ended.why)  # type: ignore[arg-type]

    def judge(self) -> str:
        """The harness looks for outputs and runs the checks after the engine; nothing is found before that."""
        return ""

    def note(self, line: str) -> None:
        """To those who watch."""
        self._note(line)

    def keep_notes(self, text: str) -> None:
        """Attempts start afresh here, so nothing is kept."""

    def spent(self, spent: Spent) -> None:
        """The attempt's own limits are the only ones here."""
