"""From Spot to on-demand: which tasks have lost too many Spot instances, and where they go then.

Imports ports, proto, pto_slurm and pto_slurm_lane. Invariant: a loss is on the disk before it is told, so that the next
attempt knows it, whoever hands that out; one that is told again, after a crash, counts once.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pto_ports.backend import Order
from pto_proto.ids import RunId
from pto_slurm.shape import CLUSTERS_DEFAULT
from pto_slurm_lane.ledger import write_durably

MAX_LOSSES = 2
"""One loss can happen to any instance; two of one task cost more than on-demand does."""


class Fallback:
    """Of one cluster: ``queues`` maps a Spot queue to its on-demand one; ``folder`` gives a run's own."""

    def __init__(self, queues: Mapping[str, str], root: Path) -> None:
        self._queues = dict(queues)
        self._root = root
        self.default = ""
        """The cluster's default queue, for tasks that name none; empty: not known yet."""

    @property
    def is_used(self) -> bool:
        """Whether there is any queue to fall back from."""
        return bool(self._queues)

    def placed(self, order: Order) -> Order:
        """The order, in the on-demand queue if its task has lost enough."""
        target = self._queues.get(self._queue_of(order))
        if target is None or len(self._losses(order.run).get(order.ready.task, ())) < MAX_LOSSES:
            return order
        spec = order.ready.spec
        moved = msgspec.structs.replace(spec, slurm=msgspec.structs.replace(spec.slurm, partition=target))
        return Order(order.run, order.seq, msgspec.structs.replace(order.ready, spec=moved))

    def note(self, order: Order) -> str:
        """The order's instance was lost, or not to be had; says where the task goes next. Empty: where it was."""
        target = self._queues.get(self._queue_of(order))
        if target is None:
            return ""
        losses = self._losses(order.run)
        lost = losses.setdefault(order.ready.task, set())
        lost.add((order.ready.attempt, order.ready.round))
        path = self._path(order.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(losses))
        return target if len(lost) >= MAX_LOSSES else ""

    def _losses(self, run: RunId) -> dict[str, set[tuple[int, int]]]:
        """Task -> its attempts, by number and round, that lost their Spot instance."""
        try:
            return msgspec.json.decode(self._path(run).read_bytes(), type=dict[str, set[tuple[int, int]]])
        except FileNotFoundError:
            return {}

    def _path(self, run: RunId) -> Path:
        return self._root / run / "lost_attempts.json"

    def _queue_of(self, order: Order) -> str:
        named = order.ready.spec.slurm.partition
        return self.default if named in ("", CLUSTERS_DEFAULT) else named
