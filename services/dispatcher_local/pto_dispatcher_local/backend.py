"""The local lane as a backend: each attempt is a run of the harness; commands are real processes.

Imports core, harness, ports and proto. Invariants: outputs, log and tree are stored before TaskFinished names them; no
process outlives the dispatcher, however that ends (see ``pto_harness.guard``). All attempts are watched by one poller
in the event loop, since a thread per task costs more than the task; only what blocks goes to threads.
"""

import asyncio
import secrets
import shutil
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from pto_core.merge import overlay
from pto_dispatcher_local.assignment import describe
from pto_dispatcher_local.bench import LocalBench
from pto_dispatcher_local.materials import Conflicting, Materials
from pto_dispatcher_local.polling import LoopPoller
from pto_harness import Cancel, Desk, Sandbox, TaskRun, WorkFailed, find_sandbox
from pto_harness.environment import OWNER
from pto_harness.guard import Guard
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore, StoreFull
from pto_ports.clock import Clock
from pto_ports.engine import AgentTask, AttemptLimits, EngineError, TaskEngine
from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, RunId, TaskId
from pto_proto.manifests import Manifest, Tree, TreeFile
from pto_runtime.logs import get_logger

Name = tuple[RunId, TaskId, int, int]
NOTHING_YET: Mapping[str, Any] = {}
"""Instead of a task that was not described yet: no agent has worked."""


class _Identity(TypedDict):
    at: int
    cause: int
    task: TaskId
    attempt: int
    round: int
    instance: InstanceId


class LocalBackend:
    """Runs ``capacity`` attempts at once, each in a workspace of its own."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        clock: Clock,
        instance: InstanceId,
        capacity: int,
        work_folder: Callable[[str], Path],
        cache: Path,
        engines: Mapping[str, TaskEngine],
        host_environment: Mapping[str, str],
        find_sandbox: Callable[[], Sandbox] = find_sandbox,
    ) -> None:
        self._blobs = blobs
        self._clock = clock
        self._instance = instance
        self._work_folder = work_folder
        self._engines = engines
        self._host_environment = dict(host_environment)
        self._find_sandbox = find_sandbox
        self._materials = Materials(blobs, cache)
        self._capacity = capacity
        self._poller: LoopPoller | None = None
        self._owner = secrets.token_hex(8)
        self._guard: Guard | None = None
        self._report: Report | None = None
        self._live: LiveLine | None = None
        self._running: dict[Name, Cancel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_ended = asyncio.Event()
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """Noops, commands, and agent tasks of the engines it was given."""
        return ("noop", "command", *(f"agent:{name}" for name in self._engines))

    async def open(self, report: Report, live: LiveLine) -> None:
        """Keep where to report."""
        self._report = report
        self._live = live
        self._poller = LoopPoller(self._capacity)

    async def start(self, order: Order) -> None:
        """Start the attempt; noops without anything to merge are answered at once."""
        ready = order.ready
        if ready.spec.noop and len(ready.trees) < 2:
            tree = ready.trees[0] if ready.trees else NO_DIGEST
            identity = self._identity(order)
            self._say(order, ev.TaskStarted(**identity), ev.TaskFinished(**identity, outcome="succeeded", tree=tree))
            return
        if self._guard is None and not ready.spec.noop:
            self._guard = Guard(f"{OWNER}={self._owner}")
        cancel = Cancel()
        self._running[_name(order)] = cancel
        if ready.trees or ready.inputs_digest:
            self._go(order, self._fetch_and_begin(order, cancel))
        else:
            try:
                self._begin(order, cancel, (), [])
            except Exception as error:
                self._end(order, self._failed_by(order, error))

    async def stop(self, order: Order, reason: str) -> bool:
        """Ask the attempt to end; it reports that itself."""
        cancel = self._running.get(_name(order))
        if cancel is not None:
            cancel.request(reason)
        return cancel is not None

    async def adopt(self, order: Order) -> bool:
        """Local processes die with their dispatcher."""
        return False

    async def close(self) -> None:
        """End all attempts; they are not reported, so that they are found again after a restart."""
        self._report = None
        for cancel in self._running.values():
            cancel.request("the dispatcher was stopped")
        while self._running:
            self._all_ended.clear()
            await self._all_ended.wait()
        if self._poller is not None:
            self._poller.close()
        if self._guard is not None:
            self._guard.close()

    # --- one attempt: fetch, begin, ended, keep, end ---

    def _go(self, order: Order, work: Coroutine[Any, Any, None], task: Mapping[str, Any] = NOTHING_YET) -> None:
        """A part of an attempt that waits for something; if it fails, so does the attempt."""

        async def judged() -> None:
            try:
                await work
            except Exception as error:
                self._end(order, _with_costs(order, self._failed_by(order, error), task))

        waiting = asyncio.create_task(judged())
        self._tasks.add(waiting)
        waiting.add_done_callback(self._tasks.discard)

    async def _fetch_and_begin(self, order: Order, cancel: Cancel) -> None:
        seen = await self._materials.seen_by(order.ready)
        if cancel.requested:
            self._end(order, self._cancelled(order, cancel))
            return
        if order.ready.spec.noop:
            self._say(order, ev.TaskStarted(**self._identity(order)))
            tree = await self._blobs.put(msgspec.json.encode(Tree(files=seen)))
            self._end(order, ev.TaskFinished(**self._identity(order), outcome="succeeded", tree=tree))
            return
        self._begin(order, cancel, seen, await self._materials.files_for(order.ready, seen))

    def _begin(self, order: Order, cancel: Cancel, seen: tuple[TreeFile, ...], files: list[dict[str, Any]]) -> None:
        ready = order.ready
        engine = self._engines.get(ready.engine)
        if cancel.requested:
            self._end(order, self._cancelled(order, cancel))
            return
        if ready.spec.agent and engine is None:
            self._end(order, self._failed(order, "config", f"this dispatcher has no engine {ready.engine!r}"))
            return
        if self._poller is None:
            raise RuntimeError("an attempt cannot be started before the backend was opened")
        task = describe(order, self._work_folder(order.run), self._host_environment, self._owner)
        task["files"] = files
        live = self._live
        run = TaskRun(
            task,
            self._poller,
            partial(self._ended, order, seen, task),
            work=self._agent(order, engine, task) if engine is not None and ready.spec.agent else None,
            cancel=cancel,
            guard=self._guard,
            on_line=None if live is None else partial(live, order),
            find=self._find_sandbox,
        )
        self._say(order, ev.TaskStarted(**self._identity(order)))
        run.start()

    def _agent(self, order: Order, engine: TaskEngine, task: dict[str, Any]) -> Callable[[Desk], None]:
        ready = order.ready
        # The harness leaves a thread alone at the limit, so the engine has to end by itself then.
        limits = AttemptLimits(time_s=task["time_limit_s"]) if task["time_limit_s"] else AttemptLimits()

        def work(desk: Desk) -> None:
            bench = task["bench"] = LocalBench(desk)
            wanted = AgentTask(
                requirement=ready.requirement,
                spec=ready.spec,
                model=ready.model,
                limits=limits,
                notes=desk.notes,
                evidence=ready.evidence,
            )
            try:
                bench.total = engine.execute(wanted, bench).spent
                bench.is_final = True
            except EngineError as error:
                bench.total, bench.retry_after_s = error.spent, error.retry_after_s
                bench.is_final = True
                raise WorkFailed(str(error), error.failure, error.hint) from error

        return work

    def _ended(
        self,
        order: Order,
        seen: tuple[TreeFile, ...],
        task: dict[str, Any],
        result: dict[str, Any] | None,
        error: BaseException | None,
    ) -> None:
        """The harness is done with it; what is left is to store what it made."""
        if result is None:
            self._end(order, _with_costs(order, self._failed_by(order, error), task))
            return
        for refused in result.get("refused", ()):
            self._logger.warning("a file was not taken over", run=order.run, task=order.ready.task, file=refused)
        is_tree_known = result["outcome"] != "succeeded" or len(order.ready.trees) <= 1
        if is_tree_known and not result["log_bytes"] and not result.get("files") and not order.ready.spec.agent:
            trees = order.ready.trees if result["outcome"] == "succeeded" else ()
            self._end(order, self._finished(order, result, tree=trees[0] if trees else NO_DIGEST))
        else:
            self._go(order, self._keep(order, seen, task, result), task)

    async def _keep(
        self, order: Order, seen: tuple[TreeFile, ...], task: dict[str, Any], result: dict[str, Any]
    ) -> None:
        """Store everything, at once and not one after the other, so that it shares its way to the disk."""

        async def log() -> Digest:
            return await self._blobs.put_file(Path(task["log"])) if result["log_bytes"] else NO_DIGEST

        try:
            log_digest, (manifest, tree) = await asyncio.gather(log(), self._store(order.ready, result, seen))
        finally:
            if "bundle" in result or order.ready.spec.agent:
                await asyncio.to_thread(shutil.rmtree, task["out"], ignore_errors=True)
        finished = self._finished(order, result, log=log_digest, manifest=manifest, tree=tree)
        self._end(order, _with_costs(order, finished, task))

    async def _store(
        self, ready: ev.TaskReady, result: dict[str, Any], seen: tuple[TreeFile, ...]
    ) -> tuple[Digest, Digest]:
        """(manifest, tree) of a success, both stored."""
        if result["outcome"] != "succeeded":
            return NO_DIGEST, NO_DIGEST
        if not result.get("files"):
            if len(ready.trees) <= 1:
                return NO_DIGEST, ready.trees[0] if ready.trees else NO_DIGEST
            return NO_DIGEST, await self._blobs.put(msgspec.json.encode(Tree(files=seen)))
        data = result.get("manifest_data") or Path(result["manifest"]).read_bytes()
        made = overlay(seen, msgspec.json.decode(data, type=Manifest), ready.task)
        inline = result.get("bundle_data")
        _, manifest, tree = await asyncio.gather(
            self._blobs.put(inline) if inline else self._blobs.put_file(Path(result["bundle"])),
            self._blobs.put(data),
            self._blobs.put(msgspec.json.encode(made)),
        )
        return manifest, tree

    def _end(self, order: Order, finished: ev.TaskFinished) -> None:
        if self._running.pop(_name(order), None) is None:
            return
        self._say(order, finished)
        if not self._running:
            self._all_ended.set()

    def _finished(
        self,
        order: Order,
        result: dict[str, Any],
        *,
        tree: Digest,
        manifest: Digest = NO_DIGEST,
        log: Digest = NO_DIGEST,
    ) -> ev.TaskFinished:
        return ev.TaskFinished(
            **self._identity(order),
            outcome=result["outcome"],
            failure=result["failure"],
            reason=result["reason"],
            hint=result["hint"],
            tail=tuple(result.get("tail", ())),
            exit_code=result["exit_code"],
            duration_s=result["duration_s"],
            files=result.get("files", 0),
            tree=tree,
            manifest=manifest,
            log=log,
            sandbox=result["sandbox"] or ("none" if order.ready.spec.agent else ""),
        )

    def _failed_by(self, order: Order, error: BaseException | None) -> ev.TaskFinished:
        if isinstance(error, Conflicting):
            hint = "Let one task depend on the other, or choose --on-conflict latest or keep-both."
            return self._failed(order, "task", str(error), hint)
        if isinstance(error, BlobMissing | BlobDamaged):
            return self._failed(order, "infra", f"what the task needs cannot be fetched: {error}")
        if isinstance(error, StoreFull | OSError):
            return self._failed(order, "infra", f"the outputs cannot be stored: {error}", "Free space on the disk.")
        if isinstance(error, LogUnavailable):
            return self._failed(order, "infra", f"the blob store is away: {error}")
        self._logger.error("attempt failed by a fault of the dispatcher", task=order.ready.task, exc_info=error)
        return self._failed(order, "infra", f"a fault of the dispatcher: {error!r}")

    def _failed(self, order: Order, failure: ev.FailureClass, reason: str, hint: str = "") -> ev.TaskFinished:
        return ev.TaskFinished(
            **self._identity(order), outcome="failed", failure=failure, reason=reason, hint=hint, tail=(reason,)
        )

    def _cancelled(self, order: Order, cancel: Cancel) -> ev.TaskFinished:
        """Before anything was started."""
        reason = cancel.reason or "cancelled"
        return ev.TaskFinished(**self._identity(order), outcome="cancelled", failure="cancelled", reason=reason)

    def _identity(self, order: Order) -> _Identity:
        ready = order.ready
        return _Identity(
            at=self._clock.now_ms(),
            cause=order.seq,
            task=ready.task,
            attempt=ready.attempt,
            round=ready.round,
            instance=self._instance,
        )

    def _say(self, order: Order, *entries: ev.Entry) -> None:
        report = self._report
        if report is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                report(order, *entries)


def _with_costs(order: Order, finished: ev.TaskFinished, task: Mapping[str, Any]) -> ev.TaskFinished:
    """With what its agent has cost, if it had one, and when it should be tried again.

    An engine that was left before it had ended may still be charged for what it asked: nobody knows how much.
    """
    bench: LocalBench | None = task.get("bench")
    if bench is None:
        return finished
    spent, wait = bench.total, bench.retry_after_s
    cost = spent.cost_usd if bench.is_final or not order.ready.reserved_usd else None
    return msgspec.structs.replace(finished, usage=spent.usage, cost_usd=cost, retry_after_s=wait)


def _name(order: Order) -> Name:
    ready = order.ready
    return (order.run, ready.task, ready.round, ready.attempt)
