"""taskiq on JetStream: worker processes pull, dependencies are kept by the caller."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port

from ..shapes import Dependencies
from ..shapes import bag as shape_of_bag
from .server import HOST, start_server

UNDER_WAY = 256
"""Messages being published at once."""
BATCH, BATCH_OF_SLEEPS = 64, 1
TASKS = "taskiq_tasks"


class Taskiq:
    """The queue survives; the caller keeps what waits for what."""

    durable = "queue only"

    def start(self, workers: int, state: Path) -> None:
        port = free_port()
        is_for_sleeps = workers > 2  # a worker that takes several messages at once would serialise sleeps
        os.environ["PEER_NATS_URL"] = f"nats://{HOST}:{port}"
        os.environ["PEER_PULL_BATCH"] = str(BATCH_OF_SLEEPS if is_for_sleeps else BATCH)
        self._server = start_server(port, state, Path(sys.executable).parent / "nats-server")
        self._tasks: Any = import_module(f"{__package__}.{TASKS}")
        self._loop = asyncio.new_event_loop()
        self._done: dict[int, asyncio.Future[None]] = {}
        self._loop.run_until_complete(self._open())
        one_by_one = ["--max-async-tasks", "1", "--max-prefetch", "1"] if is_for_sleeps else []
        self._workers = subprocess.Popen(
            [sys.executable, "-m", "taskiq", "worker", f"{__package__}.{TASKS}:broker", "--workers", str(workers),
             "--log-level", "ERROR", *one_by_one],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def bag(self, n: int) -> None:
        self.graph(shape_of_bag(n), [0.0] * n)

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        self._run(dependencies, lambda at: self._tasks.node.kiq(at, durations[at]))

    def processes(self, n: int) -> None:
        self._run(shape_of_bag(n), self._tasks.spawn.kiq)

    def stop(self) -> None:
        self._workers.kill()
        self._server.kill()

    async def _open(self) -> None:
        async def is_done(message: Any) -> None:
            self._done.pop(int(message.data)).set_result(None)

        await self._tasks.broker.startup()
        await self._tasks.broker.client.subscribe(self._tasks.DONE, cb=is_done, pending_msgs_limit=-1)

    def _run(self, dependencies: Dependencies, submit: Callable[[int], Awaitable[Any]]) -> None:
        self._loop.run_until_complete(self._keep(dependencies, submit))

    async def _keep(self, dependencies: Dependencies, submit: Callable[[int], Awaitable[Any]]) -> None:
        under_way = asyncio.Semaphore(UNDER_WAY)
        tasks: list[asyncio.Task[None]] = []

        async def one(at: int) -> None:
            for other in dependencies[at]:
                await tasks[other]
            done = self._done[at] = self._loop.create_future()
            async with under_way:
                await submit(at)
            await done

        for at in range(len(dependencies)):
            tasks.append(asyncio.ensure_future(one(at)))
        await asyncio.gather(*tasks)
