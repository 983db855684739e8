"""From Spot to on-demand: which tasks have lost too many Spot instances, and where they go then.

Imports ports, proto, pto_slurm and pto_slurm_lane. Invariants: a loss is on the disk before it is told, so that the
next attempt knows it, whoever hands that out; it counts once, however often it is told.
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
    """Of one cluster: ``queues`` maps a Spot queue to its on-demand one; each run has a folder in ``root``."""

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
        if target is None or len(self.losses(order.run).get(order.ready.task, ())) < MAX_LOSSES:
            return order
        spec = order.ready.spec
        moved = msgspec.structs.replace(spec, slurm=msgspec.structs.replace(spec.slurm, partition=target))
        return Order(order.run, order.seq, msgspec.structs.replace(order.ready, spec=moved))

    def note(self, order: Order) -> str:
        """The order's instance was lost, or not to be had; says where the task goes next. Empty: where it was."""
        target = self._queues.get(self._queue_of(order))
        if target is None:
            return ""
        losses, ready = self.losses(order.run), order.ready
        lost = losses[ready.task] = sorted({*losses.get(ready.task, ()), f"{ready.round}.{ready.attempt}"})
        path = self._path(order.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(losses))
        return target if len(lost) >= MAX_LOSSES else ""

    def losses(self, run: RunId) -> dict[str, list[str]]:
        """Task -> its attempts that lost a Spot instance."""
        try:
            return msgspec.json.decode(self._path(run).read_bytes(), type=dict[str, list[str]])
        except FileNotFoundError:
            return {}

    def _path(self, run: RunId) -> Path:
        return self._root / run / "losses.json"

    def _queue_of(self, order: Order) -> str:
        named = order.ready.spec.slurm.partition
        return self.default if named in ("", CLUSTERS_DEFAULT) else named
