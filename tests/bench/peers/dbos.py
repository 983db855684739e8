"""DBOS Transact on SQLite: one workflow whose steps are the tasks, as many at a time as there are workers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dbos import DBOS

from ..shapes import Dependencies
from ..shapes import bag as shape_of_bag
from .peer import NULL


class Dbos:
    """Each step is committed before the next one."""

    durable = "each step"

    def start(self, workers: int, state: Path) -> None:
        config = {
            "name": "bench", "system_database_url": f"sqlite:///{state}/dbos.sqlite", "log_level": "ERROR",
            "console_log_level": "ERROR", "enable_otlp": False, "run_admin_server": False,
        }  # fmt: skip
        DBOS(config=config)

        @DBOS.step()
        async def step(seconds: float, *, is_process: bool) -> None:
            if seconds:
                await asyncio.sleep(seconds)
            if is_process:
                await (await asyncio.create_subprocess_exec(NULL)).wait()

        @DBOS.workflow()
        async def graph(dependencies: Dependencies, durations: Sequence[float], *, is_process: bool) -> None:
            places = asyncio.Semaphore(workers)
            tasks: list[asyncio.Task[None]] = []

            async def one(at: int) -> None:
                for other in dependencies[at]:
                    await tasks[other]
                async with places:
                    await step(durations[at], is_process=is_process)

            for at in range(len(dependencies)):
                tasks.append(asyncio.ensure_future(one(at)))
            await asyncio.gather(*tasks)

        self._graph = graph
        DBOS.launch()

    def bag(self, n: int) -> None:
        self.graph(shape_of_bag(n), [0.0] * n)

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        asyncio.run(self._graph(dependencies, list(durations), is_process=False))

    def processes(self, n: int) -> None:
        asyncio.run(self._graph(shape_of_bag(n), [0.0] * n, is_process=True))

    def stop(self) -> None:
        DBOS.destroy()
