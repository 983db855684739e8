"""A ParallelCluster as a backend: its SLURM, and what only a cloud has: instances that cannot be had or are taken away,
and a bucket that gets everything second.

Imports ports, proto, pto_slurm_lane and siblings. Invariants: a task waits for no answer of S3; how an attempt ended is
on the shared file system before it is told; the class of a failure follows from what AWS said about the node.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from pto_dispatcher_parallelcluster.capacity import NoInstance, code_of, no_instance
from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_dispatcher_parallelcluster.mirror import Mirror
from pto_dispatcher_parallelcluster.shelf import Shelf
from pto_ports.backend import LiveLine, Order, Report
from pto_proto import events as ev
from pto_runtime.logs import get_logger
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.clients import ClientFailed, SlurmClients
from pto_slurm_lane.lane import Revise
from pto_slurm_lane.ledger import Record

FLUSH_S = 8.0
"""How long an orderly end waits for the bucket; whoever hosts the service gives it ten seconds in all."""


class ParallelClusterBackend:
    """Runs attempts as jobs of a ParallelCluster. ``make_slurm`` makes its SLURM part, which asks it for last words."""

    def __init__(
        self,
        make_slurm: Callable[[Revise], SlurmBackend],
        *,
        clients: SlurmClients,
        shelf: Shelf,
        mirror: Mirror,
        fallback: Fallback,
        capacity_retry_s: float,
    ) -> None:
        self._slurm = make_slurm(self._revise)
        self._clients = clients
        self._shelf = shelf
        self._mirror = mirror
        self._fallback = fallback
        self._capacity_retry_s = capacity_retry_s
        self._mirroring: asyncio.Task[None] | None = None
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """What its SLURM can."""
        return self._slurm.can_run()

    async def open(self, report: Report, live: LiveLine) -> None:
        """Prepare the shared folder, begin to look, and go on with what is not in the bucket yet."""

        def telling(order: Order, *entries: ev.Entry) -> None:
            self._mirror.touch(order.run)
            report(order, *entries)

        await self._slurm.open(telling, live)
        self._shelf.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mirror.open()
        await self._know_default_queue()
        self._mirroring = asyncio.create_task(self._mirror.run())

    async def start(self, order: Order) -> None:
        """Submit it; to the on-demand queue if its task has lost enough Spot instances."""
        await self._know_default_queue()
        placed = self._fallback.placed(order)
        self._mirror.touch(order.run, self._shelf.define(placed))
        await self._slurm.start(placed)

    async def stop(self, order: Order, reason: str) -> bool:
        """As its SLURM does."""
        return await self._slurm.stop(order, reason)

    async def adopt(self, order: Order) -> bool:
        """As its SLURM does."""
        placed = self._fallback.placed(order)
        self._mirror.touch(order.run, self._shelf.define(placed))
        return await self._slurm.adopt(placed)

    async def sweep(self) -> None:
        """As its SLURM does."""
        await self._slurm.sweep()

    def forget(self, order: Order) -> None:
        """As its SLURM does."""
        self._slurm.forget(order)

    async def close(self) -> None:
        """Leave the jobs alone, and bring to the bucket what there is."""
        if self._mirroring is not None:
            self._mirroring.cancel()
            await asyncio.gather(self._mirroring, return_exceptions=True)
        await self._slurm.close()
        if self._mirroring is not None:
            await self._mirror.flush(FLUSH_S)

    # --- how attempts end ---

    async def _revise(self, record: Record, end: ev.TaskFinished) -> ev.TaskFinished:
        """What AWS knows better than SLURM; then it is kept."""
        if end.failure == "infra" and end.node and end.outcome == "failed":
            end = await self._of_the_cloud(record, end)
        self._shelf.tell(record, end)
        self._mirror.touch(record.run)
        return end

    async def _of_the_cloud(self, record: Record, end: ev.TaskFinished) -> ev.TaskFinished:
        await self._know_default_queue()
        partition = record.ready.spec.slurm.partition or self._fallback.default
        refused = None if record.is_started else await self._refusal(end.node, partition)
        if refused is not None and refused.failure == "config":
            return msgspec.structs.replace(end, failure="config", reason=refused.reason, hint=refused.hint, node="")
        target = self._fallback.note(record.order)
        moved = f" The task goes to queue {target} from now on." if target else ""
        if refused is None:
            return msgspec.structs.replace(end, hint=f"{end.hint}{moved}".strip())
        return msgspec.structs.replace(
            end,
            failure="capacity",
            reason=refused.reason,
            hint=refused.hint + moved,
            retry_after_s=0.0 if target else self._capacity_retry_s,
            node="",  # which never was there, and is not to be avoided
        )

    async def _refusal(self, node: str, partition: str) -> NoInstance | None:
        """Why there was no instance for this node; None: it was something else."""
        try:
            code = code_of(await self._clients.node_reason(node))
        except ClientFailed as failed:
            self._logger.info("why the node failed cannot be asked", node=node, reason=str(failed))
            return None
        return no_instance(code, node, partition) if code else None

    async def _know_default_queue(self) -> None:
        """Ask until it is known: SLURM may be away when this begins."""
        if self._fallback.is_used and not self._fallback.default:
            with suppress(ClientFailed):
                groups = await self._clients.node_groups()
                self._fallback.default = next((group.partition for group in groups if group.is_default), "")
