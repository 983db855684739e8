"""W7 for peers that go on after a kill -9: the process that owns the durable state is killed half-way and started again.

Runs outside the peers' environments. Invariant: only what was started here is signalled, and nothing of it is left.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

from tests.fakes.ports import free_port

from ..crash import AWAY_S, EXECUTORS, TASKS, Trace
from ..meter import Meter, Record
from ..options import Options
from ..running import fresh_folder
from .catalogue import PEERS
from .running import ROOT, end
from .server import HOST, start_server
from .trace import TRACE

Process = subprocess.Popen[bytes]
LOST_S = 60.0
"""After the restart: what is missing then is lost."""
SETTLE_S = 2.0
"""After the last task: repeats that come late are counted too."""


class Scene:
    """One peer's processes, in its environment."""

    def __init__(self, name: str, python: Path, folder: Path, n: int) -> None:
        self.folder, self.n, self._python = folder, n, python
        self.port = free_port()
        self._environment = {
            **os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            TRACE: str(folder / "trace"), "PEER_NATS_URL": f"nats://{HOST}:{self.port}", "PEER_PULL_BATCH": "64",
        }  # fmt: skip
        self._stack = ExitStack()

    def start(self, *words: str) -> Process:
        """A module of Python with its words."""
        process = subprocess.Popen(
            [self._python, "-m", *words], cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._stack.callback(process.wait)
        self._stack.callback(end, process)
        return process

    def start_server(self) -> Process:
        """A broker on the scene's port."""
        server = start_server(self.port, self.folder, self._python.parent / "nats-server")
        self._stack.callback(server.wait)
        self._stack.callback(server.kill)
        return server

    def close(self) -> None:
        self._stack.close()


def _dbos(scene: Scene, *, is_again: bool) -> Process:
    return scene.start(f"{__package__}.dbos_again", str(scene.folder), str(scene.n), "again" if is_again else "new")


def _taskiq(scene: Scene, *, is_again: bool) -> Process:
    server = scene.start_server()
    if not is_again:
        scene.start("taskiq", "worker", f"{__package__}.taskiq_tasks:broker", "--workers", str(EXECUTORS))
        scene.start(f"{__package__}.taskiq_again", str(scene.n))
    return server


COORDINATORS: dict[str, tuple[str, Callable[..., Process]]] = {
    "dbos": ("the process", _dbos),
    "taskiq-nats": ("nats-server", _taskiq),
}
"""Peer -> what is killed, and how it is started, at first with all that lives on beside it."""


async def peer_restarts(name: str, folder: Path, options: Options) -> AsyncIterator[Record]:
    """One record per repeat; nothing for peers that forget all."""
    python = PEERS[name].python(folder, sys.executable)
    if name not in COORDINATORS or python is None:
        return
    victim, start = COORDINATORS[name]
    for repeat in range(options.repeats):
        async with fresh_folder() as state:
            scene = Scene(name, python, state, options.size(TASKS, 20))
            try:
                record = await _story(scene, start)
            finally:
                scene.close()
            yield {
                "workload": "W7", "peer": name, "variant": f"kill -9 {victim}", "workers": EXECUTORS,
                "scale": options.scale, **record, "rep": repeat,
            }  # fmt: skip


async def _story(scene: Scene, start: Callable[..., Process]) -> Record:
    trace = Trace(scene.folder / "trace")
    meter = Meter()
    meter.start()
    coordinator = start(scene, is_again=False)
    await trace.wait_for(scene.n // 2)
    half_s = meter.since_start()
    coordinator.kill()
    coordinator.wait()
    await asyncio.sleep(AWAY_S)
    before, ran, restarted = trace.executed().total(), len(trace.executed()), time.perf_counter()
    start(scene, is_again=True)
    await trace.wait_for(min(ran + 1, scene.n), of=len)
    first_new_s = time.perf_counter() - restarted
    await trace.wait(lambda executed: len(executed) >= scene.n, LOST_S)
    meter.stop()
    done_s = time.perf_counter() - restarted
    await asyncio.sleep(SETTLE_S)
    executed = trace.executed()
    return meter.record(scene.n) | {
        "half_s": round(half_s, 3), "at_kill": before, "first_new_s": round(first_new_s, 3),
        "done_after_restart_s": round(done_s, 3), "lost": scene.n - len(executed),
        "repeated": executed.total() - len(executed),
    }  # fmt: skip
