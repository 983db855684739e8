"""The docker lane as a backend: every attempt in a container of its own, which outlives this process.

Imports attempts, planning, harness, ports and siblings. Invariants: a container is deleted when its end is in the log,
not before; one whose order nobody knows is an orphan, and is deleted when all open orders were looked up; plans are
made by ``PlannerBackend`` with engines in containers, and are made again after a restart.
"""

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pto_attempts.outcome import Outcomes
from pto_dispatcher_docker.agent import remove_places
from pto_dispatcher_docker.attempt import Attempt, Means
from pto_dispatcher_docker.body import OWNER, PART, WORK, labels_of, name_of
from pto_dispatcher_docker.container import Pauses
from pto_dispatcher_docker.daemon import DaemonAway, DaemonRefused, NoContainer, Seen
from pto_dispatcher_docker.limits import LEAVING_S
from pto_planning.backend import PlannerBackend
from pto_ports.backend import LiveLine, Order, Report
from pto_proto import events as ev
from pto_proto.ids import PLAN_TASK
from pto_runtime.logs import get_logger

Work = Coroutine[Any, Any, None]


class DockerBackend:
    """One dispatcher's; ``leaves_running``: containers go on when it is closed, to be found again."""

    def __init__(
        self,
        *,
        means: Means,
        planner: PlannerBackend,
        engines: Iterable[str],
        missing: dict[str, str],
        leaves_running: bool,
    ) -> None:
        """``engines`` can be used, ``missing`` says why others cannot."""
        self._means = means
        self._site = means.site
        self._outcomes: Outcomes = means.outcomes
        self._planner = planner
        self._engines = tuple(engines)
        self._missing = missing
        self._leaves_running = leaves_running
        self._report: Report | None = None
        self._live: LiveLine | None = None
        self._attempts: dict[str, Attempt] = {}
        """By the name of their container, until they are forgotten."""
        self._working: dict[str, asyncio.Task[None]] = {}
        self._plans: dict[str, Order] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._there: dict[str, Seen] | None = None
        """Containers of this owner when adoption began, by name; None: not looked up, or the daemon is away."""
        self._has_looked = False
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """Everything but merges; agents and plans with the engines that have what they need on this host."""
        return ("noop", "command", "plan", *(f"agent:{name}" for name in self._engines))

    async def open(self, report: Report, live: LiveLine) -> None:
        """Keep where to report; the daemon need not be there. Raises OwnerTaken."""
        self._site.private.hold()
        self._report, self._live = report, live
        await self._site.daemon.open()
        await self._planner.open(report, live)

    async def start(self, order: Order) -> None:
        """Start the attempt in the background."""
        ready = order.ready
        if ready.task == PLAN_TASK:
            self._plans[name_of(order)] = order
            await self._planner.start(order)
        elif ready.spec.noop and len(ready.trees) < 2:
            self._say(order, self._outcomes.started(order), self._outcomes.noop_at_once(order))
        elif ready.spec.agent and ready.engine not in self._engines:
            why = self._missing.get(ready.engine, "")
            reason = f"this dispatcher has no engine {ready.engine!r}" + (f": {why}" if why else "")
            self._say(order, self._outcomes.failed(order, "config", reason))
        else:
            self._begin(order)

    async def stop(self, order: Order, reason: str) -> bool:
        """Ask the attempt to end; it reports that itself, when its container has ended."""
        if order.ready.task == PLAN_TASK:
            return await self._planner.stop(order, reason)
        name = name_of(order)
        if name not in self._working:
            return False
        self._attempts[name].cancel.request(reason)
        return True

    async def adopt(self, order: Order) -> bool:
        """Take over the attempt if its container is there; while nobody can look, it is waited for."""
        if order.ready.task == PLAN_TASK or order.ready.spec.noop:
            return False
        if not self._has_looked:
            self._has_looked = True  # a daemon that hangs takes minutes not to answer: not once per order
            with suppress(DaemonAway, DaemonRefused):
                self._there = await self._look_round()
        if self._there is not None:
            found = self._there.get(name_of(order))
            if found is None or not self._is_ours(order, found):
                return False
        self._begin(order, is_adopted=True)
        return True

    async def sweep(self) -> None:
        """Delete, in the background, what belongs to no open order."""
        self._there = None
        self._go(self._sweep())

    def forget(self, order: Order) -> None:
        """Its end is in the log: its containers and folders may go."""
        name = name_of(order)
        if self._plans.pop(name, None) is not None:
            self._go(self._remove([name]))
            return
        attempt = self._attempts.pop(name, None)
        if attempt is not None:
            working = self._working.get(name)
            if working is not None:  # an earlier incarnation had told its end, and its word came late
                attempt.abandon()
                working.cancel()
            self._go(self._clean(name, attempt, working))

    async def close(self) -> None:
        """Leave the containers alone, or end and delete them all; no end is reported."""
        self._report = None
        await self._planner.close()
        for attempt in self._attempts.values():
            attempt.abandon()
        for task in self._working.values():
            task.cancel()
        await asyncio.gather(*self._working.values(), return_exceptions=True)
        if self._errands and not self._leaves_running:
            await asyncio.wait(self._errands, timeout=LEAVING_S)
        for errand in self._errands:
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        if not self._leaves_running:
            await self._remove_all()
        self._means.poller.close()
        await self._site.daemon.close()
        self._site.private.release()

    # --- one attempt ---

    def _begin(self, order: Order, *, is_adopted: bool = False) -> None:
        name = name_of(order)
        attempt = self._attempts[name] = Attempt(self._means, order, say=self._say, live=self._live)
        self._working[name] = asyncio.create_task(self._work(name, attempt, is_adopted=is_adopted))

    async def _work(self, name: str, attempt: Attempt, *, is_adopted: bool) -> None:
        try:
            if is_adopted and not await self._know(name, attempt):
                reason = "the dispatcher restarted, and the attempt's container is not there"
                self._say(attempt.order, self._outcomes.failed(attempt.order, "infra", reason))
                return
            self._say(attempt.order, await attempt.run())
        finally:
            self._working.pop(name, None)

    async def _know(self, name: str, attempt: Attempt) -> bool:
        """Find its container, as soon as the daemon can be asked; whether there is one. Checks of before are ended."""
        pauses = Pauses(self._site.clock)
        while True:
            try:
                seen = await self._site.daemon.inspect(name)
                for number in range(len(attempt.order.ready.spec.checks)):
                    await self._remove_ours(f"{name}-check-{number + 1}")
            except NoContainer:
                return False
            except (DaemonAway, DaemonRefused):
                await pauses.wait()
                continue
            attempt.adopt(seen)
            return self._is_ours(attempt.order, seen)

    def _is_ours(self, order: Order, found: Seen) -> bool:
        return found.bears(labels_of(order, self._site.owner))

    # --- cleaning up ---

    async def _clean(self, name: str, attempt: Attempt, working: asyncio.Task[None] | None) -> None:
        if working is not None:
            await asyncio.wait({working})
        self._site.private.drop(name)
        await self._remove([name, *(f"{name}-check-{number + 1}" for number in range(attempt.checks))])
        await asyncio.to_thread(remove_places, attempt.places)

    async def _sweep(self) -> None:
        pauses = Pauses(self._site.clock)
        while True:
            try:
                there = await self._look_round()
                break
            except (DaemonAway, DaemonRefused):
                await pauses.wait()
        orphans = [name for name, seen in there.items() if not self._is_known(name, seen)]
        if orphans:
            self._logger.info("removing containers of attempts that ended", containers=len(orphans))
        await self._remove(orphans)
        await asyncio.to_thread(self._site.private.sweep, self._is_open)

    async def _remove_all(self) -> None:
        """Of this owner, whatever it was for; nobody will be there to do it later."""
        with suppress(DaemonAway, DaemonRefused):
            await self._remove(await self._look_round(), is_last=True)
        await asyncio.to_thread(self._site.private.remove_all)

    def _is_known(self, name: str, seen: Seen) -> bool:
        part = seen.labels.get(PART, WORK)
        work = name if part == WORK else name.removesuffix(f"-{part}")
        return self._is_open(work)

    def _is_open(self, name: str) -> bool:
        return name in self._attempts or name in self._plans

    async def _remove(self, names: Iterable[str], *, is_last: bool = False) -> None:
        """Delete these; while the daemon is away that waits, unless nobody will be there to do it."""

        async def remove(name: str) -> None:
            pauses = Pauses(self._site.clock)
            while True:
                try:
                    await self._remove_ours(name)
                except DaemonRefused as refused:
                    self._logger.warning("a container could not be removed", container=name, reason=str(refused))
                except DaemonAway:
                    if not is_last:
                        await pauses.wait()
                        continue
                return

        await asyncio.gather(*map(remove, names))

    async def _remove_ours(self, name: str) -> None:
        """Delete it unless there is none, or it is another system's, which may use the same name."""
        with suppress(NoContainer):
            seen = await self._site.daemon.inspect(name)
            if seen.labels.get(OWNER) == self._site.owner:
                await self._site.daemon.remove(seen.id)

    async def _look_round(self) -> dict[str, Seen]:
        found = await self._site.daemon.labelled(OWNER, self._site.owner)
        return {seen.name: seen for seen in found}

    def _go(self, work: Work) -> None:
        errand = asyncio.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    def _say(self, order: Order, *entries: ev.Entry) -> None:
        report = self._report
        if report is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                report(order, *entries)


def owner_label(instance: str, work_dir: Path) -> str:
    """Whose containers these are: an instance's, in the place where its workspaces are. Two systems on one engine may
    call their dispatchers the same, but they never share workspaces.
    """
    place = hashlib.sha256(str(work_dir.absolute()).encode()).hexdigest()[:12]
    return f"{instance}.{place}"
