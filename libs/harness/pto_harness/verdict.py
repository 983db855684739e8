"""Whether an agent's work is what its task asks for: outputs in scope, frozen, and checked where nobody can reach them.

Imports the standard library only. Invariants: what is kept is exactly what was checked, since checks see the frozen
bundle in a fresh workspace; what lies outside of the scope is neither kept nor seen by a check, but listed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pto_harness.failure import Failed, judged_end, missing_outputs, not_started
from pto_harness.globs import matches
from pto_harness.limits import AGENT_BYTES, AGENT_CHECK_S, FEEDBACK_LINES, LOG_HEAD_BYTES, LOG_TAIL_BYTES
from pto_harness.log import TaskLog
from pto_harness.manifest import small_bundle, write_bundle
from pto_harness.paths import refused_path
from pto_harness.room import holds_more
from pto_harness.workspace import Workspace

if TYPE_CHECKING:
    from pto_harness.process import Ended

    RunCheck = Callable[[str, Path, Callable[[str, bytes], None]], Ended]
    """(check, folder, output) -> its end; in the sandbox, if there is one."""
else:
    RunCheck = Callable

MAYBE_EMPTY = frozenset(("__init__.py", "py.typed", ".gitkeep", ".keep", ".nojekyll"))
"""Files that are empty in good projects."""
MAX_SHOWN = 20


class Verdict(NamedTuple):
    """What was found."""

    failure: Failed | None
    """The first reason against it."""
    text: str
    """All of them, for the agent; empty: none."""
    kept: dict[str, Any]
    """What is taken over, as ``TaskRun`` says."""
    refused: list[str]
    """What is not, with the reason."""


class Judge:
    """Of one attempt."""

    def __init__(
        self, task: dict[str, Any], workspace: Workspace, run: RunCheck, feed: Callable[[str, bytes], None]
    ) -> None:
        """``feed`` takes what belongs into the attempt's log."""
        self._task = task
        self._workspace = workspace
        self._run = run
        self._feed = feed
        self._outputs: list[str] = list(task.get("outputs", ()))
        self._writes: list[str] = list(task.get("writes", ()))

    def refusal(self, path: str) -> str:
        """Why the agent may not write this path; empty if it may. The scope is ``writes``, or else the outputs."""
        reason = refused_path(path)
        scope = self._writes or self._outputs
        if reason or not scope or any(matches(glob, path) for glob in scope):
            return reason or ""
        return f"it is outside of what the task may write ({', '.join(scope[:MAX_SHOWN])})"

    def judge(self) -> Verdict:
        """Look at the work as it is now. Raises WorkspaceError and OSError when that is impossible."""
        if holds_more(str(self._workspace.folder), AGENT_BYTES):
            reason = f"the workspace holds more than {AGENT_BYTES // 2**20} MiB or too many files"
            return self._against([(Failed("task", reason), reason)], [])
        taken, missing = self._workspace.taken(self._outputs, lambda path: not self.refusal(path))
        refused = [*self._workspace.refused, *self._outside(taken)]
        found = list(self._lacking(taken, missing))
        if found:
            return self._against(found, refused)
        kept = self._freeze(taken)
        found = list(self._checked(kept))
        return self._against(found, refused) if found else Verdict(None, "", kept, refused)

    def _against(self, found: list[tuple[Failed, str]], refused: list[str]) -> Verdict:
        texts = [text for _, text in found]
        if refused:
            shown = "\n".join(f"- {line}" for line in refused[:MAX_SHOWN])
            texts.append(f"These files are not taken over, and checks do not see them:\n{shown}")
        failure = found[0][0]
        if refused and failure.failure == "task":
            failure = Failed(
                "task", f"{failure}; not taken over: {', '.join(refused[:3])}", failure.hint, failure.exit_code
            )
        return Verdict(failure, "\n\n".join(texts), {}, refused)

    def _outside(self, taken: list[str]) -> list[str]:
        kept = set(taken)
        changed = [path for path in self._workspace.changed() if path not in kept]
        return [f"{path}: {self.refusal(path) or 'it is no declared output'}" for path in changed]

    def _lacking(self, taken: list[str], missing: list[str]) -> list[tuple[Failed, str]]:
        found = []
        if missing:
            failed = missing_outputs(missing)
            found.append((failed, f"{failed}. Write it; paths are relative to the project's folder."))
        empty = self._workspace.empty(self._outputs, MAYBE_EMPTY)
        if empty:
            reason = f"declared output {', '.join(map(repr, empty))} is empty"
            found.append((Failed("task", reason), f"{reason}. Write its content."))
        if not found and not self._workspace.has_own(taken) and (taken or not self._task.get("checks")):
            left = ", but what an earlier attempt left behind" if taken else ""
            reason = f"the agent made no file{left}"
            found.append((Failed("task", reason), f"{reason}. Write what the task asks for."))
        return found

    def _freeze(self, taken: list[str]) -> dict[str, Any]:
        out, folder = Path(self._task["out"]), self._workspace.folder
        if not taken:
            return {"files": 0}
        small = None if self._task.get("checks") else small_bundle(folder, taken, self._task.get("inline_bytes", 0))
        return small or write_bundle(folder, taken, out)

    def _checked(self, kept: dict[str, Any]) -> list[tuple[Failed, str]]:
        found = []
        for check in self._task.get("checks", ()):
            self._feed("stderr", f"[harness] check: {check}\n".encode(errors="replace"))
            log = TaskLog("", LOG_HEAD_BYTES, LOG_TAIL_BYTES, secrets=self._task.get("secrets", ()))
            failed = self._check(check, kept, log)
            log.close()
            lines = log.tail()[-FEEDBACK_LINES:]
            if failed is not None:
                found.append((failed, "\n".join([f"{failed}. Its last lines:", *lines])))
        return found

    def _check(self, check: str, kept: dict[str, Any], log: TaskLog) -> Failed | None:
        """Each in a workspace of its own: a check runs what the agent wrote, which must not prepare the next one."""
        folder = Path(self._task["out"]) / "check"
        fresh = Workspace(folder)
        try:
            fresh.fill(self._frozen(kept))
            try:
                ended = self._run(check, folder, partial(self._both, log))
            except (OSError, ValueError) as error:
                failed = not_started(check, error)
                if failed is None:
                    raise
                return failed
            return judged_end(ended, f"the check {check!r}", self._task.get("time_limit_s") or AGENT_CHECK_S, "")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _both(self, log: TaskLog, stream: str, data: bytes) -> None:
        log.feed(stream, data)
        self._feed(stream, data)

    def _frozen(self, kept: dict[str, Any]) -> list[dict[str, Any]]:
        """What the task was given, and over it what is kept."""
        files = {file["path"]: file for file in self._task.get("files", ())}
        if kept["files"]:
            for made in json.loads(Path(kept["manifest"]).read_bytes())["files"]:
                files[made["path"]] = {**made, "bundle": kept["bundle"]}
        return list(files.values())
