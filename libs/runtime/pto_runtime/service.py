"""The frame of a service's main: settings, logs, event loop, signals and exit codes.

Imports siblings and uvloop. Invariant: SIGTERM and SIGINT end a service in order, a second one at once; what
goes wrong ends it with one sentence on standard error and an exit code, never with a traceback for something that was
foreseen.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import uvloop

from pto_ports.event_log import LogCorrupt
from pto_proto.envelope import UnknownVersion
from pto_runtime.ending import end_others, end_tasks
from pto_runtime.gc_pause import relax_gc
from pto_runtime.logs import bind_contextvars, configure_logs, get_logger
from pto_runtime.process_limits import widen_limits
from pto_runtime.settings import BadSettings, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Serve = Callable[[Settings, asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]
"""Serves until the event is set; calls the function when it is up."""
DISTRIBUTION = "parallel-task-orchestrator"
END_S = 15.0
"""How long a service that is up may take to end in order, beside its draining; with what ``end_tasks`` takes for it and
for what it leaves, less than the 30 s after which those who run services kill them.
"""
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3


class CannotServe(Exception):
    """The service cannot go on, for a reason outside of it; the message says which and what to do."""


def new_incarnation() -> str:
    """A name for this start of an instance."""
    return secrets.token_hex(6)


def run_service(name: str, serve: Serve) -> None:
    """Read the settings of the service ``name``, serve until a signal comes, and exit."""
    try:
        settings = read_settings(os.environ, name)
    except BadSettings as error:
        sys.stderr.write(f"pto-{name}: {error}\n")
        sys.exit(EXIT_USAGE)
    configure_logs(settings.log_format, settings.log_level)
    relax_gc()
    widen_limits()
    sys.exit(uvloop.run(_serve(name, settings, serve)))


async def _serve(name: str, settings: Settings, serve: Serve) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, number, stop)
    bind_contextvars(service=name)
    try:
        async with _watched(name, settings) as (watched, on_up):
            up = asyncio.Event()

            def come_up() -> None:
                up.set()
                on_up()

            await _until_stopped(serve(watched, stop, come_up), stop, up, settings.drain_s + END_S)
    except (CannotServe, LogCorrupt, UnknownVersion) as error:
        get_logger().error("cannot go on", reason=str(error))
        sys.stderr.write(f"pto-{name}: {error}\n")
        return EXIT_ENVIRONMENT
    finally:
        await end_others(_say_what_is_deaf, EXIT_ENVIRONMENT)
    return 0


async def _until_stopped(
    serving: Coroutine[Any, Any, None], stop: asyncio.Event, up: asyncio.Event, end_s: float
) -> None:
    """Serve to the end, which after ``stop`` takes ``end_s`` at most: who still waits is cancelled.

    Nothing is waited for before the service is ``up``: it has nothing to bring to an end yet.
    """
    work, stopping = asyncio.create_task(serving), asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    was_up = up.is_set()
    if was_up and not work.done():
        await asyncio.wait({work}, timeout=end_s)
    if work.done():
        work.result()
        return
    if was_up:
        get_logger().warning("did not end in order within its time; what it leaves is found again", seconds=end_s)
    else:
        get_logger().info("stopped while starting")
    # Alone, because its last words need the connection whose tasks are still there.
    await end_tasks(lambda: set() if work.done() else {work})


def _say_what_is_deaf(waits_at: list[str]) -> None:
    get_logger().error(
        "cannot be ended in order; what it leaves is found again", waits_at=waits_at, exc_info=sys.exc_info()[1]
    )


@asynccontextmanager
async def _watched(name: str, settings: Settings) -> "AsyncIterator[tuple[Settings, Callable[[], None]]]":
    """(settings with their observer, what to call when the service is up). Raises CannotServe."""
    if settings.http is None:
        yield settings, lambda: None
        return
    from pto_observe.observer import make_observer
    from pto_observe.server import StatusServer
    from pto_observe.traces import TracesUnavailable
    from pto_runtime.clock import SystemClock

    try:
        observer = make_observer(name, product_version(), SystemClock(), os.environ)
        server = StatusServer(observer, *settings.http)
        await server.open()
    except TracesUnavailable as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        host, port = settings.http
        raise CannotServe(f"PTO_HTTP: cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        yield replace(settings, observer=observer), observer.is_up
    finally:
        await server.close()


def product_version() -> str:
    """Of the installed distribution; empty if there is none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return ""


def _on_signal(number: int, stop: asyncio.Event) -> None:
    """The first signal asks for an end in order; with the second one somebody says that it takes too long."""
    if stop.is_set():
        os._exit(128 + number)
    stop.set()
