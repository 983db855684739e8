"""Carries out the orders of one instance, one after the other, while the lane is read on.

Imports ports, proto and siblings. Invariant: what is known at the very moment of a start decides about it: an order
that was stopped or given up until then never starts, however long those before it took.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from pto_dispatch.orders import Identity, News, OpenOrders, identity_of
from pto_ports.backend import Backend, Order
from pto_proto import events as ev

ReportEnd = Callable[[Order, ev.FailureClass, str], None]
"""Says that the attempt does not run, with class and reason."""
MAX_IN_A_ROW = 100
"""Orders started before others get a turn: what they report is on its way while the next ones start."""
SayAlive = Callable[[Order, str], None]
"""Says that the attempt runs, with a detail."""


class OrderWorker:
    """What has to be done, and the doing of it. ``be_current`` returns when the lane was read to its head."""

    def __init__(
        self,
        orders: OpenOrders,
        backend: Backend,
        *,
        be_current: Callable[[], Awaitable[None]],
        report_end: ReportEnd,
        say_alive: SayAlive,
    ) -> None:
        self._orders = orders
        self._backend = backend
        self._be_current = be_current
        self._report_end = report_end
        self._say_alive = say_alive
        self._waiting: dict[Identity, Order] = {}
        """Orders to start, in their order."""
        self._stops: deque[Order] = deque()
        self._wake = asyncio.Event()

    async def adopt(self, order: Order) -> None:
        """An order from before this incarnation: it goes on, or it provably does not run."""
        reason = self._orders.stop_reason(order)
        if not await self._backend.adopt(order):
            why = reason or "the dispatcher restarted and the attempt did not survive that"
            self._report_end(order, "infra" if reason is None else "cancelled", why)
        elif reason is None:
            self._say_alive(order, "its dispatcher restarted and found it")
        else:
            await self._stop(order)  # before it does anything: an adopted attempt may not have begun yet

    def take(self, news: News) -> None:
        """Note what was read."""
        for order in news.start:
            self._waiting[identity_of(order.run, order.ready)] = order
        for order in news.stop:
            if self._waiting.pop(identity_of(order.run, order.ready), None) is None:
                self._stops.append(order)
            else:
                self._report_end(order, "cancelled", self._orders.stop_reason(order) or "")
        for order in news.missed:
            if self._orders.is_open(order) and identity_of(order.run, order.ready) not in self._waiting:
                self._say_alive(order, "its dispatcher is heard of again")
        self._wake.set()

    async def work(self) -> None:
        """Do what has to be done, until cancelled."""
        started = 0
        while True:
            while self._stops:
                await self._stop(self._stops.popleft())
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._be_current()
            if self._waiting and not self._stops:
                await self._start(self._waiting.pop(next(iter(self._waiting))))
                started += 1
                if started % MAX_IN_A_ROW == 0:
                    await asyncio.sleep(0)

    async def _start(self, order: Order) -> None:
        reason = self._orders.stop_reason(order)
        if not self._orders.is_open(order):
            return
        if reason is not None:
            self._report_end(order, "cancelled", reason)
        else:
            await self._backend.start(order)

    async def _stop(self, order: Order) -> None:
        reason = self._orders.stop_reason(order)
        if reason is not None and not await self._backend.stop(order, reason):
            # Its end was reported before, or that message cannot be read: the first one that can be counts.
            self._report_end(order, "cancelled", reason)
