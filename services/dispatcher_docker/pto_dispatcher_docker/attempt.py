"""One attempt of the docker lane from its order to its end, also if it began before this process did.

Imports attempts, harness, ports and siblings. Invariant: it ends with exactly one TaskFinished, or is left to the next
incarnation.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pto_attempts.assignment import describe
from pto_attempts.materials import Materials
from pto_attempts.outcome import NO_BILL, Outcomes, with_bill
from pto_attempts.polling import LoopPoller
from pto_dispatcher_docker.agent import (
    ARGV,
    Places,
    Resolve,
    hand_over,
    prepare,
    read_end,
    resolved,
    unasked,
    unknown_bill,
)
from pto_dispatcher_docker.body import (
    PRIVATE,
    WORK,
    WORKSPACE,
    Mount,
    allowance,
    argv_of,
    container_environment,
    name_of,
    render_variables,
)
from pto_dispatcher_docker.command import ContainerCommand
from pto_dispatcher_docker.daemon import Seen
from pto_dispatcher_docker.limits import AGENT_GRACE_S, AGENT_SPARE_S
from pto_dispatcher_docker.site import Site, Wanted
from pto_harness import Cancel, TaskRun
from pto_harness.failure import Failed
from pto_harness.limits import LOG_HEAD_BYTES, LOG_TAIL_BYTES
from pto_harness.log import TaskLog
from pto_harness.process import Command, Ended
from pto_ports.backend import LiveLine, Order
from pto_proto import events as ev
from pto_proto.manifests import TreeFile

CONTAINER = "container"
"""What TaskFinished says about the sandbox; with what there was inside behind a plus sign."""


class Means(NamedTuple):
    """What all attempts of a dispatcher are done with."""

    site: Site
    materials: Materials
    outcomes: Outcomes
    resolve: Resolve
    poller: LoopPoller
    work_folder: Callable[[str], Path]
    host_environment: Mapping[str, str]
    prices: Path | None


class Attempt:
    """``say`` and ``live`` are where it reports."""

    def __init__(self, means: Means, order: Order, *, say: Callable[..., None], live: LiveLine | None) -> None:
        self.order = order
        self.cancel = Cancel()
        self.checks = 0
        """Containers that were made for its checks."""
        self._means = means
        self._report = say
        self._live = live
        self._found: Seen | None = None
        self._run: TaskRun | None = None
        self._ending: asyncio.Future[tuple[dict[str, Any] | None, BaseException | None]] | None = None
        self._parts = 0
        self._started_at: float | None = None
        """When its container was, by the monotonic clock."""
        folder = means.work_folder(order.run).absolute()
        self.task: dict[str, Any] = describe(order, folder, {}, "")
        self._room_bytes = means.site.rooms.limit(folder if folder.exists() else folder.parent)
        named = {name: means.host_environment[name] for name in order.ready.spec.env if name in means.host_environment}
        self._variables = {} if order.ready.spec.agent else named
        self._allowed = allowance(means.site.defaults, order.ready.docker, order.ready.spec.resources)

    @property
    def places(self) -> Places:
        """Where its files lie."""
        return Places.of(self.task)

    def adopt(self, found: Seen) -> None:
        """An earlier incarnation made this container for it: go on with that."""
        self._found = found
        # How much was free when it started is not known any more, and what it has taken since is not free.
        self._room_bytes = self._means.site.rooms.most_bytes
        if found.started_ms:
            self._started_at = self._means.site.clock.monotonic_s() - self._began_ago_s()

    async def run(self) -> ev.TaskFinished:
        """Do it, or go on with it; what its end is. Never raises for what may happen to an attempt."""
        finished = await self._run_to_its_end()
        # Not when this is cancelled: then its container goes on.
        self._means.site.private.drop(name_of(self.order))
        return finished

    async def _run_to_its_end(self) -> ev.TaskFinished:
        means, order = self._means, self.order
        bill = NO_BILL
        try:
            seen = await means.materials.seen_by(order.ready)
            if order.ready.spec.noop:
                return await means.outcomes.noop(order, seen)
            files = await means.materials.files_for(order.ready, seen)
            if self.cancel.requested and self._found is None:
                return means.outcomes.cancelled(order, self.cancel.reason)
            if order.ready.spec.agent:
                bill = unknown_bill(order)
                return await self._agent(seen, files)
            return await self._command(seen, files)
        except Failed as failed:
            return with_bill(order, self._failed(failed), bill)
        except Exception as error:
            return with_bill(order, means.outcomes.failed_by(order, error), bill)

    def abandon(self) -> None:
        """Leave its containers alone; its end is for somebody else to tell."""
        if self._run is not None:
            self._run.abandon()

    # --- commands: the harness outside, the command and the checks inside ---

    async def _command(self, seen: tuple[TreeFile, ...], files: list[dict[str, Any]]) -> ev.TaskFinished:
        means, order, live = self._means, self.order, self._live
        self.task |= {
            "files": files,
            "env": {},
            "secrets": list(self._variables.values()),
            "marker": "",
            "memory_bytes": 0,
            "sandbox": "",
            "owner": means.site.user if os.getuid() == 0 else None,
            "most_bytes": self._room_bytes,
            "kept": f"{self.task['out']}/kept.json" if order.ready.spec.checks else "",
            "resumed": self._found is not None,
            "began_ago_s": self._began_ago_s(),
        }
        ending = self._ending = asyncio.get_running_loop().create_future()
        self._run = TaskRun(
            self.task,
            means.poller,
            self._ended,
            cancel=self.cancel,
            on_line=None if live is None else partial(live, order),
            launch=partial(ContainerCommand, self._in_container),
        )
        self._run.start()
        result, error = await ending
        if result is None:
            return means.outcomes.failed_by(order, error)
        result["sandbox"] = CONTAINER
        if means.outcomes.needs_keeping(order, result):
            return await means.outcomes.keep(order, seen, self.task, result)
        return means.outcomes.without_keeping(order, result)

    def _ended(self, result: dict[str, Any] | None, error: BaseException | None) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result((result, error))

    async def _in_container(self, command: Command, feed: Callable[[str, bytes], None], cancel: Cancel) -> Ended:
        """The first one is the task's command, those behind it are its checks."""
        means, order = self._means, self.order
        is_work = self._parts == 0
        self._parts += 1
        mounts: tuple[Mount, ...] = (Mount(command.cwd, WORKSPACE),)
        if self._variables:
            # The path that variables come by, in place of the engine's own records, which many may read.
            private = means.site.private.put(name_of(order), "variables.sh", render_variables(self._variables))
            mounts = (*mounts, Mount(str(private), PRIVATE, is_read_only=True))
        self.checks += not is_work
        wanted = Wanted(
            order=order,
            part=WORK if is_work else f"check-{self.checks}",
            what="the command" if is_work else f"the check {command.command!r}",
            argv=argv_of(command.command, has_variables=bool(self._variables)),
            environment=container_environment(order),
            mounts=mounts,
            folders=(Path(command.cwd),),
            room_bytes=self._room_bytes,
            allowed=self._allowed,
            limit_s=self._left_s(),
            whole_limit_s=self.task["time_limit_s"],
        )
        if not is_work:
            return await means.site.run(wanted, feed, cancel, say=self._say_state)
        return await means.site.run(
            wanted, feed, cancel, on_start=self._started, say=self._say_state, found=self._found
        )

    # --- agents: all of it inside ---

    async def _agent(self, seen: tuple[TreeFile, ...], files: list[dict[str, Any]]) -> ev.TaskFinished:
        means, order, live = self._means, self.order, self._live
        site = means.site
        variables = await asyncio.to_thread(resolved, means.resolve, order.ready.engine, order.ready.model)
        places = self.places
        mounts: tuple[Mount, ...] = places.mounts
        environment = container_environment(order)
        if self._found is None:
            made = await asyncio.to_thread(prepare, site, order, self.task, files, means.prices)
            mounts, environment = (*made.mounts, hand_over(site, order, variables)), made.environment
        elif self._found.status == "created":
            hand_over(site, order, variables)
        limit_s = self.task["time_limit_s"]
        log = TaskLog(
            self.task["log"],
            LOG_HEAD_BYTES,
            LOG_TAIL_BYTES,
            None if live is None else partial(live, order),
            variables.secrets,
        )
        wanted = Wanted(
            order=order,
            what="the agent's container",
            argv=ARGV,
            environment=environment,
            mounts=mounts,
            folders=(places.workspace, places.answer),
            room_bytes=self._room_bytes,
            allowed=self._allowed,
            limit_s=max(0.001, limit_s + AGENT_SPARE_S - self._began_ago_s()) if limit_s else 0.0,
            whole_limit_s=limit_s + AGENT_SPARE_S if limit_s else 0.0,
            grace_s=AGENT_GRACE_S,
        )
        began = site.clock.monotonic_s() - self._began_ago_s()
        try:
            ended = await site.run(
                wanted, log.feed, self.cancel, on_start=self._started, say=self._say_state, found=self._found
            )
            result, taken, bill = await read_end(places, self.task, files, ended, variables.secrets)
        finally:
            log.close()
        if result.outcome == "cancelled" and not self.cancel.requested:
            raise unasked(ended)
        outcome = {
            "outcome": result.outcome,
            "failure": result.failure,
            "reason": result.reason,
            "hint": result.hint,
            "exit_code": result.exit_code,
            "tail": result.tail if result.outcome != "succeeded" else [],
            "duration_s": round(site.clock.monotonic_s() - began, 6),
            "files": taken.get("files", 0),
            "sandbox": CONTAINER if result.sandbox in ("", "none") else f"{CONTAINER}+{result.sandbox}",
            "log_bytes": log.size,
            **taken,
        }
        if result.outcome != "succeeded" and self.cancel.requested:
            outcome |= {"outcome": "cancelled", "failure": "cancelled", "reason": self.cancel.reason or "cancelled"}
        return with_bill(order, await means.outcomes.keep(order, seen, self.task, outcome), bill)

    # --- both ---

    def _left_s(self) -> float:
        """Of its time, which counts from the start of its container and not from its order; 0: there is no limit."""
        limit_s = float(self.task["time_limit_s"])
        if not limit_s or self._started_at is None:
            return limit_s
        return max(0.001, limit_s - (self._means.site.clock.monotonic_s() - self._started_at))

    def _started(self) -> None:
        self._started_at = self._means.site.clock.monotonic_s()
        self._report(self.order, self._means.outcomes.started(self.order, name_of(self.order)))

    def _say_state(self, state: str, detail: str) -> None:
        identity = self._means.outcomes.identity(self.order)
        self._report(self.order, ev.JobStateChanged(**identity, state=state, detail=detail))

    def _began_ago_s(self) -> float:
        if self._found is None or not self._found.started_ms:
            return 0.0
        until = self._found.finished_ms if self._found.has_ended else self._means.site.clock.now_ms()
        return max(0.0, (until - self._found.started_ms) / 1000)

    def _failed(self, failed: Failed) -> ev.TaskFinished:
        outcomes = self._means.outcomes
        if failed.failure == "cancelled":
            return outcomes.cancelled(self.order, self.cancel.reason)
        return outcomes.failed(self.order, failed.failure, str(failed), failed.hint)  # type: ignore[arg-type]
