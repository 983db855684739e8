"""dask.distributed: a LocalCluster of worker processes with one thread each."""

import logging
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from distributed import Client, LocalCluster

from ..shapes import Dependencies
from .peer import NULL


def node(seconds: float, *_: object) -> None:
    if seconds:
        time.sleep(seconds)


def spawn(_: int) -> None:
    subprocess.run([NULL], check=True)


class Dask:
    """The scheduler keeps everything in memory."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        logging.getLogger("distributed").setLevel("ERROR")
        self._cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(state)
        )
        self._client = Client(self._cluster)
        self._graphs = count()

    def bag(self, n: int) -> None:
        self._client.gather(self._client.map(node, [0.0] * n, pure=False))

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        name = f"graph{next(self._graphs)}"
        graph = {
            f"{name}-{at}": (node, duration, *(f"{name}-{other}" for other in above))
            for at, (above, duration) in enumerate(zip(dependencies, durations, strict=True))
        }
        self._client.get(graph, list(graph))

    def processes(self, n: int) -> None:
        self._client.gather(self._client.map(spawn, range(n), pure=False))

    def stop(self) -> None:
        self._client.close()
        self._cluster.close(timeout=3)
