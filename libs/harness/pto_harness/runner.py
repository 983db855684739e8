"""One task from start to result: fill the workspace, do the work, take the outputs, run the checks.

Imports the standard library only. Invariant: ``succeeded`` is said only after every declared output was found and
stored in the bundle and every check passed; the bundle is made before the checks, so that they cannot change what is
kept.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_harness.cancel import Cancel
from pto_harness.limits import LOG_HEAD_BYTES, LOG_TAIL_BYTES
from pto_harness.log import TaskLog
from pto_harness.manifest import write_bundle
from pto_harness.process import Ended, run_command
from pto_harness.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from pto_harness.guard import Guard

    Work = Callable[[Path], None]
    """Does an agent's work in the workspace; raises WorkFailed."""
else:
    Work = Callable

KILLED = 137
"""128 + SIGKILL: what a process ends with that the kernel killed for its memory."""


class WorkFailed(Exception):
    """Work that is no command failed; ``failure`` is the failure class, ``hint`` what a person can do."""

    def __init__(self, reason: str, failure: str = "task", hint: str = "") -> None:
        super().__init__(reason)
        self.failure = failure
        self.hint = hint


class _Failed(Exception):
    """The attempt cannot succeed any more."""

    def __init__(self, failure: str, reason: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(reason)
        self.failure, self.hint, self.exit_code = failure, hint, exit_code


def run_task(
    task: dict[str, Any],
    *,
    work: Work | None = None,
    cancel: Cancel | None = None,
    on_line: Callable[[str, str], None] | None = None,
    guard: Guard | None = None,
) -> dict[str, Any]:
    """Run one task; never raises for what the task does.

    ``task``: ``workspace`` and ``out`` (folders), ``log`` (file), ``files`` (see ``Workspace.fill``), ``command`` (text
    or list; without it ``work`` is called), ``env``, ``marker``, ``outputs``, ``checks``, ``time_limit_s``,
    ``memory_bytes``, ``secrets`` (values blanked out of the output). The result has ``outcome``, ``failure``,
    ``reason``, ``hint``, ``tail``, ``exit_code``, ``duration_s``, ``files``, ``refused`` and, when files were made, the
    keys of ``write_bundle``.
    """
    began = time.monotonic()
    log = TaskLog(task.get("log", ""), LOG_HEAD_BYTES, LOG_TAIL_BYTES, on_line, task.get("secrets", ()))
    attempt = _Attempt(task, log, cancel or Cancel(), began, guard)
    result: dict[str, Any] = {"outcome": "succeeded", "failure": None, "reason": "", "hint": "", "exit_code": None}
    failed_tail = False
    try:
        result.update(attempt.run(work))
    except _Failed as failed:
        result.update(
            outcome="cancelled" if failed.failure == "cancelled" else "failed",
            failure=failed.failure,
            reason=str(failed),
            hint=failed.hint,
            exit_code=failed.exit_code,
        )
        log.note(str(failed))
        failed_tail = True
    finally:
        log.close()
    if failed_tail:
        result["tail"] = log.tail()
    result["log_bytes"] = log.size
    result["duration_s"] = round(time.monotonic() - began, 6)
    return result


class _Attempt:
    def __init__(self, task: dict[str, Any], log: TaskLog, cancel: Cancel, began: float, guard: Guard | None) -> None:
        self._task = task
        self._log = log
        self._cancel = cancel
        self._guard = guard
        limit = task.get("time_limit_s") or 0
        self._until = began + limit if limit else None

    def run(self, work: Work | None) -> dict[str, Any]:
        task = self._task
        try:
            workspace = Workspace(Path(task["workspace"]))
            workspace.fill(task.get("files", ()))
            exit_code = self._work(workspace, work)
            result = self._take(workspace)
        except WorkspaceError as error:
            raise _Failed("infra", str(error)) from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "Free some space on the disk of the workspaces." if full else ""
            raise _Failed("infra", f"the workspace cannot be used: {error}", hint) from error
        for check in task.get("checks", ()):
            self._check(workspace, check)
        return {**result, "exit_code": exit_code, "refused": workspace.refused}

    def _work(self, workspace: Workspace, work: Work | None) -> int | None:
        command = self._task.get("command")
        if command:
            ended = self._command(workspace, command)
            self._judge(ended, "the command")
            return ended.exit_code
        if work is not None:
            self._call(work, workspace.folder)
        if self._cancel.requested:
            raise _Failed("cancelled", self._cancel.reason or "cancelled")
        return None

    def _call(self, work: Work, folder: Path) -> None:
        """Do the work in a thread, which is left alone at a cancel or the time limit: nothing can end a thread."""
        failures: list[BaseException] = []
        woken, done = threading.Event(), threading.Event()

        def run() -> None:
            try:
                work(folder)
            except Exception as error:
                failures.append(error)
            finally:
                done.set()
                woken.set()

        thread = threading.Thread(target=run, name="work", daemon=True)
        thread.start()
        self._cancel.listen(woken.set)
        try:
            woken.wait(None if self._until is None else max(0.0, self._until - time.monotonic()))
        finally:
            self._cancel.unlisten(woken.set)
        for error in failures:
            if isinstance(error, WorkFailed):
                raise _Failed(error.failure, str(error), error.hint)
            raise _Failed("task", f"the work failed: {error!r}")
        if not done.is_set() and not self._cancel.requested:
            limit = self._task["time_limit_s"]
            raise _Failed("timeout", f"the work was given up at the time limit of {limit:g} s")

    def _take(self, workspace: Workspace) -> dict[str, Any]:
        declared = list(self._task.get("outputs", ()))
        if declared:
            paths, missing = workspace.matching(declared)
            if missing:
                names = ", ".join(repr(pattern) for pattern in missing)
                hint = "Check the path in the plan and where the command writes; outputs are relative to the workspace."
                raise _Failed("task", f"declared output {names} is missing", hint)
        else:
            paths = workspace.changed()
        return write_bundle(workspace.folder, paths, Path(self._task["out"])) if paths else {"files": 0}

    def _check(self, workspace: Workspace, check: str) -> None:
        self._log.note(f"check: {check}")
        self._judge(self._command(workspace, check), f"the check {check!r}")

    def _command(self, workspace: Workspace, command: str | list[str]) -> Ended:
        left = 0.0 if self._until is None else max(0.001, self._until - time.monotonic())
        try:
            return run_command(
                command,
                cwd=str(workspace.folder),
                env=self._task.get("env", {}),
                feed=self._log.feed,
                cancel=self._cancel,
                time_limit_s=left,
                memory_bytes=self._task.get("memory_bytes") or 0,
                marker=self._task.get("marker", ""),
                guard=self._guard,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            name = command if isinstance(command, str) else command[0]
            hint = "Is the program installed where the task runs, and executable?"
            raise _Failed("task", f"{name!r} cannot be started: {error.strerror}", hint, 127) from error
        except ValueError as error:
            raise _Failed("task", f"the command cannot be started: {error}") from error
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise _Failed("task", "the command and its environment are too long for this system") from error
            raise

    def _judge(self, ended: Ended, what: str) -> None:
        if ended.why == "cancelled":
            raise _Failed("cancelled", self._cancel.reason or "cancelled", exit_code=ended.exit_code)
        if ended.why == "timeout":
            hint = "Raise the task's time limit (resources: time), or make it do less."
            limit = self._task["time_limit_s"]
            raise _Failed("timeout", f"{what} was ended at the time limit of {limit:g} s", hint, ended.exit_code)
        if ended.exit_code == KILLED:
            hint = "It may have used more memory than there is: see the task's memory and the kernel's log."
            raise _Failed("task", f"{what} was killed (exit code {KILLED})", hint, ended.exit_code)
        if ended.exit_code != 0:
            raise _Failed("task", f"{what} ended with exit code {ended.exit_code}", exit_code=ended.exit_code)
