"""The backend port: how a dispatcher runs attempts. Planner and consolidator are backends of their lanes too.

Invariant: starting never waits for the work; every started attempt ends with exactly one TaskFinished, reported through
the ``Report`` that the backend was opened with.
"""

from typing import Protocol

import msgspec

from pto_proto.events import Entry, TaskReady
from pto_proto.ids import RunId


class Order(msgspec.Struct, frozen=True):
    """An attempt that this instance was named for: the run, the entry of TaskReady and its sequence in the log."""

    run: RunId
    seq: int
    ready: TaskReady


class Report(Protocol):
    """Where a backend says what happened. May be called from any thread."""

    def __call__(self, order: Order, *entries: Entry) -> None:
        """Queue these entries about the order's run for the log, in this order."""


class LiveLine(Protocol):
    """Where a backend sends lines of output for whoever looks on. May be called from any thread; may lose lines."""

    def __call__(self, order: Order, stream: str, text: str) -> None:
        """``stream`` is ``stdout`` or ``stderr``."""


class Backend(Protocol):
    """Runs attempts in one lane."""

    def can_run(self) -> tuple[str, ...]:
        """What DispatcherUp says: ``noop``, ``command``, ``agent:<engine>``, ``plan``, ``merge``."""

    async def open(self, report: Report, live: LiveLine) -> None:
        """Get ready; called once, before anything else."""

    async def start(self, order: Order) -> None:
        """Start the attempt's effect and return at once; what becomes of it is reported."""

    async def stop(self, order: Order, reason: str) -> bool:
        """End the attempt; its TaskFinished(cancelled) is reported when it has ended.

        False: no such attempt runs here, and nothing will be reported that was not reported before.
        """

    async def adopt(self, order: Order) -> bool:
        """After a restart: take over an attempt that an earlier incarnation was named for.

        True if the attempt was found (running or ended; its end will be reported), False if it provably does not run.
        """

    async def sweep(self) -> None:
        """Called once, when every open order of before was adopted: what is kept of other attempts of earlier
        incarnations has ended, by the log's word, and may go.
        """

    def forget(self, order: Order) -> None:
        """The attempt's end is in the log: what was kept so that it could be adopted may go. Returns at once."""

    async def close(self) -> None:
        """End what cannot outlive this process and free everything."""
