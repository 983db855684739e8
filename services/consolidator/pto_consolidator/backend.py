"""The consolidator as the backend of its lane: a ``_merge`` order becomes RunConsolidated.

Imports core, harness, ports and proto. Invariant: the merged tree and all its bundles are stored before they are
reported.
"""

import asyncio
from collections.abc import Sequence
from typing import TypedDict

from pto_consolidator.checking import Checker
from pto_consolidator.listing import shorten_checks, shorten_conflicts, shorten_refused
from pto_consolidator.merging import MergedProject, merge_project
from pto_core.views import RunView
from pto_harness import Cancel, NoSandbox
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore, StoreFull
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogUnavailable, Recorded
from pto_proto import events as ev
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.subjects import run_filter
from pto_runtime.logs import get_logger


class _Identity(TypedDict):
    at: int
    cause: int
    task: TaskId
    attempt: int
    round: int


_Name = tuple[RunId, int, int]


class ConsolidatorBackend:
    """Merges the outputs of runs, several at once."""

    def __init__(self, *, log: EventLog, blobs: BlobStore, clock: Clock, instance: InstanceId) -> None:
        self._log = log
        self._blobs = blobs
        self._clock = clock
        self._instance = instance
        self._report: Report | None = None
        self._working: dict[_Name, tuple[Cancel, asyncio.Task[None]]] = {}
        self._checker = Checker()
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """It merges, and nothing else."""
        return ("merge",)

    async def open(self, report: Report, live: LiveLine) -> None:
        """Keep where to report; a merge has no live lines."""
        self._report = report

    async def start(self, order: Order) -> None:
        """Merge in the background; an attempt that is being merged already is left alone."""
        name = _name(order)
        if name in self._working:
            return
        cancel = Cancel()
        task = asyncio.create_task(self._work(order, cancel))
        self._working[name] = (cancel, task)
        task.add_done_callback(lambda _: self._working.pop(name, None))

    async def stop(self, order: Order, reason: str) -> bool:
        """Ask the merge to end; it reports that itself."""
        working = self._working.get(_name(order))
        if working is not None:
            working[0].request(reason)
        return working is not None

    async def adopt(self, order: Order) -> bool:
        """Merging lives in this process only."""
        return False

    async def sweep(self) -> None:
        """Nothing is kept for a restart."""

    def forget(self, order: Order) -> None:
        """Nothing is kept for a restart."""

    async def close(self) -> None:
        """Give up everything; it is found again after a restart."""
        self._report = None
        working = list(self._working.values())
        for cancel, _ in working:
            cancel.request("the consolidator was stopped")
        await asyncio.gather(*(task for _, task in working), return_exceptions=True)
        await asyncio.to_thread(self._checker.close)

    async def _work(self, order: Order, cancel: Cancel) -> None:
        began = self._clock.monotonic_s()
        self._say(order, ev.TaskStarted(**self._identity(order), instance=self._instance))
        failure: ev.FailureClass | None = None
        reason = hint = ""
        try:
            merged = await merge_project(await self._view(order), self._blobs, self._checker, cancel)
        except (BlobMissing, BlobDamaged) as error:
            failure, reason = "infra", f"an output cannot be fetched: {error}"
        except NoSandbox as error:
            failure, reason, hint = "config", str(error), error.hint
        except (StoreFull, LogUnavailable, OSError) as error:
            failure, reason = "infra", f"the project cannot be stored: {error}"
        except Exception as error:
            self._logger.exception("merge failed", run=order.run)
            failure, reason = "task", f"a fault of the consolidator: {error!r}"
        if cancel.requested:
            failure, reason = "cancelled", cancel.reason
        took = round(self._clock.monotonic_s() - began, 6)
        if failure is not None:
            finished = ev.TaskFinished(
                **self._identity(order),
                instance=self._instance,
                outcome="cancelled" if failure == "cancelled" else "failed",
                failure=failure,
                reason=reason,
                hint=hint,
                duration_s=took,
            )
            self._say(order, finished)
        else:
            self._tell(order, merged, took)

    async def _view(self, order: Order) -> RunView:
        messages = await self._log.read_run(run_filter(order.run), up_to=order.seq)
        return await asyncio.to_thread(self._fold, order.run, messages)

    def _fold(self, run: RunId, messages: Sequence[Recorded]) -> RunView:
        view = RunView()
        for recorded in messages:
            try:
                view.apply(recorded.seq, decode_event(recorded.data))
            except ProtocolError as error:
                self._logger.warning("unreadable event", run=run, sequence=recorded.seq, error=str(error))
        return view

    def _tell(self, order: Order, merged: MergedProject, took: float) -> None:
        traced = merged.trace
        consolidated = ev.RunConsolidated(
            **self._identity(order),
            tree_digest=merged.digest,
            manifest=merged.manifest,
            files=len(merged.tree.files),
            lines=merged.lines,
            conflicts=shorten_conflicts(merged.consolidated.conflicts),
            refused=shorten_refused(merged.consolidated.refused),
            checks=shorten_checks(merged.checks),
            culprit=traced.culprit if traced is not None else TaskId(""),
            evidence=traced.evidence if traced is not None else "",
            merged_builds=bool(merged.checks) + (traced.builds if traced is not None else 0),
        )
        finished = ev.TaskFinished(
            **self._identity(order),
            instance=self._instance,
            outcome="succeeded",
            manifest=merged.manifest,
            files=len(merged.tree.files),
            duration_s=took,
        )
        self._say(order, consolidated, finished)

    def _identity(self, order: Order) -> _Identity:
        ready = order.ready
        return _Identity(
            at=self._clock.now_ms(), cause=order.seq, task=ready.task, attempt=ready.attempt, round=ready.round
        )

    def _say(self, order: Order, *entries: ev.Entry) -> None:
        if self._report is not None:
            self._report(order, *entries)


def _name(order: Order) -> _Name:
    return order.run, order.ready.round, order.ready.attempt
