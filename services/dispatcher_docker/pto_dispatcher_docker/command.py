"""A command of the harness as a container: what ``TaskRun`` launches in the place of a process.

Imports harness and siblings. Invariant: what comes of it is told once, in the harness's words.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pto_harness.cancel import Cancel
from pto_harness.guard import Guard
from pto_harness.poller import Poller
from pto_harness.process import Command, Ended

if TYPE_CHECKING:
    from pto_harness.poller import Then

RunCommand = Callable[[Command, Callable[[str, bytes], None], Cancel], Coroutine[Any, Any, Ended]]
"""Runs the command in a container. Raises Failed."""


class ContainerCommand:
    """One command of one attempt."""

    def __init__(
        self,
        run: RunCommand,
        command: Command,
        poller: Poller,
        feed: Callable[[str, bytes], None],
        cancel: Cancel,
        then: "Then",
        guard: Guard | None = None,
    ) -> None:
        self._run = run
        self._command = command
        self._feed = feed
        self._cancel = cancel
        self._then = then
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Have it run; ``then`` is called with Ended, or with why it could not be run."""
        self._task = asyncio.create_task(self._tell())

    def abandon(self) -> None:
        """Leave it alone: the container goes on."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self) -> None:
        ended: Ended | None = None
        failed: Exception | None = None
        try:
            if self._command.before is not None:
                await asyncio.to_thread(self._command.before)
            ended = await self._run(self._command, self._feed, self._cancel)
        except Exception as error:
            failed = error
        self._then(ended, failed)
