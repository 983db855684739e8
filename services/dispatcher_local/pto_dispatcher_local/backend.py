"""The local lane as a backend: each attempt is a run of the harness; commands are real processes.

Imports attempts, harness, ports and proto. Invariants: outputs, log and tree are stored before TaskFinished names them;
no process outlives the dispatcher, however that ends (see ``pto_harness.guard``). All attempts are watched by one
poller in the event loop, since a thread per task costs more than the task; only what blocks goes to threads.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pto_attempts.agent import AgentWork, agent_task
from pto_attempts.assignment import describe
from pto_attempts.materials import Materials
from pto_attempts.outcome import Bill, Outcomes, with_bill
from pto_attempts.polling import LoopPoller
from pto_harness import Cancel, Sandbox, TaskRun, find_sandbox
from pto_harness.environment import OWNER
from pto_harness.guard import Guard
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobStore
from pto_ports.clock import Clock
from pto_ports.engine import TaskEngine
from pto_proto import events as ev
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.manifests import TreeFile
from pto_runtime.logs import get_logger

Name = tuple[RunId, TaskId, int, int]


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
        self._outcomes = Outcomes(blobs, clock, instance)
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
            self._say(order, self._outcomes.started(order), self._outcomes.noop_at_once(order))
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
                self._end(order, self._outcomes.failed_by(order, error))

    async def stop(self, order: Order, reason: str) -> bool:
        """Ask the attempt to end; it reports that itself."""
        cancel = self._running.get(_name(order))
        if cancel is not None:
            cancel.request(reason)
        return cancel is not None

    async def adopt(self, order: Order) -> bool:
        """Local processes die with their dispatcher."""
        return False

    async def sweep(self) -> None:
        """Nothing is kept for a restart."""

    def forget(self, order: Order) -> None:
        """Nothing is kept for a restart."""

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

    def _go(self, order: Order, work: Coroutine[Any, Any, None], agent: AgentWork | None = None) -> None:
        """A part of an attempt that waits for something; if it fails, so does the attempt."""

        async def judged() -> None:
            try:
                await work
            except Exception as error:
                self._end(order, _with_costs(order, self._outcomes.failed_by(order, error), agent))

        waiting = asyncio.create_task(judged())
        self._tasks.add(waiting)
        waiting.add_done_callback(self._tasks.discard)

    async def _fetch_and_begin(self, order: Order, cancel: Cancel) -> None:
        seen = await self._materials.seen_by(order.ready)
        if cancel.requested:
            self._end(order, self._outcomes.cancelled(order, cancel.reason))
            return
        if order.ready.spec.noop:
            self._say(order, self._outcomes.started(order))
            self._end(order, await self._outcomes.noop(order, seen))
            return
        self._begin(order, cancel, seen, await self._materials.files_for(order.ready, seen))

    def _begin(self, order: Order, cancel: Cancel, seen: tuple[TreeFile, ...], files: list[dict[str, Any]]) -> None:
        ready = order.ready
        engine = self._engines.get(ready.engine)
        if cancel.requested:
            self._end(order, self._outcomes.cancelled(order, cancel.reason))
            return
        if ready.spec.agent and engine is None:
            self._end(order, self._outcomes.failed(order, "config", f"this dispatcher has no engine {ready.engine!r}"))
            return
        if self._poller is None:
            raise RuntimeError("an attempt cannot be started before the backend was opened")
        task = describe(order, self._work_folder(order.run), self._host_environment, self._owner)
        task["files"] = files
        live = self._live
        work = None
        if engine is not None and ready.spec.agent:
            work = AgentWork(engine, agent_task(order, task["time_limit_s"]))
        run = TaskRun(
            task,
            self._poller,
            partial(self._ended, order, seen, task, work),
            work=work,
            cancel=cancel,
            guard=self._guard,
            on_line=None if live is None else partial(live, order),
            find=self._find_sandbox,
        )
        self._say(order, self._outcomes.started(order))
        run.start()

    def _ended(
        self,
        order: Order,
        seen: tuple[TreeFile, ...],
        task: dict[str, Any],
        agent: AgentWork | None,
        result: dict[str, Any] | None,
        error: BaseException | None,
    ) -> None:
        """The harness is done with it; what is left is to store what it made."""
        if result is None:
            self._end(order, _with_costs(order, self._outcomes.failed_by(order, error), agent))
            return
        for refused in result.get("refused", ()):
            self._logger.warning("a file was not taken over", run=order.run, task=order.ready.task, file=refused)
        if self._outcomes.needs_keeping(order, result):
            self._go(order, self._keep(order, seen, task, agent, result), agent)
        else:
            self._end(order, self._outcomes.without_keeping(order, result))

    async def _keep(
        self,
        order: Order,
        seen: tuple[TreeFile, ...],
        task: dict[str, Any],
        agent: AgentWork | None,
        result: dict[str, Any],
    ) -> None:
        finished = await self._outcomes.keep(order, seen, task, result)
        self._end(order, _with_costs(order, finished, agent))

    def _end(self, order: Order, finished: ev.TaskFinished) -> None:
        if self._running.pop(_name(order), None) is None:
            return
        self._say(order, finished)
        if not self._running:
            self._all_ended.set()

    def _say(self, order: Order, *entries: ev.Entry) -> None:
        report = self._report
        if report is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                report(order, *entries)


def _with_costs(order: Order, finished: ev.TaskFinished, agent: AgentWork | None) -> ev.TaskFinished:
    """With what its agent has cost, if it had one.

    An engine that was left before it had ended may still be charged for what it asked: nobody knows how much.
    """
    if agent is None:
        return finished
    return with_bill(order, finished, Bill(agent.spent, agent.is_final, agent.retry_after_s))


def _name(order: Order) -> Name:
    ready = order.ready
    return (order.run, ready.task, ready.round, ready.attempt)
