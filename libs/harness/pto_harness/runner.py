"""One task from start to result: fill the workspace, do the work, take the outputs, run the checks.

Imports the standard library only. Invariant: ``succeeded`` is said only after every declared output was found and
stored in the bundle and every check passed; the bundle is made before the checks, so that they cannot change what is
kept.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pto_harness.cancel import Cancel
from pto_harness.limits import LOG_HEAD_BYTES, LOG_TAIL_BYTES
from pto_harness.log import TaskLog
from pto_harness.manifest import small_bundle, write_bundle
from pto_harness.poller import Poller
from pto_harness.process import Command, Ended, Process
from pto_harness.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from pto_harness.guard import Guard
    from pto_harness.poller import Then

    Result = TypeVar("Result")
    Steps = Generator["Command | Callable[[], Any]", Any, Result]
    """Commands to run and functions that may block; what comes of each is sent back."""
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
    """Run one task to its end and return its result, as ``TaskRun`` says; never raises for what the task does."""
    poller = Poller()
    outcome: list[tuple[Any, BaseException | None]] = []
    run = TaskRun(task, poller, lambda *ended: outcome.append(ended), work, cancel, on_line, guard)
    try:
        run.start()
        poller.run_until(lambda: bool(outcome))
    except BaseException:
        run.abandon()
        raise
    finally:
        poller.close()
    result, error = outcome[0]
    if error is not None:
        raise error
    return dict(result)


class TaskRun:
    """One task in the hands of a Poller; many can be under way at once.

    ``task``: ``workspace`` and ``out`` (folders), ``log`` (file), ``files`` (see ``Workspace.fill``), ``command`` (text
    or list; without it ``work`` is called), ``env``, ``marker``, ``outputs``, ``checks``, ``time_limit_s``,
    ``memory_bytes``, ``secrets`` (values blanked out of the output), ``inline_bytes`` (a bundle up to this size comes
    with the result and not as files). The result has ``outcome``, ``failure``, ``reason``, ``hint``, ``tail``,
    ``exit_code``, ``duration_s``, ``files``, ``refused`` and, when files were made, the keys of ``write_bundle`` or of
    ``small_bundle``.
    """

    def __init__(
        self,
        task: dict[str, Any],
        poller: Poller,
        then: Then,
        work: Work | None = None,
        cancel: Cancel | None = None,
        on_line: Callable[[str, str], None] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._poller = poller
        self._then = then
        self._cancel = cancel or Cancel()
        self._guard = guard
        self._process: Process | None = None
        self._log = TaskLog(task.get("log", ""), LOG_HEAD_BYTES, LOG_TAIL_BYTES, on_line, task.get("secrets", ()))
        self._steps = _Attempt(task, self._log, self._cancel).run(work)

    def start(self) -> None:
        """Begin; ``then`` is called once: with the result, or with an error that is none of the task's."""
        self._advance(None, None)

    def abandon(self) -> None:
        """End its process at once, without calling ``then``."""
        self._steps.close()
        if self._process is not None:
            self._process.abandon()

    def _advance(self, value: Any, error: BaseException | None) -> None:
        self._process = None
        try:
            step = self._steps.send(value) if error is None else self._steps.throw(error)
        except StopIteration as ended:
            self._then(ended.value, None)
            return
        except Exception as fault:
            self._then(None, fault)
            return
        if isinstance(step, Command):
            self._process = Process(step, self._poller, self._log.feed, self._cancel, self._advance, self._guard)
            self._process.start()
        else:
            self._poller.aside(step, self._advance)


class _Attempt:
    """What is done, step by step, without a word about who waits and how."""

    def __init__(self, task: dict[str, Any], log: TaskLog, cancel: Cancel) -> None:
        self._task = task
        self._log = log
        self._cancel = cancel
        self._began = time.monotonic()
        limit = task.get("time_limit_s") or 0
        self._until = self._began + limit if limit else None

    def run(self, work: Work | None) -> Steps[dict[str, Any]]:
        """The result. What is yielded is to be run or called, and its outcome sent back."""
        result: dict[str, Any] = {"outcome": "succeeded", "failure": None, "reason": "", "hint": "", "exit_code": None}
        has_failed = False
        try:
            result.update((yield from self._succeed(work)))
        except _Failed as failed:
            result.update(
                outcome="cancelled" if failed.failure == "cancelled" else "failed",
                failure=failed.failure,
                reason=str(failed),
                hint=failed.hint,
                exit_code=failed.exit_code,
            )
            has_failed = True
            with contextlib.suppress(OSError):
                self._log.note(str(failed))
        finally:
            # What could not be written may be the log itself; the failure is told all the same.
            with contextlib.suppress(OSError) if has_failed else contextlib.nullcontext():
                self._log.close()
        if has_failed:
            result["tail"] = self._log.tail()
        result["log_bytes"] = self._log.size
        result["duration_s"] = round(time.monotonic() - self._began, 6)
        return result

    def _succeed(self, work: Work | None) -> Steps[dict[str, Any]]:
        task = self._task
        try:
            workspace = Workspace(Path(task["workspace"]))
            files = task.get("files", ())
            if files or not task.get("command"):
                yield partial(workspace.fill, files)
            exit_code = yield from self._work(workspace, work, None if files else workspace.make)
            if workspace.is_empty:
                result = self._take([], list(task.get("outputs", ())))
            else:
                result = yield partial(self._search, workspace)
        except (WorkspaceError, OSError) as error:
            raise _unusable(error) from error
        for check in task.get("checks", ()):
            yield from self._check(workspace, check)
        return {**result, "exit_code": exit_code, "refused": workspace.refused}

    def _work(self, workspace: Workspace, work: Work | None, before: Callable[[], None] | None) -> Steps[int | None]:
        command = self._task.get("command")
        if command:
            ended = yield from self._command(workspace, command, before)
            self._judge(ended, "the command")
            return ended.exit_code
        if work is not None:
            yield partial(self._call, work, workspace.folder)
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

    def _search(self, workspace: Workspace) -> dict[str, Any]:
        declared = list(self._task.get("outputs", ()))
        paths, missing = workspace.matching(declared) if declared else (workspace.changed(), [])
        return self._take(paths, missing, workspace.folder)

    def _take(self, paths: list[str], missing: list[str], folder: Path | None = None) -> dict[str, Any]:
        if missing:
            names = ", ".join(repr(pattern) for pattern in missing)
            hint = "Check the path in the plan and where the command writes; outputs are relative to the workspace."
            raise _Failed("task", f"declared output {names} is missing", hint)
        if folder is None or not paths:
            return {"files": 0}
        small = small_bundle(folder, paths, self._task.get("inline_bytes", 0))
        return small or write_bundle(folder, paths, Path(self._task["out"]))

    def _check(self, workspace: Workspace, check: str) -> Steps[None]:
        self._log.note(f"check: {check}")
        self._judge((yield from self._command(workspace, check)), f"the check {check!r}")

    def _command(
        self, workspace: Workspace, command: str | list[str], before: Callable[[], None] | None = None
    ) -> Steps[Ended]:
        left = 0.0 if self._until is None else max(0.001, self._until - time.monotonic())
        try:
            ended: Ended = yield Command(
                command,
                cwd=str(workspace.folder),
                env=self._task.get("env", {}),
                time_limit_s=left,
                memory_bytes=self._task.get("memory_bytes") or 0,
                marker=self._task.get("marker", ""),
                before=before,
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
        return ended

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


def _unusable(error: WorkspaceError | OSError) -> _Failed:
    cause = error.__cause__ if isinstance(error, WorkspaceError) else error
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "Free some space on the disk of the workspaces." if is_full else ""
    text = str(error) if isinstance(error, WorkspaceError) else f"the workspace cannot be used: {error}"
    return _Failed("infra", text, hint)
