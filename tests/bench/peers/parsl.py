"""parsl with its HighThroughputExecutor on this machine."""

from collections.abc import Sequence
from pathlib import Path

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from ..shapes import Dependencies

LOOPBACK = "127.0.0.1"


class Parsl:
    """The data-flow kernel keeps everything in memory."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        executor = HighThroughputExecutor(
            label="local", max_workers_per_node=workers, cores_per_worker=0.1, address=LOOPBACK,
            loopback_address=LOOPBACK, provider=LocalProvider(init_blocks=1, max_blocks=1),
        )  # fmt: skip
        parsl.load(Config(executors=[executor], run_dir=str(state), strategy="none", initialize_logging=False))

        @parsl.python_app
        def node(seconds, *_):  # type: ignore[no-untyped-def]
            import time

            if seconds:
                time.sleep(seconds)

        @parsl.bash_app
        def spawn():  # type: ignore[no-untyped-def]
            return "/bin/true"

        self._node, self._spawn = node, spawn

    def bag(self, n: int) -> None:
        for future in [self._node(0) for _ in range(n)]:
            future.result()

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        tasks: list[object] = []
        for above, duration in zip(dependencies, durations, strict=True):
            tasks.append(self._node(duration, *(tasks[other] for other in above)))
        for task in tasks:
            task.result()  # type: ignore[attr-defined]

    def processes(self, n: int) -> None:
        for future in [self._spawn() for _ in range(n)]:
            future.result()

    def stop(self) -> None:
        parsl.dfk().cleanup()
