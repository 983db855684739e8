"""ray on one machine: one processor per task."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from ..shapes import Dependencies
from .peer import NULL

STORE_BYTES = 256 * 2**20


class Ray:
    """Who asked owns the results; they end with it."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init(
            num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
            _temp_dir=str(state), object_store_memory=STORE_BYTES,
        )  # fmt: skip

        @ray.remote
        def node(seconds: float, *_: object) -> None:
            if seconds:
                time.sleep(seconds)

        @ray.remote
        def spawn() -> None:
            subprocess.run([NULL], check=True)

        self._node, self._spawn = node, spawn

    def bag(self, n: int) -> None:
        ray.get([self._node.remote(0.0) for _ in range(n)])

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        tasks: list[object] = []
        for above, duration in zip(dependencies, durations, strict=True):
            tasks.append(self._node.remote(duration, *(tasks[other] for other in above)))
        ray.get(tasks)

    def processes(self, n: int) -> None:
        ray.get([self._spawn.remote() for _ in range(n)])

    def stop(self) -> None:
        ray.shutdown()
