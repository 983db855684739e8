"""Looks up what the runs that asked for reuse can take over, beside the ticks: lists travel by digest, outputs lie in
the blob store.

Imports core, ports, proto and runtime. Invariants: what is offered has its outputs in the blob store, since it was
asked; what cannot be found or read is not taken over, and never keeps a run from going on.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from pto_core.decide import Reused
from pto_core.reuse import Index, index_of, reused_tasks, wants_reuse
from pto_core.state import Run, State
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import LogUnavailable
from pto_proto.events import TaskReused
from pto_proto.ids import Digest, RunId
from pto_proto.manifests import Manifest
from pto_proto.reuse import Reusable
from pto_runtime.logs import get_logger

RETRY_S = 1.0
"""Pause before the blob store is asked again while it is away."""
INLINE_TASKS = 1_000
"""Up to so many tasks are looked through at once; more in a thread, so that the tick goes on."""
MAX_CHECKS = 50
"""Tasks whose outputs are looked for at once: enough to hide a broker's round trip."""

_Found = tuple[Index, list[TaskReused]]
_Plan = tuple[RunId, Digest]
"""A run and the plan that it would settle: an edited one takes the place of the first."""


class LookUps:
    """One look-up for each run that asked for reuse and whose plan is complete."""

    def __init__(self, blobs: BlobStore, clock: Clock) -> None:
        self._blobs = blobs
        self._clock = clock
        self._wake = asyncio.Event()
        self._looking: dict[_Plan, asyncio.Task[list[TaskReused]]] = {}
        self._found: dict[_Plan, Sequence[TaskReused]] = {}
        self._logger = get_logger()

    def open(self, wake: asyncio.Event) -> None:
        """``wake`` is set whenever something was found out."""
        self._wake = wake

    async def close(self) -> None:
        """Forget everything; whoever leads next looks again."""
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        self._looking.clear()
        self._found.clear()

    def found(self, state: State) -> Reused:
        """What is known now; look-ups begin for runs about which there was news, and what they find is such news."""
        for name in state.touched:
            run = state.active.get(name)
            plan = _plan_of(run) if run is not None else None
            if run is not None and plan is not None and plan not in self._looking and plan not in self._found:
                self._looking[plan] = asyncio.create_task(self._look(state, run))
                self._looking[plan].add_done_callback(lambda _: self._wake.set())
        for plan in [plan for plan, task in self._looking.items() if task.done()]:
            self._found[plan] = self._result(plan[0], self._looking.pop(plan))
            state.touched.add(plan[0])
        for plan in [plan for plan in self._found if plan[0] not in state.active]:
            del self._found[plan]
        for plan in [plan for plan in self._found if plan != _plan_of(state.active[plan[0]])]:
            del self._found[plan]
        return {run: entries for (run, _), entries in self._found.items()}

    def is_written(self, run: Run) -> bool:
        """Whether the log holds all that the run takes over."""
        plan = _plan_of(run)
        found = self._found.get(plan) if plan is not None else None
        return found is not None and all(entry.task in run.reused for entry in found)

    def _result(self, run: RunId, looked: asyncio.Task[list[TaskReused]]) -> Sequence[TaskReused]:
        error = looked.exception()
        if error is not None:
            self._logger.error("nothing is reused, because looking for it failed", run=run, error=repr(error))
            return ()
        return looked.result()

    async def _look(self, state: State, run: Run) -> list[TaskReused]:
        listed = await self._listed(run)
        # Reading beside the tick is safe: a task is seen before or after its success, and both will do.
        index, found = await self._find(state, run, listed)
        gone: set[Digest] = set()
        for at in range(0, len(found), MAX_CHECKS):
            part = found[at : at + MAX_CHECKS]
            there = await asyncio.gather(*map(self._is_there, part))
            gone.update(entry.key for entry, is_there in zip(part, there, strict=True) if not is_there)
        if gone:
            self._logger.warning("outputs of earlier tasks are gone; they run again", run=run.id, tasks=len(gone))
            _, found = await self._find(state, run, listed, index.without(gone))
        return found

    async def _find(self, state: State, run: Run, *others: Any) -> _Found:
        planned = run.plan.task_count if run.plan is not None else 0
        if planned + sum(sum(known.counts.values()) for known in state.runs.values()) <= INLINE_TASKS:
            return _find(state, run, *others)
        for known in list(state.runs.values()) if run.request.reuse else ():
            len(known.tasks)  # a run that came from a snapshot unpacks its tasks when asked: here, not in the thread
            await asyncio.sleep(0)
        return await asyncio.to_thread(_find, state, run, *others)

    async def _listed(self, run: Run) -> list[Reusable]:
        digest = run.request.reuse_digest
        if not digest:
            return []
        try:
            return msgspec.json.decode(await self._get(digest), type=list[Reusable])
        except (BlobMissing, BlobDamaged, msgspec.MsgspecError) as error:
            self._logger.warning("the list of what may be reused cannot be read", run=run.id, reason=str(error))
            return []

    async def _is_there(self, entry: TaskReused) -> bool:
        """Whether the task's own files and the view of them are stored; its ancestors' files are those of its
        dependencies, which are taken over as well.
        """
        try:
            if entry.manifest:
                manifest = msgspec.json.decode(await self._get(entry.manifest), type=Manifest)
                if not await self._has(manifest.bundle):
                    return False
        except (BlobMissing, BlobDamaged, msgspec.MsgspecError):
            return False
        return not entry.tree or await self._has(entry.tree)

    async def _get(self, digest: Digest) -> bytes:
        while True:
            try:
                return await self._blobs.get(digest)
            except LogUnavailable as error:
                await self._wait(error)
            except OSError as error:
                raise BlobDamaged(f"{digest}: {error}") from error

    async def _has(self, digest: Digest) -> bool:
        while True:
            try:
                return await self._blobs.has(digest)
            except LogUnavailable as error:
                await self._wait(error)
            except OSError:
                return False

    async def _wait(self, error: Exception) -> None:
        self._logger.warning("the blob store is away; trying on", reason=str(error))
        await self._clock.sleep(RETRY_S)


def _plan_of(run: Run) -> _Plan | None:
    """The run with the plan that it would settle next; None if it takes over nothing, has no plan yet or settled it."""
    return (run.id, run.plan.plan_digest) if wants_reuse(run) and run.plan is not None and not run.settled else None


def _find(state: State, run: Run, listed: list[Reusable], index: Index | None = None) -> _Found:
    index = index_of(state, run, listed) if index is None else index
    return index, reused_tasks(run, index, state.now)
