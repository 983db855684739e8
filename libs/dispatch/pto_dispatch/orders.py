"""What the log of a lane says about one dispatcher instance: the orders that are open for it.

Imports core, ports and proto only. Invariant: pure and idempotent; an order that ended is never open again.
"""

from typing import NamedTuple

from pto_ports.backend import Order
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId, RunId, TaskId

Identity = tuple[RunId, int, TaskId, int]
"""An attempt's run, round, task and number."""


class News(NamedTuple):
    """What one event means for the instance: orders to start, to stop, those that somebody misses word of, and those
    that have ended.
    """

    start: list[Order]
    stop: list[Order]
    missed: list[Order]
    ended: list[Order]


def no_news() -> News:
    """Empty."""
    return News([], [], [], [])


def identity_of(run: RunId, entry: ev.TaskEntry) -> Identity:
    """The identity of the attempt that this entry is about."""
    return (run, entry.round, entry.task, entry.attempt)


class OpenOrders:
    """The orders addressed to one instance that have not ended."""

    def __init__(self, instance: InstanceId) -> None:
        self._instance = instance
        self.open: dict[Identity, Order] = {}
        self.stopping: dict[Identity, str] = {}
        """Open orders that must not go on, with the reason: asked to stop, or given up as lost."""
        self._last: tuple[int, ...] = ()
        """Wire id of the last hand-out: a tick that was stored twice is older the second time."""

    def apply(self, seq: int, event: Event) -> News:
        """Fold one event of the lane; events about other instances change nothing."""
        news = no_news()
        if event.run is None:
            return news
        if event.kind is ev.TaskReady:
            wire_id = _numbers(event.id)
            if wire_id and wire_id <= self._last:
                return news
            self._last = wire_id or self._last
            for entry in event.entries:
                identity = identity_of(event.run, entry)
                if entry.instance == self._instance and identity not in self.open:
                    self.open[identity] = order = Order(event.run, seq, entry)
                    news.start.append(order)
        elif event.kind is ev.TaskFinished:
            news.ended.extend(filter(None, (self._end(event.run, entry) for entry in event.entries)))
        elif event.kind in (ev.AttemptStopRequested, ev.AttemptLost, ev.AttemptUnknown):
            for entry in event.entries:
                identity = identity_of(event.run, entry)
                known = self.open.get(identity)
                if known is None:
                    continue
                if event.kind is ev.AttemptUnknown:
                    news.missed.append(known)
                else:
                    self.stopping[identity] = entry.reason
                    news.stop.append(known)
        return news

    def _end(self, run: RunId, entry: ev.TaskEntry) -> Order | None:
        identity = identity_of(run, entry)
        self.stopping.pop(identity, None)
        return self.open.pop(identity, None)

    def is_open(self, order: Order) -> bool:
        """Whether its end is not in the log yet."""
        return identity_of(order.run, order.ready) in self.open

    def stop_reason(self, order: Order) -> str | None:
        """Why the order must not go on; None: it may."""
        return self.stopping.get(identity_of(order.run, order.ready)) if self.stopping else None


def _numbers(wire_id: str) -> tuple[int, ...]:
    """``<epoch>.<tick>.<n>`` as numbers; empty for anything else."""
    parts = wire_id.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()
