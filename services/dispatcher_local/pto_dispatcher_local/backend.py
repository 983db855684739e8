"""Local threads as a backend: each attempt is a thread that runs the harness; commands are real processes.

Imports core, harness, ports and proto. Invariants: outputs, log and tree are stored before TaskFinished names them; no
process outlives the dispatcher, however that ends (see ``pto_harness.guard``).
"""

import asyncio
import secrets
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import structlog

from pto_core.merge import overlay
from pto_core.units import parse_memory_bytes, parse_time_s
from pto_dispatcher_local.bench import LocalBench
from pto_dispatcher_local.environment import ATTEMPT, task_environment
from pto_dispatcher_local.materials import Conflicting, Materials
from pto_harness import Cancel, WorkFailed, run_task
from pto_harness.environment import OWNER
from pto_harness.guard import Guard
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore, StoreFull
from pto_ports.clock import Clock
from pto_ports.engine import AgentTask, EngineError, TaskEngine
from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, RunId, TaskId
from pto_proto.manifests import Manifest, Tree, TreeFile

Name = tuple[RunId, TaskId, int, int]


class _Identity(TypedDict):
    at: int
    cause: int
    task: TaskId
    attempt: int
    round: int
    instance: InstanceId


class LocalBackend:
    """Runs ``capacity`` attempts at once, each in a thread and a workspace of its own."""

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
    ) -> None:
        self._blobs = blobs
        self._clock = clock
        self._instance = instance
        self._work_folder = work_folder
        self._engines = engines
        self._host_environment = host_environment
        self._materials = Materials(blobs, cache)
        self._threads = ThreadPoolExecutor(max_workers=capacity, thread_name_prefix="task")
        self._owner = secrets.token_hex(8)
        self._guard: Guard | None = None
        self._report: Report | None = None
        self._live: LiveLine | None = None
        self._running: dict[Name, tuple[Cancel, asyncio.Task[None]]] = {}
        self._logger = structlog.get_logger()

    def can_run(self) -> tuple[str, ...]:
        """Noops, commands, and agent tasks of the engines it was given."""
        return ("noop", "command", *(f"agent:{name}" for name in self._engines))

    async def open(self, report: Report, live: LiveLine) -> None:
        """Keep where to report."""
        self._report = report
        self._live = live

    async def start(self, order: Order) -> None:
        """Start the attempt; noops without anything to merge are answered at once."""
        ready = order.ready
        if ready.spec.noop and len(ready.trees) < 2:
            tree = ready.trees[0] if ready.trees else NO_DIGEST
            self._say(order, ev.TaskStarted(**self._identity(order)))
            self._say(order, ev.TaskFinished(**self._identity(order), outcome="succeeded", tree=tree))
            return
        if self._guard is None and not ready.spec.noop:
            self._guard = Guard(f"{OWNER}={self._owner}")
        cancel = Cancel()
        task = asyncio.create_task(self._attempt(order, cancel))
        self._running[_name(order)] = (cancel, task)
        task.add_done_callback(lambda _: self._running.pop(_name(order), None))

    async def stop(self, order: Order, reason: str) -> bool:
        """Ask the attempt to end; it reports that itself."""
        running = self._running.get(_name(order))
        if running is not None:
            running[0].request(reason)
        return running is not None

    async def adopt(self, order: Order) -> bool:
        """Local processes die with their dispatcher."""
        return False

    async def close(self) -> None:
        """End all attempts; they are not reported, so that they are found again after a restart."""
        self._report = None
        running = list(self._running.values())
        for cancel, _ in running:
            cancel.request("the dispatcher was stopped")
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        self._threads.shutdown(wait=False)
        if self._guard is not None:
            self._guard.close()

    # --- one attempt ---

    async def _attempt(self, order: Order, cancel: Cancel) -> None:
        try:
            finished = await self._run(order, cancel)
        except Conflicting as error:
            hint = "Let one task depend on the other, or choose --on-conflict latest or keep-both."
            finished = self._failed(order, "task", str(error), hint)
        except (BlobMissing, BlobDamaged) as error:
            finished = self._failed(order, "infra", f"what the task needs cannot be fetched: {error}")
        except (StoreFull, OSError) as error:
            finished = self._failed(order, "infra", f"the outputs cannot be stored: {error}", "Free space on the disk.")
        except LogUnavailable as error:
            finished = self._failed(order, "infra", f"the blob store is away: {error}")
        except Exception as error:
            self._logger.exception("attempt failed by a fault of the dispatcher", task=order.ready.task)
            finished = self._failed(order, "infra", f"a fault of the dispatcher: {error!r}")
        self._say(order, finished)

    async def _run(self, order: Order, cancel: Cancel) -> ev.TaskFinished:
        ready = order.ready
        seen = await self._materials.seen_by(ready)
        if ready.spec.noop:
            self._say(order, ev.TaskStarted(**self._identity(order)))
            tree = await self._blobs.put(msgspec.json.encode(Tree(files=seen)))
            return ev.TaskFinished(**self._identity(order), outcome="succeeded", tree=tree)
        engine = self._engines.get(ready.engine)
        if ready.spec.agent and engine is None:
            return self._failed(order, "config", f"this dispatcher has no engine {ready.engine!r}")
        folder = self._work_folder(order.run) / f"executor_{ready.slot}"
        name = f"{ready.task}.{ready.attempt}" + (f".r{ready.round}" if ready.round else "")
        task = self._describe(order, folder, name)
        task["files"] = await self._materials.files_for(ready, seen)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads, self._work, order, task, engine, cancel)
        try:
            return await self._finished(order, result, seen, Path(task["log"]))
        finally:
            shutil.rmtree(task["out"], ignore_errors=True)

    def _describe(self, order: Order, folder: Path, name: str) -> dict[str, Any]:
        spec = order.ready.spec
        environment = task_environment(self._host_environment, order, self._owner)
        return {
            "workspace": str(folder / name),
            "out": str(folder / f".{name}.out"),
            "log": str(folder / f"{name}.log"),
            "command": list(spec.command) if isinstance(spec.command, tuple) else spec.command,
            "env": environment,
            "secrets": [environment[name] for name in spec.env if name in environment],
            "marker": f"{ATTEMPT}={environment[ATTEMPT]}",
            "outputs": list(spec.outputs),
            "writes": list(spec.writes),
            "checks": list(spec.checks),
            "time_limit_s": float(parse_time_s(spec.resources.time)) if spec.resources.time else 0.0,
            "memory_bytes": parse_memory_bytes(spec.resources.memory) if spec.resources.memory else 0,
        }

    def _work(self, order: Order, task: dict[str, Any], engine: TaskEngine | None, cancel: Cancel) -> dict[str, Any]:
        """In a worker thread."""
        live = self._live
        spec, requirement = order.ready.spec, order.ready.requirement

        def agent(workspace: Path) -> None:
            if engine is not None:
                note = (lambda line: None) if live is None else (lambda line: live(order, "stdout", line))
                bench = LocalBench(task, workspace, cancel=cancel, guard=self._guard, note=note)
                try:
                    engine.execute(AgentTask(requirement=requirement, spec=spec), bench)
                except EngineError as error:
                    raise WorkFailed(str(error), error.failure, error.hint) from error

        self._say(order, ev.TaskStarted(**self._identity(order)))
        return run_task(
            task,
            work=agent if spec.agent else None,
            cancel=cancel,
            guard=self._guard,
            on_line=None if live is None else lambda stream, text: live(order, stream, text),
        )

    async def _finished(
        self, order: Order, result: dict[str, Any], seen: tuple[TreeFile, ...], log: Path
    ) -> ev.TaskFinished:
        ready = order.ready
        log_digest = await self._blobs.put_file(log) if result["log_bytes"] else NO_DIGEST
        manifest = tree = NO_DIGEST
        if result["outcome"] == "succeeded":
            manifest, tree = await self._store(ready, result, seen)
        for refused in result.get("refused", ()):
            self._logger.warning("a file was not taken over", run=order.run, task=ready.task, file=refused)
        return ev.TaskFinished(
            **self._identity(order),
            outcome=result["outcome"],
            failure=result["failure"],
            reason=result["reason"],
            hint=result["hint"],
            tail=tuple(result.get("tail", ())),
            exit_code=result["exit_code"],
            manifest=manifest,
            tree=tree,
            log=log_digest,
            duration_s=result["duration_s"],
            files=result.get("files", 0),
        )

    async def _store(
        self, ready: ev.TaskReady, result: dict[str, Any], seen: tuple[TreeFile, ...]
    ) -> tuple[Digest, Digest]:
        """(manifest, tree) of a success, both stored."""
        if not result.get("files"):
            if len(ready.trees) <= 1:
                return NO_DIGEST, ready.trees[0] if ready.trees else NO_DIGEST
            return NO_DIGEST, await self._blobs.put(msgspec.json.encode(Tree(files=seen)))
        await self._blobs.put_file(Path(result["bundle"]))
        data = await asyncio.to_thread(Path(result["manifest"]).read_bytes)
        manifest = await self._blobs.put(data)
        tree = overlay(seen, msgspec.json.decode(data, type=Manifest), ready.task)
        return manifest, await self._blobs.put(msgspec.json.encode(tree))

    def _failed(self, order: Order, failure: ev.FailureClass, reason: str, hint: str = "") -> ev.TaskFinished:
        return ev.TaskFinished(
            **self._identity(order), outcome="failed", failure=failure, reason=reason, hint=hint, tail=(reason,)
        )

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


def _name(order: Order) -> Name:
    ready = order.ready
    return (order.run, ready.task, ready.round, ready.attempt)
