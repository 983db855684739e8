"""Jobs before their tasks' turns: a child of tasks that are in flight waits in SLURM's queue for their jobs.

Imports core, ports, proto, pto_slurm and siblings. Invariants: at most ``lookahead`` such jobs of a run are there; an
early job lives only while the log has its task waiting for its first attempt and every unfinished parent's job is the
one that it waits for; it is the attempt's only when the log hands out exactly this attempt to this instance.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress

from pto_core.lanes import placed
from pto_core.state import Run, Task
from pto_core.transitions import RunPhase, TaskState
from pto_ports.event_log import LogUnavailable
from pto_proto.events import TaskReady
from pto_proto.ids import InstanceId, RunId, TaskId, external_name
from pto_proto.ids import Lane as LaneName
from pto_runtime.logs import get_logger
from pto_slurm.shape import Unplaceable, shape_of
from pto_slurm.verdicts import THERE
from pto_slurm_lane.attempt import JobAttempt
from pto_slurm_lane.clients import ClientFailed
from pto_slurm_lane.early import FAULT_S, EarlyJob, lane_of_early
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.news import News
from pto_slurm_lane.outlook import Outlooks
from pto_slurm_lane.pooled import PooledAttempt

DONE = (TaskState.SUCCEEDED, TaskState.REUSED)
FAREWELL_S = 5.0
LOOK_ROUND_S = 10.0
"""What nobody rings for, such as the end of a run, is seen so late."""
Attempts = Mapping[str, JobAttempt | PooledAttempt]


class Lookahead:
    """Of one lane's dispatcher."""

    def __init__(
        self,
        lane: Lane,
        *,
        name: LaneName,
        instance: InstanceId,
        outlooks: Outlooks,
        attempts: Attempts,
        go: Callable[[Coroutine[None, None, None]], None],
        discard: Callable[[Record], None],
    ) -> None:
        self._lane = lane_of_early(lane)
        self._ledger = lane.ledger
        self._discard = discard
        self._name = name
        self._instance = instance
        self._outlooks = outlooks
        self._attempts = attempts
        self._go = go
        self._news = News(lane.clock)
        self._living: set[str] = set()
        self._has_begun = False
        self._early = {record.name: EarlyJob(record, self._lane) for record in self._lane.ledger.records()}

    @property
    def names(self) -> frozenset[str]:
        """Of attempts that have, or had, an early job."""
        return frozenset(self._early)

    @property
    def is_busy(self) -> bool:
        """Whether anything here needs looks at the cluster."""
        return any(not early.is_over for early in self._early.values())

    def wake(self) -> None:
        """There was a look, or an end is in the log."""
        for early in self._early.values():
            early.wake()
        self._news.wake()

    async def run(self) -> None:
        """Think again at all news, until cancelled. Begin when everything from before was adopted."""
        self._has_begun = True
        for early in self._early.values():
            self._begin(early)
        while True:
            await self._think()
            await self._news.wait(LOOK_ROUND_S if self._early else None)

    async def hand_over(self, attempt: JobAttempt | PooledAttempt) -> None:
        """The log hands out this attempt: if a job waits for it, and asks for the same, its record has that job."""
        record = attempt.record
        early = self._early.get(record.name)
        if early is not None and isinstance(attempt, PooledAttempt):
            early.stop("a pilot does it")
            self._begin(early)
            return
        while early is not None:
            try:
                if not record.has_intent and not record.job:
                    await self._take(record, early)
                self._ledger.keep(record)
            except OSError as error:
                get_logger().warning("an early job cannot be handed over; trying on", reason=str(error))
                await self._lane.clock.sleep(FAULT_S)
            else:
                early.give_away()
                self._drop(early)
                return

    async def close(self) -> None:
        """Have the last word about early jobs, where the log can be asked quickly.

        Who has not begun knows nothing of the attempts that they wait for, and has no say.
        """
        if not (self._has_begun and self.is_busy):
            return
        with suppress(TimeoutError, ClientFailed):
            async with asyncio.timeout(FAREWELL_S):
                await self._think(more=False)
                unwanted = [early.record for early in self._early.values() if not early.is_over]
                jobs = [record.job for record in unwanted if record.job and record.stop_reason is not None]
                if jobs:
                    await self._lane.clients.cancel(jobs)

    # --- one early job ---

    async def _take(self, record: Record, early: EarlyJob) -> None:
        ready, found = record.ready, early.record
        try:
            shape = shape_of(ready.spec, self._lane.settings.site, exclude=ready.avoid)
        except Unplaceable:
            shape = None
        if shape != found.shape or found.stop_reason is not None:
            early.stop("its attempt asks for something else")
            self._begin(early)
        if early.record.name in self._living:
            await early.settled()
        if found.stop_reason is not None:
            await early.over()
        if not early.is_over:
            record.shape, record.has_intent, record.is_early = found.shape, found.has_intent, found.has_intent
            record.job, record.is_unsure = found.job, found.is_unsure
        record.void = found.void

    def _begin(self, early: EarlyJob) -> None:
        if early.record.name not in self._living:
            self._living.add(early.record.name)
            self._go(early.run())

    def _drop(self, early: EarlyJob) -> None:
        name = early.record.name
        self._early.pop(name, None)
        self._living.discard(name)
        self._lane.ledger.drop(name)

    # --- all of them ---

    async def _think(self, *, more: bool = True) -> None:
        attempts = dict(self._attempts)  # what has left since has its end in what is read now
        runs = {early.record.run for early in self._early.values()}
        if self._lane.settings.lookahead:
            runs |= {attempt.record.run for attempt in attempts.values()}
        for name in sorted(runs):
            try:
                run = await self._outlooks.of(name)
            except LogUnavailable:
                continue
            in_flight = {**self._in_flight(name, {**attempts, **self._attempts}), **self._waiting(name)}
            self._review(name, run, in_flight)
            if more and run is not None and _goes_on(run):
                self._submit_more(run, in_flight)
            if run is None or run.ended:
                self._forget(name)

    def _in_flight(self, run: RunId, attempts: Attempts) -> dict[TaskId, str]:
        """The jobs of the run's tasks whose attempts may still end well, by task."""
        records = [attempt.record for attempt in attempts.values() if isinstance(attempt, JobAttempt)]
        return {
            record.ready.task: record.job
            for record in records
            if record.run == run and record.job and record.stop_reason is None
            if record.end is None or record.end.outcome == "succeeded"
        }

    def _waiting(self, run: RunId) -> dict[TaskId, str]:
        """The early jobs of the run, by task."""
        return {
            early.record.ready.task: early.record.job
            for early in self._early.values()
            if early.record.run == run and early.is_there
        }

    def _review(self, name: RunId, run: Run | None, in_flight: Mapping[TaskId, str]) -> None:
        """Stop what has become pointless, and forget what is over."""
        for early in [early for early in self._early.values() if early.record.run == name]:
            record = early.record
            if record.name in self._attempts:
                continue  # it is being handed over
            why = self._objection(run, record, in_flight)
            if why and not early.is_over:
                early.stop(why)

    def _forget(self, name: RunId) -> None:
        """The run is over: none of its attempts will come any more."""
        ours = [early for early in self._early.values() if early.record.run == name]
        for early in ours:
            if early.is_over and early.record.name not in self._attempts:
                self._drop(early)
                self._discard(early.record)
        self._outlooks.drop(name)

    def _objection(self, run: Run | None, record: Record, in_flight: Mapping[TaskId, str]) -> str:
        """Why the early job must not be there; empty: it may."""
        if run is None or not self._lane.settings.lookahead:
            return "nobody knows what it is for"
        task = run.task(record.ready.task)
        if task is None or task.round != record.ready.round:
            return "its task has changed"
        if task.state in (TaskState.READY, TaskState.RUNNING):
            is_ours = task.attempt == record.ready.attempt and task.instance == self._instance
            return "" if is_ours else "another attempt was handed out"
        if not _goes_on(run):
            return "its run does not go on"
        if task.state is not TaskState.PLANNED or task.attempt:
            return "its attempt will not come"
        for parent, job in record.after.items():
            known = run.task(parent)
            if known is None or (known.state not in DONE and in_flight.get(parent) != job):
                return f"{parent} has no longer the job that it waits for"
        return ""

    def _submit_more(self, run: Run, in_flight: dict[TaskId, str]) -> None:
        look, gate = self._lane.watch.look, self._lane.gate
        if look is None or gate.full_why:
            return
        seen = {task: job for task, job in in_flight.items() if job in look.jobs and look.jobs[job].state in THERE}
        left = self._lane.settings.lookahead
        left -= sum(early.record.run == run.id and not early.is_over for early in self._early.values())
        for task, after in self._next(run, seen) if left > 0 else ():
            record = self._record(run, task, after)
            if record is None or record.name in self._attempts or not self._may_be_new(record):
                continue
            early = self._early[record.name] = EarlyJob(record, self._lane)
            get_logger().info("a job is submitted early", run=run.id, task=task.spec.id, after=list(after.values()))
            self._begin(early)
            left -= 1
            if left <= 0:
                return

    def _may_be_new(self, record: Record) -> bool:
        """Whether there is none yet, or one that was stopped; then the record is told of its jobs."""
        before = self._early.get(record.name)
        if before is None:
            return True
        if not before.is_over or before.record.stop_reason is None:
            return False
        record.void = before.record.void
        self._living.discard(record.name)
        return True

    def _next(self, run: Run, seen: Mapping[TaskId, str]) -> Iterator[tuple[Task, dict[TaskId, str]]]:
        """Tasks whose unfinished parents all have a job that was seen, the most urgent first, with those jobs."""
        parents = [run.index[task] for task in seen if task in run.index]
        children = {child for parent in parents for child in run.graph.children[parent]}
        for child in sorted(children, key=lambda at: run.graph.rank[at], reverse=True):
            task = run.tasks[child]
            if task.state is not TaskState.PLANNED or task.attempt or task.spec.noop:
                continue
            if run.lane_of(task) != self._name:
                continue
            known = [run.task(name) for name in dict.fromkeys(task.spec.depends_on)]
            open_ones = [parent.spec.id for parent in known if parent is not None and parent.state not in DONE]
            if open_ones and all(parent in seen for parent in open_ones):
                yield task, {parent: seen[parent] for parent in open_ones}

    def _record(self, run: Run, task: Task, after: dict[TaskId, str]) -> Record | None:
        """What would be submitted at the task's turn; None: that finds out by itself that no job can be."""
        spec, avoid = placed(run.request, task.spec, task.again), run.nodes.avoided.get(self._name, ())
        ready = TaskReady(
            at=0, task=spec.id, attempt=1, round=task.round, instance=self._instance, spec=spec, avoid=avoid
        )
        try:
            shape = shape_of(spec, self._lane.settings.site, exclude=avoid)
        except Unplaceable:
            return None
        name = external_name(run.id, spec.id, 1, task.round)
        return Record(run=run.id, seq=0, ready=ready, name=name, shape=shape, after=dict(after))


def _goes_on(run: Run) -> bool:
    """Whether more of it will be handed out."""
    is_held = run.paused is not None or run.poisoned is not None or run.halt is not None or run.stopped
    return run.phase is RunPhase.RUNNING and not is_held
