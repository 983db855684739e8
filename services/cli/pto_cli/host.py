"""Embedded mode: a broker and all services of one run's folder, living as long as this process.

Composition root of the command line: the one module beside the services' mains that names adapters. Invariant: the
services share this process and nothing else; each has its own connection and account, and they meet in the log alone.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.mirror import wait_for_mirror
from pto_bus.session import Session, open_session
from pto_bus.topology import single_host_accounts
from pto_ports.engine import PlanDraft
from pto_proto.ids import LANE_LOCAL
from pto_runtime.settings import Settings

STOP_S = 10.0
"""How long the services get to end in order."""
PLANNER_CAPACITY = 4
"""Plans and merges at once: one run needs one of each."""

Serve = Callable[[Settings, asyncio.Event, Callable[[], None]], Awaitable[None]]


class Host:
    """The broker of one store and, when asked for, the services on it. ``start_broker`` first, from the main thread."""

    def __init__(self, store: Path, *, blobs: Path, work_dir: Path, capacity: int) -> None:
        self._store = store
        self._blobs = blobs
        self._work_dir = work_dir
        self._capacity = capacity
        self._password = secrets.token_urlsafe(18)
        self._accounts = single_host_accounts(self._password, (LANE_LOCAL,))
        self._broker: Broker | None = None
        self._stop = asyncio.Event()
        self._services: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where the broker listens."""
        return self._broker.url if self._broker is not None else ""

    @property
    def pid(self) -> int:
        """Process id of this process, which hosts the broker."""
        return os.getpid()

    @property
    def password(self) -> str:
        """The password of all accounts of this start."""
        return self._password

    def start_broker(self) -> None:
        """Start the broker. Raises the errors of ``Broker.start``."""
        self._broker = Broker.start(self._store, self._accounts)

    async def open(self) -> Session:
        """Set up the streams and return a requester's session. Raises BusError."""
        may_create = self._broker is None or not self._broker.had_log
        connection = await connect(self.url, user="bootstrap", password=self._password)
        try:
            await bootstrap(connection, self._accounts, may_create_log=may_create)
            await wait_for_mirror(connection)
        finally:
            await connection.close()
        return await open_session(self.url, user="requester", password=self._password)

    def start_services(self) -> None:
        """Start scheduler, planner, local dispatcher and consolidator; they find by themselves what there is to do."""
        # Imported here: a command that only reads a run needs none of this.
        import pto_consolidator.main
        import pto_dispatcher_local.main
        import pto_planner.main
        import pto_scheduler.main

        for user, serve, capacity in (
            ("scheduler", pto_scheduler.main.serve, 1),
            ("dispatcher-local", pto_dispatcher_local.main.serve, self._capacity),
            ("planner", pto_planner.main.serve, PLANNER_CAPACITY),
            ("consolidator", pto_consolidator.main.serve, PLANNER_CAPACITY),
        ):
            settings = Settings(
                url=self.url,
                user=user,
                password=self._password,
                instance=user,
                capacity=capacity,
                work_dir=self._work_dir,
                blobs=f"dir:{self._blobs}",
                snapshots=self._store.parent / "snapshots",
            )
            self._services.append(asyncio.create_task(serve(settings, self._stop, lambda: None), name=user))

    def check(self) -> None:
        """Raise what ended a service that should still run."""
        for service in self._services:
            if service.done() and not self._stop.is_set():
                service.result()

    async def close(self) -> None:
        """End the services in order, then the broker."""
        self._stop.set()
        if self._services:
            _, late = await asyncio.wait(self._services, timeout=STOP_S)
            for service in late:
                service.cancel()
            await asyncio.gather(*self._services, return_exceptions=True)
        self.stop_broker()

    def stop_broker(self) -> None:
        """End the broker; what it stored stays."""
        if self._broker is not None:
            self._broker.stop()
            self._broker = None


def draft_plan(requirement: str, max_executors: int) -> PlanDraft:
    """The plan that the simulated engine would make. Raises EngineError."""
    from pto_engines.simulated import SimulatedPlanner

    return SimulatedPlanner().plan(requirement, max_executors)
