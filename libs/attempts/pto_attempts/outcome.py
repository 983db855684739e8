"""From a harness's result to TaskFinished: everything it names is stored before it is said.

Imports core, harness, ports, proto and siblings. Invariants: an attempt's outputs, log and tree are in the blob store
before its end names them; what cannot be stored is no success.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec

from pto_attempts.materials import Conflicting
from pto_core.merge import overlay
from pto_ports.backend import Order
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore, StoreFull
from pto_ports.clock import Clock
from pto_ports.engine import Spent
from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, TaskId
from pto_proto.manifests import Manifest, Tree, TreeFile
from pto_runtime.logs import get_logger


class Identity(TypedDict):
    """What every entry of a dispatcher about an attempt starts with."""

    at: int
    cause: int
    task: TaskId
    attempt: int
    round: int
    instance: InstanceId


class Bill(NamedTuple):
    """What an agent has cost. Not final: it was left before it had said so, and may still be charged."""

    spent: Spent = Spent()
    is_final: bool = True
    retry_after_s: float = 0.0


NO_BILL = Bill()


class Outcomes:
    """Says how attempts of one dispatcher instance ended."""

    def __init__(self, blobs: BlobStore, clock: Clock, instance: InstanceId) -> None:
        self._blobs = blobs
        self._clock = clock
        self._instance = instance
        self._logger = get_logger()

    def identity(self, order: Order) -> Identity:
        """Of an entry that is made now."""
        ready = order.ready
        return Identity(
            at=self._clock.now_ms(),
            cause=order.seq,
            task=ready.task,
            attempt=ready.attempt,
            round=ready.round,
            instance=self._instance,
        )

    def started(self, order: Order, job: str = "") -> ev.TaskStarted:
        """The attempt's work began, as this job."""
        return ev.TaskStarted(**self.identity(order), job=job)

    def needs_keeping(self, order: Order, result: Mapping[str, Any]) -> bool:
        """Whether anything of the result has to be stored before its end can be said."""
        is_tree_known = result["outcome"] != "succeeded" or len(order.ready.trees) <= 1
        return bool(not is_tree_known or result["log_bytes"] or result.get("files") or order.ready.spec.agent)

    def without_keeping(self, order: Order, result: Mapping[str, Any]) -> ev.TaskFinished:
        """The end of an attempt of which nothing has to be stored."""
        trees = order.ready.trees if result["outcome"] == "succeeded" else ()
        return self._finished(order, result, tree=trees[0] if trees else NO_DIGEST)

    async def keep(
        self, order: Order, seen: tuple[TreeFile, ...], task: Mapping[str, Any], result: Mapping[str, Any]
    ) -> ev.TaskFinished:
        """Store everything, at once and not one after the other, so that it shares its way to the disk.

        ``task`` is what the harness was told: its ``log`` and ``out`` are read here, and ``out`` is removed unless
        there is ``kept``. Raises what the blob store raises; ``failed_by`` knows it.
        """

        async def log() -> Digest:
            return await self._blobs.put_file(Path(task["log"])) if result["log_bytes"] else NO_DIGEST

        try:
            log_digest, (manifest, tree) = await asyncio.gather(log(), self._store(order.ready, result, seen))
        finally:
            # ``kept``: the next incarnation needs what is there if this end gets lost on its way to the log.
            if ("bundle" in result or order.ready.spec.agent) and not task.get("kept"):
                await asyncio.to_thread(shutil.rmtree, task["out"], ignore_errors=True)
        return self._finished(order, result, log=log_digest, manifest=manifest, tree=tree)

    async def keep_log(self, path: Path) -> Digest:
        """Store a log, for an end that was told without one. Raises what the blob store raises."""
        return await self._blobs.put_file(path)

    async def noop(self, order: Order, seen: tuple[TreeFile, ...]) -> ev.TaskFinished:
        """The end of a task that only brings its ancestors' files together. Raises what the blob store raises."""
        tree = await self._blobs.put(msgspec.json.encode(Tree(files=seen)))
        return ev.TaskFinished(**self.identity(order), outcome="succeeded", tree=tree)

    def noop_at_once(self, order: Order) -> ev.TaskFinished:
        """The same for a task with at most one tree."""
        tree = order.ready.trees[0] if order.ready.trees else NO_DIGEST
        return ev.TaskFinished(**self.identity(order), outcome="succeeded", tree=tree)

    def failed(self, order: Order, failure: ev.FailureClass, reason: str, hint: str = "") -> ev.TaskFinished:
        """The attempt failed before or beside the harness."""
        return ev.TaskFinished(
            **self.identity(order), outcome="failed", failure=failure, reason=reason, hint=hint, tail=(reason,)
        )

    def cancelled(self, order: Order, reason: str) -> ev.TaskFinished:
        """Before anything was started."""
        reason = reason or "cancelled"
        return ev.TaskFinished(**self.identity(order), outcome="cancelled", failure="cancelled", reason=reason)

    def failed_by(self, order: Order, error: BaseException | None) -> ev.TaskFinished:
        """The attempt failed by this error around the harness: most are nobody's fault, and nothing is burnt."""
        if isinstance(error, Conflicting):
            hint = "Let one task depend on the other, or choose --on-conflict latest or keep-both."
            return self.failed(order, "task", str(error), hint)
        if isinstance(error, BlobMissing | BlobDamaged):
            return self.failed(order, "infra", f"what the task needs cannot be fetched: {error}")
        if isinstance(error, StoreFull | OSError):
            return self.failed(order, "infra", f"the outputs cannot be stored: {error}", "Free space on the disk.")
        if isinstance(error, LogUnavailable):
            return self.failed(order, "infra", f"the blob store is away: {error}")
        self._logger.error("attempt failed by a fault of the dispatcher", task=order.ready.task, exc_info=error)
        # Not its repr: that of a text that cannot be encoded holds the whole text, which may be a secret.
        return self.failed(order, "infra", f"a fault of the dispatcher: {type(error).__name__}: {error}")

    async def _store(
        self, ready: ev.TaskReady, result: Mapping[str, Any], seen: tuple[TreeFile, ...]
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

    def _finished(
        self,
        order: Order,
        result: Mapping[str, Any],
        *,
        tree: Digest,
        manifest: Digest = NO_DIGEST,
        log: Digest = NO_DIGEST,
    ) -> ev.TaskFinished:
        return ev.TaskFinished(
            **self.identity(order),
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


def with_bill(order: Order, finished: ev.TaskFinished, bill: Bill) -> ev.TaskFinished:
    """With what its agent has cost, and when it should be tried again; nobody knows what a bill that is not final
    will be.
    """
    cost = bill.spent.cost_usd if bill.is_final or not order.ready.reserved_usd else None
    return msgspec.structs.replace(finished, usage=bill.spent.usage, cost_usd=cost, retry_after_s=bill.retry_after_s)
