"""One task from start to result: fill the workspace, do the work, take the outputs, run the checks.

Imports the standard library only. Invariant: ``succeeded`` is said only after every declared output was found and
stored in the bundle and every check passed; the bundle is made before the checks, so that they cannot change what is
kept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pto_harness.box import Box
from pto_harness.cancel import Cancel
from pto_harness.desk import Desk
from pto_harness.failure import Failed, WorkFailed, judged_end, missing_outputs, not_started
from pto_harness.kept import Kept
from pto_harness.limits import LOG_HEAD_BYTES, LOG_TAIL_BYTES
from pto_harness.log import TaskLog
from pto_harness.manifest import small_bundle, write_bundle
from pto_harness.poller import Poller
from pto_harness.process import Command, Ended, Process
from pto_harness.room import holds_more
from pto_harness.sandbox import NoSandbox, find_sandbox
from pto_harness.stopwatch import awake_s
from pto_harness.unfinished import earlier_work
from pto_harness.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from typing import Protocol

    from pto_harness.guard import Guard
    from pto_harness.poller import Then
    from pto_harness.sandbox import Sandbox
    from pto_harness.verdict import Verdict

    Result = TypeVar("Result")
    Steps = Generator["Command | Callable[[], Any]", Any, Result]
    """Commands to run and functions that may block; what comes of each is sent back."""
    Work = Callable[["Desk"], None]
    """Does an agent's work at a desk; raises WorkFailed."""

    class Launched(Protocol):
        """A command in the hands of whoever runs it, such as ``Process``."""

        def start(self) -> None:
            """Begin; what comes of it is told once: Ended, or why nobody knows how it ended."""

        def abandon(self) -> None:
            """End it at once, without telling."""

    Launch = Callable[[Command, Poller, Callable[[str, bytes], None], Cancel, Then, "Guard | None"], Launched]
else:
    Work = Launch = Callable


def run_task(
    task: dict[str, Any],
    *,
    work: Work | None = None,
    cancel: Cancel | None = None,
    on_line: Callable[[str, str], None] | None = None,
    guard: Guard | None = None,
    find: Callable[[], Sandbox] = find_sandbox,
) -> dict[str, Any]:
    """Run one task to its end and return its result, as ``TaskRun`` says; never raises for what the task does."""
    poller = Poller()
    outcome: list[tuple[Any, BaseException | None]] = []
    run = TaskRun(task, poller, lambda *ended: outcome.append(ended), work, cancel, on_line, guard, find)
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
    with the result and not as files), ``most_bytes`` (what the workspace may hold when its outputs are taken),
    ``owner`` (user and group of all that is put there), ``sandbox`` (``required``: all that it runs is confined, or it
    fails with ``config``; ``wanted``: as well as the host can; else it is not). Where ``launch`` runs commands that
    outlive this process, also ``resumed`` (the attempt began in another one, ``began_ago_s`` ago) and ``kept`` (a file
    that remembers which outputs were taken before the checks). For the work of an agent also ``writes`` (its
    scope), ``feedback_turns``, ``unfinished`` (the file that marks it as not ended) and ``earlier`` (see
    ``earlier_work``). The result has ``outcome``, ``failure``, ``reason``, ``hint``, ``tail``, ``exit_code``,
    ``duration_s``, ``files``, ``refused``, ``sandbox`` (the level that was had; empty if none was asked for) and, when
    files were made, the keys of ``write_bundle`` or of ``small_bundle``.
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
        find: Callable[[], Sandbox] = find_sandbox,
        launch: Launch = Process,
    ) -> None:
        self._poller = poller
        self._then = then
        self._cancel = cancel or Cancel()
        self._guard = guard
        self._launch = launch
        self._process: Launched | None = None
        self._log = TaskLog(task.get("log", ""), LOG_HEAD_BYTES, LOG_TAIL_BYTES, on_line, task.get("secrets", ()))
        # Sandboxes know no working folder of this process.
        task = {**task, **{name: os.path.abspath(task[name]) for name in ("workspace", "out")}}  # noqa: PTH100
        self._steps = _Attempt(task, self._log, self._cancel, guard, find).run(work)

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
            self._process = self._launch(step, self._poller, self._log.feed, self._cancel, self._advance, self._guard)
            self._process.start()
        else:
            self._poller.aside(step, self._advance)


class _Attempt:
    """What is done, step by step, without a word about who waits and how."""

    def __init__(
        self, task: dict[str, Any], log: TaskLog, cancel: Cancel, guard: Guard | None, find: Callable[[], Sandbox]
    ) -> None:
        self._task = task
        self._log = log
        self._cancel = cancel
        self._guard = guard
        self._find = find
        self._sandbox: Sandbox | None = None
        self._level = ""
        ago = task.get("began_ago_s", 0.0)
        self._began = time.monotonic() - ago
        limit = task.get("time_limit_s") or 0
        self._until = awake_s() - ago + limit if limit else None

    def run(self, work: Work | None) -> Steps[dict[str, Any]]:
        """The result. What is yielded is to be run or called, and its outcome sent back."""
        result: dict[str, Any] = {"outcome": "succeeded", "failure": None, "reason": "", "hint": "", "exit_code": None}
        has_failed = False
        try:
            result.update((yield from self._succeed(work)))
        except Failed as failed:
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
        result["sandbox"] = self._level
        result["log_bytes"] = self._log.size
        result["duration_s"] = round(time.monotonic() - self._began, 6)
        return result

    def _succeed(self, work: Work | None) -> Steps[dict[str, Any]]:
        task = self._task
        if task.get("sandbox"):
            yield self._confine
        try:
            owner = task.get("owner")
            workspace = Workspace(Path(task["workspace"]), tuple(owner) if owner else None)
            files, is_there = task.get("files", ()), task.get("resumed", False)
            if is_there:
                yield partial(workspace.recall, files)
            elif files or not task.get("command"):
                yield partial(workspace.fill, files)
            if work is not None and not task.get("command"):
                return (yield from self._at_desk(workspace, work))
            exit_code = yield from self._work(workspace, None if files or is_there else workspace.make)
            if workspace.is_empty and not task.get("kept"):
                result = self._take([], list(task.get("outputs", ())))
            else:
                result = yield partial(self._search, workspace)
        except (WorkspaceError, OSError) as error:
            raise _unusable(error) from error
        for check in task.get("checks", ()):
            yield from self._check(workspace, check)
        return {**result, "exit_code": exit_code, "refused": workspace.refused}

    def _confine(self) -> None:
        try:
            self._sandbox = self._find()
        except NoSandbox as error:
            if self._task["sandbox"] == "required":
                raise Failed("config", str(error), error.hint) from error
        self._level = self._sandbox.level if self._sandbox is not None else "none"

    def _work(self, workspace: Workspace, before: Callable[[], None] | None) -> Steps[int | None]:
        command = self._task.get("command")
        if command:
            ended = yield from self._command(workspace, command, before)
            self._judge(ended, "the command")
            return ended.exit_code
        self._go_on()
        return None

    def _go_on(self) -> None:
        if self._cancel.requested:
            raise Failed("cancelled", self._cancel.reason or "cancelled")

    def _at_desk(self, workspace: Workspace, work: Work) -> Steps[dict[str, Any]]:
        """An agent's work: what it says of it counts for nothing, what the desk's judge finds does."""
        earlier = earlier_work(self._task)
        desk = Desk(
            self._task,
            workspace,
            self._log,
            cancel=self._cancel,
            guard=self._guard,
            until=self._until,
            sandbox=self._sandbox,
            notes=earlier[1] if earlier else "",
        )
        failure: str | None = "infra"
        try:
            if earlier:
                yield partial(workspace.carry, earlier[0], lambda path: not desk.refusal(path))
            self._go_on()
            desk.begin()
            yield partial(self._call, work, desk)
            self._go_on()
            verdict: Verdict = yield desk.verdict
            if verdict.failure is not None:
                raise verdict.failure
            failure = None
        except Failed as failed:
            failure = failed.failure
            raise
        finally:
            desk.end(failure)
        return {**verdict.kept, "exit_code": None, "refused": verdict.refused}

    def _call(self, work: Work, desk: Desk) -> None:
        """Do the work in a thread, which is left alone at a cancel or the time limit: nothing can end a thread."""
        self._go_on()  # there may have been a wait for this thread
        failures: list[BaseException] = []
        woken, done = threading.Event(), threading.Event()

        def run() -> None:
            try:
                work(desk)
            except Exception as error:
                failures.append(error)
            finally:
                done.set()
                woken.set()

        thread = threading.Thread(target=run, name="work", daemon=True)
        thread.start()
        self._cancel.listen(woken.set)
        try:
            while not woken.wait(self._left_s()) and self._left_s():
                pass  # it was stopped for a while, which does not count
        finally:
            self._cancel.unlisten(woken.set)
        for error in failures:
            if isinstance(error, Failed):
                raise error
            if isinstance(error, WorkFailed):
                raise Failed(error.failure, str(error), error.hint)
            raise Failed("task", f"the work failed: {error!r}")
        if not done.is_set() and not self._cancel.requested:
            limit = self._task["time_limit_s"]
            self._cancel.request("the time limit was reached")
            raise Failed("timeout", f"the work was given up at the time limit of {limit:g} s")

    def _left_s(self) -> float | None:
        """Until the time limit; None: there is none."""
        return None if self._until is None else max(0.0, self._until - awake_s())

    def _search(self, workspace: Workspace) -> dict[str, Any]:
        kept = Kept(self._task.get("kept", ""))
        known = kept.read()
        if known is not None:
            return known
        most = self._task.get("most_bytes", 0)
        if most and holds_more(str(workspace.folder), most, with_holes=True):
            hint = "Let it write less, or raise the limit of workspaces."
            raise Failed("task", f"the workspace holds more than {most // 2**20} MiB or too many files", hint)
        declared = list(self._task.get("outputs", ()))
        paths, missing = workspace.matching(declared) if declared else (workspace.changed(), [])
        return kept.write(self._take(paths, missing, workspace.folder))

    def _take(self, paths: list[str], missing: list[str], folder: Path | None = None) -> dict[str, Any]:
        if missing:
            raise missing_outputs(missing)
        if folder is None or not paths:
            return {"files": 0}
        small = None if self._task.get("kept") else small_bundle(folder, paths, self._task.get("inline_bytes", 0))
        return small or write_bundle(folder, paths, Path(self._task["out"]))

    def _check(self, workspace: Workspace, check: str) -> Steps[None]:
        self._log.note(f"check: {check}")
        self._judge((yield from self._command(workspace, check)), f"the check {check!r}")

    def _command(
        self, workspace: Workspace, command: str | list[str], before: Callable[[], None] | None = None
    ) -> Steps[Ended]:
        left = self._left_s()
        try:
            ended: Ended = yield Command(
                command,
                cwd=str(workspace.folder),
                env=self._task.get("env", {}),
                time_limit_s=0.0 if left is None else max(0.001, left),
                memory_bytes=self._task.get("memory_bytes") or 0,
                marker=self._task.get("marker", ""),
                before=before,
                wrap=None if self._sandbox is None else partial(self._sandbox.wrap, box=Box(str(workspace.folder))),
            )
        except (OSError, ValueError) as error:
            failed = not_started(command, error)
            if failed is None:
                raise
            raise failed from error
        return ended

    def _judge(self, ended: Ended, what: str) -> None:
        failed = judged_end(ended, what, self._task.get("time_limit_s") or 0.0, self._cancel.reason)
        if failed is not None:
            raise failed


def _unusable(error: WorkspaceError | OSError) -> Failed:
    cause = error.__cause__ if isinstance(error, WorkspaceError) else error
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "Free some space on the disk of the workspaces." if is_full else ""
    text = str(error) if isinstance(error, WorkspaceError) else f"the workspace cannot be used: {error}"
    return Failed("infra", text, hint)
