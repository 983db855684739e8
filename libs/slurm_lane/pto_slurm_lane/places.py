"""The lane's places for jobs: which executor slots of which run have a job that may still be there.

Imports ports only. Invariant: a slot has one job at a time, and all together have no more than ``capacity``: a job that
has told its result still counts until SLURM says that it is over, and so do pilots.
"""

import asyncio
from collections.abc import Callable

from pto_ports.backend import Order
from pto_proto.ids import RunId

Slot = tuple[RunId, int]


class Places:
    """One for all attempts of a lane; first come, first served."""

    def __init__(self, capacity: int, others: Callable[[], int] = lambda: 0) -> None:
        """``others``: how many jobs of the lane there are besides."""
        self._capacity = capacity
        self._others = others
        self._wanted: dict[str, Slot] = {}
        """By attempts that wait."""
        self._taken: dict[Slot, str] = {}
        self._changed = asyncio.Condition()

    async def take(self, order: Order, name: str) -> None:
        """Return when the order's slot is this attempt's."""
        slot = self._wanted[name] = _slot(order)
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._is_free(slot, name))
                self._taken[slot] = name
        finally:
            del self._wanted[name]

    def keep(self, order: Order, name: str) -> None:
        """The attempt has a job from before a restart: it holds its slot, whoever else does."""
        self._taken[_slot(order)] = name

    async def free(self, order: Order, name: str) -> None:
        """The attempt's job is over, or there was none."""
        async with self._changed:
            if self._taken.get(_slot(order)) == name:
                del self._taken[_slot(order)]
            self._changed.notify_all()

    async def look(self) -> None:
        """There may be fewer others."""
        async with self._changed:
            self._changed.notify_all()

    @property
    def needed(self) -> int:
        """How many are taken or waited for."""
        return len({*self._taken, *self._wanted.values()})

    def _is_free(self, slot: Slot, name: str) -> bool:
        holder = self._taken.get(slot)
        return holder == name or (holder is None and len(self._taken) + self._others() < self._capacity)


def _slot(order: Order) -> Slot:
    return (order.run, order.ready.slot)
