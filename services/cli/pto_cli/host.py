"""Embedded mode: a broker and all services of one run's folder, living as long as this process.

Composition root of the command line: the one module beside the services' mains that names adapters. What only works
with a running broker is imported while that starts. Invariant: the services share this process and nothing else; each
has its own connection and account, and they meet in the log alone.
"""

import os
import secrets
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_bus.broker import Broker
from pto_bus.topology import dispatcher_user, single_host_accounts
from pto_cli.dispatchers import serving, told_settings
from pto_cli.engines import service_settings
from pto_cli.model_flags import SIMULATED, ModelChoice
from pto_cli.registry import LOCAL_ONLY, Dispatchers, state_home

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from pto_bus.session import Session
    from pto_runtime.settings import Settings

    Serve = Callable[[Settings, asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]

STOP_S = 10.0
"""How long the services get to end in order."""
SPARE_CAPACITY = 64
"""Attempts at once that a dispatcher takes at least, so that `orchestrator budget` can raise what a run may have."""
OTHER_CAPACITY = 4
"""Plans and merges at once: one run needs one of each."""

LOADING_SWITCH_S = 0.0005
"""How long the thread that imports may keep others waiting: setting up the streams is a dozen short steps."""
NOT_NEEDED = ("scheduler-2", "archiver")
"""Accounts of a shared broker: a run's own has one scheduler, and its log is removed whole."""


class Host:
    """The broker of one store and, when asked for, the services on it. ``start_broker`` first, from the main thread."""

    def __init__(
        self,
        store: Path,
        *,
        blobs: Path,
        work_dir: Path,
        capacity: int,
        models: ModelChoice = SIMULATED,
        dispatchers: Dispatchers = LOCAL_ONLY,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._work_dir = work_dir
        self._capacity = capacity
        self._models = models
        self._dispatchers = dispatchers
        self._password = secrets.token_urlsafe(18)
        accounts = single_host_accounts(self._password, dispatchers.lanes)
        self._accounts = [account for account in accounts if account.user not in NOT_NEEDED]
        self._broker: Broker | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._stop: asyncio.Event | None = None
        """Set when the services are to end; None: there are none."""
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
        """Start the broker and do not wait for it; once. Raises the errors of ``Broker.launch``."""
        if self._broker is None:
            self._broker = Broker.launch(self._store, self._accounts)

    def begin(self) -> None:
        """Begin to set up the streams, in the background."""
        import asyncio

        import pto_bus.bootstrap
        import pto_bus.mirror
        import pto_bus.session  # noqa: F401 - here, before ``load`` has its thread take turns with it

        if self._opening is None:
            self._opening = asyncio.create_task(self._open())

    async def load(self) -> None:
        """Import what hosting a run needs, in a thread: the streams are set up meanwhile."""
        import asyncio

        usual = sys.getswitchinterval()
        sys.setswitchinterval(LOADING_SWITCH_S)
        try:
            await asyncio.to_thread(_load, self._dispatchers)
        finally:
            sys.setswitchinterval(usual)

    async def open(self) -> "Session":
        """A requester's session, when the streams are set up. Raises BusError."""
        self.begin()
        assert self._opening is not None  # noqa: S101 - ``begin`` has just set it
        return await self._opening

    async def _open(self) -> "Session":
        from pto_bus.bootstrap import bootstrap
        from pto_bus.connect import connect
        from pto_bus.mirror import wait_for_mirror
        from pto_bus.session import open_session

        if self._broker is not None:
            self._broker.wait_ready()
        may_create = self._broker is None or not self._broker.had_log
        connection = await connect(self.url, user="bootstrap", password=self._password)
        try:
            await bootstrap(connection, self._accounts, may_create_log=may_create)
            await wait_for_mirror(connection)
        finally:
            await connection.close()
        return await open_session(self.url, user="requester", password=self._password)

    def start_services(self) -> None:
        """Start scheduler, planner, dispatchers and consolidator; they find by themselves what there is to do.

        Raises BadSettings, Unavailable.
        """
        import asyncio

        from pto_runtime.gc_pause import relax_gc
        from pto_runtime.process_limits import widen_limits

        relax_gc()
        widen_limits()
        base = replace(
            service_settings(self._models, os.environ),
            url=self.url,
            password=self._password,
            capacity=OTHER_CAPACITY,
            work_dir=self._work_dir,
            blobs=f"dir:{self._blobs}",
            snapshots=self._store.parent / "snapshots",
        )
        found = [(user, base, serve) for user, serve in _serving()]
        for lane, serve in serving(self._dispatchers):
            told = told_settings(base, lane, self._dispatchers, os.environ)
            found.append((dispatcher_user(lane), replace(told, capacity=max(self._capacity, SPARE_CAPACITY)), serve))
        self._stop = asyncio.Event()
        for user, settings, serve in found:
            named = replace(settings, user=user, instance=user)
            self._services.append(asyncio.create_task(serve(named, self._stop, lambda: None), name=user))

    def check(self) -> None:
        """Raise what ended a service that should still run."""
        for service in self._services:
            if service.done() and self._stop is not None and not self._stop.is_set():
                service.result()

    async def close(self) -> None:
        """End the services in order, then the broker. Harmless when it was closed already."""
        import asyncio

        if self._opening is not None:
            self._opening.cancel()
            (session,) = await asyncio.gather(self._opening, return_exceptions=True)
            if not isinstance(session, BaseException):
                await session.close()
        await self.end_services()
        self.stop_broker()

    async def end_services(self, within_s: float = STOP_S) -> bool:
        """End the services; whether they ended in order. Harmless when they have ended."""
        import asyncio

        if self._stop is None:
            return True
        from pto_runtime.ending import end_tasks

        self._stop.set()
        _, late = await asyncio.wait(self._services, timeout=within_s)
        await end_tasks(lambda: {service for service in late if not service.done()})
        ends = await asyncio.gather(*(service for service in self._services if service.done()), return_exceptions=True)
        return not late and not any(isinstance(end, BaseException) for end in ends)

    def stop_broker(self) -> None:
        """End the broker; what it stored stays. At once, because all that it acknowledged is on disk."""
        if self._broker is not None:
            self._broker.stop(at_once=True)
            self._broker = None


def blob_cache() -> Path:
    """The folder of the blobs that all embedded runs share."""
    return state_home() / "blobs"


def _load(dispatchers: Dispatchers) -> None:
    # First, because it leaves out what others would bring along.
    import_module("pto_runtime.logs")
    _serving()
    serving(dispatchers)
    import_module("pto_cli.hosting")


def _serving() -> "list[tuple[str, Serve]]":
    """(account, service) of what every run needs. Imported here: a command that only reads a run needs none of this."""
    import pto_consolidator.main
    import pto_planner.main
    import pto_scheduler.main

    return [
        ("scheduler", pto_scheduler.main.serve),
        ("planner", pto_planner.main.serve),
        ("consolidator", pto_consolidator.main.serve),
    ]
