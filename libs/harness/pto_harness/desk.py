"""What the harness gives to the work of an agent: a place, commands in the sandbox, and a judge.

Imports the standard library only. Invariants: what an agent runs ends with the attempt; when the attempt is over, the
desk does nothing more for whoever still works at it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_harness.box import Box
from pto_harness.failure import KILLED, WorkFailed
from pto_harness.limits import AGENT_BYTES, AGENT_CHECK_S, FEEDBACK_TURNS
from pto_harness.process import Command, Ended, run_command
from pto_harness.room import watched
from pto_harness.sandbox import program_box
from pto_harness.stopwatch import awake_s
from pto_harness.unfinished import Unfinished
from pto_harness.verdict import Judge, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pto_harness.cancel import Cancel
    from pto_harness.guard import Guard
    from pto_harness.log import TaskLog
    from pto_harness.sandbox import Sandbox
    from pto_harness.workspace import Workspace

OURS = "PTO_"
"""Variables that say whose a process is; the guard and the search for strays go by them."""


class Desk:
    """Of one attempt; used in the thread of the work."""

    def __init__(
        self,
        task: dict[str, Any],
        workspace: Workspace,
        log: TaskLog,
        *,
        cancel: Cancel,
        guard: Guard | None,
        until: float | None,
        sandbox: Sandbox | None,
        notes: str = "",
    ) -> None:
        self.workspace = workspace.folder
        self.scratch = Path(task["out"]) / "engine"
        """A private folder for the engine itself, gone after the attempt."""
        self.cancel = cancel
        self.notes = notes
        """What an earlier attempt that was cut off wanted this one to know; its files are in the workspace."""
        self._task = task
        self._log = log
        self._guard = guard
        self._until = until
        self._sandbox = sandbox
        self._unfinished = Unfinished(task.get("unfinished", ""))
        self._judge = Judge(task, workspace, self._run_check, self._feed)
        self._last: Verdict | None = None
        self._rejections = 0
        self._lock = threading.Lock()
        self._is_over = False

    def refusal(self, path: str) -> str:
        """Why the agent may not write this path; empty if it may."""
        return self._judge.refusal(path)

    def run(
        self,
        command: str | Sequence[str],
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        """Run an agent's command, or, with an environment of its own, an engine's program, in the workspace.

        Only a program has the network and the engine's scratch folder. Raises OSError and ValueError when it cannot be
        started, WorkFailed when the attempt is over.
        """
        self._check_open()
        own = dict(self._task.get("env", {}))
        given, box = own, self._box(self.workspace)
        if environment is not None:
            given = {**environment, **{name: own[name] for name in own if name.startswith(OURS)}}
            self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            program = command if isinstance(command, str) else str(command[0])
            box = program_box(str(self.workspace), str(self.scratch), program, given)
        return self._run(command, box, given, feed, time_limit_s, stdin)

    def judge(self) -> str:
        """What is wrong with the work, for the agent; empty if nothing: then this is what is kept, whatever follows.

        Raises WorkFailed when that was asked too often.
        """
        self._check_open()
        turns = int(self._task.get("feedback_turns", FEEDBACK_TURNS))
        if self._rejections > turns:
            failure = self._last.failure if self._last is not None else None
            hint = failure.hint if failure is not None else ""
            raise WorkFailed(f"after {turns} corrections the work is still not accepted: {failure}", hint=hint)
        self._last = self._judge.judge()
        self._rejections += bool(self._last.text)
        return self._last.text

    def note(self, line: str) -> None:
        """A line for the attempt's log."""
        self._feed("stdout", line.encode(errors="replace") + b"\n")

    def keep_notes(self, text: str) -> None:
        """Remember this for the next attempt, should this one be cut off."""
        self._unfinished.keep(text)

    def verdict(self) -> Verdict:
        """The judgement that counts: the last one if it was good, else one more. For the harness."""
        if self._last is None or self._last.failure is not None:
            self._last = self._judge.judge()
        return self._last

    def begin(self) -> None:
        """The work starts."""
        self._unfinished.begin()

    def end(self, failure: str | None) -> None:
        """The attempt is over."""
        with self._lock:
            self._is_over = True
        self._unfinished.end(failure)

    def _feed(self, stream: str, data: bytes) -> None:
        with self._lock:
            if not self._is_over:
                self._log.feed(stream, data)

    def _box(self, folder: Path) -> Box:
        return Box(str(folder), lenient=self._task.get("sandbox") == "wanted")

    def _check_open(self) -> None:
        if self._is_over:
            raise WorkFailed("the attempt is over", "cancelled")

    def _run_check(self, check: str, folder: Path, feed: Callable[[str, bytes], None]) -> Ended:
        return self._run(check, self._box(folder), dict(self._task.get("env", {})), feed, AGENT_CHECK_S)

    def _run(
        self,
        command: str | Sequence[str],
        box: Box,
        environment: dict[str, str],
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        stdin: bytes = b"",
    ) -> Ended:
        if self._until is not None:
            time_limit_s = max(0.001, min(time_limit_s, self._until - awake_s()))
        wanted = Command(
            command if isinstance(command, str) else list(command),
            box.workspace,
            environment,
            time_limit_s=time_limit_s,
            memory_bytes=self._task.get("memory_bytes") or 0,
            marker=str(self._task.get("marker", "")),
            stdin=stdin,
            wrap=None if self._sandbox is None else partial(self._sandbox.wrap, box=box),
        )
        with watched(box.workspace, AGENT_BYTES, self.cancel) as cancel:
            ended = run_command(wanted, feed, cancel, self._guard)
        if ended.why == "cancelled" and not self.cancel.requested:
            feed("stderr", f"[harness] ended: {cancel.reason}\n".encode())
            return Ended(KILLED, "exited")
        return ended
