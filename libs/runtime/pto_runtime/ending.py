"""Ending what still runs in an event loop. Imports the standard library only.

Invariant: it ends in bounded time, whatever does not listen.
"""

import asyncio
import inspect
import os
from collections.abc import Callable
from typing import Any

LEAVE_S = 3.0
"""How long what was cancelled may take for its last words, before it is cancelled once more."""
LEAVE_TRIES = 2
"""How often: a cancellation that meets an answer on its way can get lost in a library."""


async def end_tasks(running: Callable[[], "set[asyncio.Task[Any]]"]) -> "set[asyncio.Task[Any]]":
    """Cancel what runs, and what begins meanwhile; returns what goes on all the same."""
    for _ in range(LEAVE_TRIES):
        if tasks := running():
            for task in tasks:
                task.cancel()
            done, _ = await asyncio.wait(tasks, timeout=LEAVE_S)
            await asyncio.gather(*done, return_exceptions=True)  # what went wrong on the way out is nobody's news
    return running()


async def end_others(say: Callable[[list[str]], None], code: int) -> None:
    """End all tasks of this loop but the one that asks: it would wait for them without end.

    If some do not listen, ``say`` hears where they wait, and the process ends at once with this exit code.
    """
    deaf = await end_tasks(_others)
    if not deaf:
        return
    try:
        say([_places(task) for task in deaf])
    finally:
        os._exit(code)


def _others() -> "set[asyncio.Task[Any]]":
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def _places(task: "asyncio.Task[Any]") -> str:
    """The lines at which a task waits, the outermost first, for whoever has to find out why."""
    found: list[str] = []
    waits: Any = task.get_coro()
    while inspect.iscoroutine(waits) and waits.cr_frame is not None:
        found.append(f"{waits.cr_code.co_filename}:{waits.cr_frame.f_lineno}")
        waits = waits.cr_await
    return " > ".join(found) or repr(task)
