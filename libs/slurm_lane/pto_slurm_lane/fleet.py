"""Pilot mode: as many pilots as there is work for and the lane may have, one wing for each shape of tasks.

Imports ports, pto_slurm, pto_slurm_node and siblings. Invariants: all pilots together are never more than allowed, by
SLURM's own word, and none is started before SLURM was asked for those of an earlier incarnation; what a pilot that is
over has left behind is judged, never guessed.
"""

import asyncio
from collections.abc import Container, Coroutine
from contextlib import suppress
from typing import Any

from pto_runtime.logs import get_logger
from pto_slurm.answers import Ambiguous, Refused, Submitted, Throttled
from pto_slurm.pending import what_it_needs
from pto_slurm.pilots import Launches, is_pooled, is_starved, kind_of, lane_of, moves, name_in, pilot_shape, shares
from pto_slurm.shape import JobShape
from pto_slurm.submission import sbatch_argv
from pto_slurm.verdicts import THERE, Verdict
from pto_slurm_lane.clients import ClientFailed
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.news import News
from pto_slurm_lane.pooled import PooledAttempt
from pto_slurm_lane.watch import Look
from pto_slurm_lane.wing import Wing
from pto_slurm_node.pool import Claim, Pool
from pto_slurm_node.spool import RESULT, events_in

TICK_S = 0.5
FAULT_S = 5.0
"""How often claims are looked at while there are any attempts."""
IDLE_S = 60.0
"""A pilot without work ends after so long: the next tasks may come any moment, and a node is dear."""
HOPELESS_HINT = "See the last lines of the pilots' logs in the spool's folder pilots, then `orchestrator resume RUN`."
GHOSTS_S = 30 * 86_400.0
"""No job lives so long that it could still come back as a ghost."""
NS = 1_000_000


class Fleet:
    """All pilots of a lane; with the jobs of single attempts there are ``capacity`` of them at once."""

    def __init__(self, lane: Lane, capacity: int) -> None:
        self._lane = lane
        self._capacity = capacity
        self._name = lane_of(str(lane.spool.root))
        self._wings: dict[str, Wing] = {}
        self._limits: dict[str, int] | None = None
        self._news = News(lane.clock)
        self._launching: set[asyncio.Task[None]] = set()
        self._opened_s = lane.clock.monotonic_s()
        self._last_order = 0
        self._is_swept = False
        self._strangers: int | None = None
        """Pilots of an earlier incarnation for tasks that are no more; None: SLURM was not asked yet."""
        self._logger = get_logger()

    @property
    def is_busy(self) -> bool:
        """Whether results may come any moment."""
        return any(wing.members or wing.settled for wing in self._wings.values())

    @property
    def there(self) -> int:
        """How many pilots there are or may be."""
        if self._strangers is None:
            # A dispatcher that has pilots may have had some before; one that has none waits for nobody's word.
            return self._capacity if self._lane.settings.pilots else 0
        return self._strangers + sum(wing.there for wing in self._wings.values())

    def takes(self, record: Record, shape: JobShape) -> bool:
        """Whether pilots do it: not what was a job before, nor what needs a job of its own."""
        return bool(self._lane.settings.pilots) and is_pooled(shape) and not record.job and not record.has_intent

    def is_with_pilot(self, record: Record) -> bool:
        """Whether a pilot of an earlier incarnation has it, or has done it; what none has taken is taken back.

        For attempts that are adopted by a dispatcher that has no pilots any more.
        """
        if record.job or record.has_intent:
            return False
        name = record.name
        pools = [Pool(path) for path in self._lane.spool.pilots.iterdir() if path.is_dir()]
        for pool in pools:
            for entry in [entry for entry in pool.waiting() if entry.name == name]:
                pool.withdraw(entry)
        done = (event.fence.name for event in events_in(self._lane.spool.results) if event.kind == RESULT)
        return any(claim.entry.name == name for pool in pools for claim in pool.claims()) or name in done

    def enlist(self, record: Record, shape: JobShape, *, is_new: bool) -> PooledAttempt:
        """The attempt, to be run by whoever asked."""
        self._last_order = max(self._last_order + 1, self._lane.clock.now_ms() * NS)
        wing = self._wing(shape)
        attempt = PooledAttempt(record, shape, wing, self._lane, order=self._last_order, is_new=is_new)
        wing.members[record.name] = attempt
        self._news.wake()
        return attempt

    def dismiss(self, attempt: PooledAttempt) -> None:
        """Its end is told."""
        for wing in self._wings.values():
            wing.members.pop(attempt.record.name, None)

    def take_look(self) -> None:
        """There was a look."""
        self._news.wake()

    async def run(self) -> None:
        """Steer until cancelled."""
        try:
            while True:
                await self._news.wait(TICK_S if self.is_busy else None)
                try:
                    await self._look_at_claims()
                    await self._steer()
                except OSError as error:
                    self._logger.warning("the pools cannot be used; trying on", reason=str(error))
                    await self._lane.clock.sleep(FAULT_S)
        finally:
            for task in self._launching:
                task.cancel()
            await asyncio.gather(*self._launching, return_exceptions=True)

    async def leave(self) -> None:
        """The dispatcher ends: pilots that have nothing to do are not needed until somebody comes again."""
        waiting = []
        for wing in self._wings.values():
            if wing.members:
                continue
            for pilot in wing.demand().pilots:
                await asyncio.to_thread(wing.pool.send_away, pilot.job)
                if not pilot.is_running:
                    waiting.append(pilot.job)
        with suppress(ClientFailed):
            await self._lane.clients.cancel(waiting)

    async def sweep(self, names: Container[str]) -> None:
        """At a start, when all attempts from before are known: what is in pools for nobody goes."""
        self._is_swept = True
        old_s = self._lane.clock.now_ms() / 1000 - GHOSTS_S
        for pool in [Pool(path) for path in self._lane.spool.pilots.iterdir() if path.is_dir()]:
            await asyncio.to_thread(_sweep, pool, names, old_s)

    # --- one turn ---

    async def _look_at_claims(self) -> None:
        for wing in list(self._wings.values()):
            if wing.members or wing.settled:
                strays = wing.take_claims(await asyncio.to_thread(wing.scan))
                for stray in strays if self._is_swept else ():
                    await asyncio.to_thread(_end, wing.pool, stray)

    async def _steer(self) -> None:
        look = self._lane.watch.look
        if look is None or look.began_s < self._opened_s:
            if self.is_busy:
                self._lane.watch.hurry()
            return
        for wing in list(self._wings.values()):
            wing.take_look(look)
            self._warn_of_silence(wing)
            await self._judge(wing)
            self._tell_waits(wing)
        demands = {kind: wing.demand() for kind, wing in self._wings.items()}
        allowed = self._allowed(look)
        room = shares(allowed, demands)
        now = self._lane.clock.monotonic_s()
        staying = sum(len(demand.pilots) for demand in demands.values()) - sum(
            len(wing.leaving) for wing in self._wings.values()
        )
        surplus = staying - allowed
        for kind, demand in demands.items():
            wing = self._wings[kind]
            made = moves(demand, room=room[kind], launches=wing.launches, now_s=now)
            for job in made.cancel:
                self._cancel(wing, job)
            going = wing.idle()[: max(surplus, made.release if is_starved(allowed, demands) else 0, 0)]
            for job in going:
                surplus -= 1
                wing.leaving.add(job)
                wing.give_up_on(job)
                await asyncio.to_thread(wing.pool.send_away, job)
            for slot in made.submit:
                wing.launching.add(slot)
                self._go(self._launch(wing, slot))
            if wing.launches.failed and demand.waiting:
                self._lane.clock.call_later(max(0.0, wing.launches.rest_until_s - now) + TICK_S, self._news.wake)
        if any(wing.leaving for wing in self._wings.values()):
            self._lane.watch.hurry()
        await self._lane.places.look()

    def _allowed(self, look: Look) -> int:
        """How many pilots its wings may have: others have places too, and pilots of earlier incarnations."""
        strangers = sum(
            1
            for row in look.jobs.values()
            if (name := name_in(row.name)) and name.lane == self._name and name.kind not in self._wings
            and row.state in THERE
        )  # fmt: skip
        self._strangers = strangers
        return max(0, min(self._lane.settings.pilots, self._capacity - self._lane.places.needed) - strangers)

    async def _judge(self, wing: Wing) -> None:
        for job, verdict in wing.judged():
            wing.count_end(job, verdict)
            if not wing.is_over(job):
                self._cancel(wing, job)
                if verdict.failure == "config":
                    self._doom(wing, verdict)
        for job in wing.over():
            await asyncio.to_thread(wing.pool.bury, job)
            wing.forget(job)
        if wing.launches.is_hopeless:
            reason = f"pilots_fail: {wing.launches.failed} pilots in a row ended at their start: {wing.launches.words}"
            self._doom(
                wing,
                Verdict(kind="ended", word="pilots_fail", failure="config", reason=reason, hint=HOPELESS_HINT),
            )
        for member in wing.members.values():
            if member.job and wing.is_over(member.job):
                member.wake()

    def _doom(self, wing: Wing, verdict: Verdict) -> None:
        self._logger.warning("no pilot can be had", reason=verdict.reason)
        for member in wing.members.values():
            if member.is_waiting:
                member.doom(verdict)
        wing.launches = Launches()

    def _cancel(self, wing: Wing, job: str) -> None:
        wing.give_up_on(job)
        self._lane.canceller.cancel(job)

    def _tell_waits(self, wing: Wing) -> None:
        needs = sorted(f"{reason}: {what}" for reason in wing.reasons() if (what := what_it_needs(reason)))
        why = self._lane.gate.full_why or (f"pilots wait: {needs[0]}" if needs else "")
        if why:
            for member in wing.members.values():
                if member.is_waiting:
                    member.say("queued", why)

    def _warn_of_silence(self, wing: Wing) -> None:
        for job, minutes in wing.silent(self._lane.clock.now_ms() / 1000):
            self._logger.warning(
                "a pilot has shown no sign of life, though SLURM says that it runs; is its node's file system stuck?",
                job=job,
                minutes=minutes,
            )

    # --- pilots ---

    async def _launch(self, wing: Wing, slot: int) -> None:
        lane = self._lane
        try:
            async with lane.gate.turn():
                if not wing.demand().waiting:
                    return
                await self._make_ready(wing)
                answer = await lane.clients.submit(sbatch_argv(wing.job(slot, lane.installed, lane.settings.python)))
        except (ClientFailed, OSError) as error:
            self._logger.warning("a pilot cannot be prepared; trying again", reason=str(error))
            await lane.clock.sleep(FAULT_S)
            return
        finally:
            wing.launching.discard(slot)
        if isinstance(answer, Submitted):
            wing.submitted(slot, answer.job)
            with suppress(OSError):  # it ends at once then, and another one comes
                wing.pool.welcome(answer.job)
            self._logger.info("a pilot is submitted", job=answer.job, kind=wing.kind, slot=slot)
        elif isinstance(answer, Refused):
            self._doom(
                wing,
                Verdict(kind="ended", word="refused", failure=answer.failure, reason=answer.words, hint=answer.hint),
            )
        elif isinstance(answer, Throttled):
            lane.gate.shut(answer.words)
        elif isinstance(answer, Ambiguous):
            wing.unsure[slot] = lane.clock.monotonic_s()
            self._logger.warning("sbatch's answer may hide a pilot; looking for it", answer=answer.words)
        lane.watch.hurry()
        self._news.wake()

    async def _make_ready(self, wing: Wing) -> None:
        """The time limit is known, and what pilots are told is written. Raises ClientFailed, OSError."""
        if self._limits is None:
            groups = await self._lane.clients.node_groups()
            self._limits = {group.partition: group.limit_s // 60 for group in groups}
            self._limits[""] = next((group.limit_s // 60 for group in groups if group.is_default), 0)
        task = wing.task
        most = min((limit for limit in self._limits_of(task) if limit), default=0)
        wing.shape = pilot_shape(task, most)
        await asyncio.to_thread(wing.prepare, IDLE_S)

    def _limits_of(self, task: JobShape) -> list[int]:
        known = self._limits or {}
        return [known.get(partition, 0) for partition in task.partition.split(",")]

    def _wing(self, task: JobShape) -> Wing:
        kind = kind_of(task)
        if kind not in self._wings:
            pool = Pool(self._lane.spool.pilots / kind)
            wing = self._wings[kind] = Wing(self._name, kind, task, pool, self._lane.clock)
            wing.prepare(IDLE_S)
        return self._wings[kind]

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._launching.add(task)
        task.add_done_callback(self._launched)

    def _launched(self, task: asyncio.Task[None]) -> None:
        self._launching.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._logger.error("a pilot could not be started", exc_info=task.exception())


def _sweep(pool: Pool, names: Container[str], old_s: float) -> None:
    for entry in pool.waiting():
        if entry.name not in names:
            pool.withdraw(entry)
    for claim in pool.claims():
        if claim.entry.name not in names:
            _end(pool, claim)
    pool.forget_ghosts(old_s)


def _end(pool: Pool, claim: Claim) -> None:
    """Nobody waits for this attempt: the pilot that may still do it is to end it."""
    pool.clear(claim)
    pool.stop(claim.entry.name)
