"""What one command task costs the local dispatcher, without a broker: ``python -m tests.bench.spawn [kind ...]``.

Runs LocalBackend in this process over many small orders and prints one JSON line per kind: tasks per second, and
microseconds of CPU per task of the dispatcher itself (``self``) and of what it started (``children``).
"""

import argparse
import asyncio
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from pto_blobs.directory import DirectoryBlobStore
from pto_dispatcher_local.backend import LocalBackend
from pto_ports.backend import Order
from pto_proto import events as ev
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_runtime.clock import SystemClock

KINDS: dict[str, dict[str, Any]] = {
    "bare": {},
    "argv": {"command": ("/bin/true",)},
    "shell": {"command": "true"},
    "lines": {"command": "echo one; echo two >&2"},
    "output": {"command": "echo $PTO_TASK > out.txt", "outputs": ("out.txt",)},
}
"""``bare``: nothing but spawning /bin/true and waiting for it, the floor on this machine at this moment."""


class Spawning:
    """Hands out orders, ``at_once`` at a time, and counts their ends."""

    def __init__(self, folder: Path, at_once: int) -> None:
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Semaphore(at_once)
        self.failed: list[ev.TaskFinished] = []
        self.finished = 0
        self._backend = LocalBackend(
            blobs=DirectoryBlobStore(folder / "blobs"), clock=SystemClock(), instance=InstanceId("local-1"),
            capacity=at_once, work_folder=lambda run: folder / run, cache=folder / "cache", engines={},
            host_environment=os.environ,
        )  # fmt: skip

    def _report(self, order: Order, *entries: ev.Entry) -> None:
        self._loop.call_soon_threadsafe(self._take, entries)

    def _take(self, entries: tuple[ev.Entry, ...]) -> None:
        for entry in entries:
            if isinstance(entry, ev.TaskFinished):
                self.finished += 1
                self._ended.release()
                if entry.outcome != "succeeded":
                    self.failed.append(entry)

    async def run(self, count: int, fields: dict[str, Any]) -> None:
        await self._backend.open(self._report, lambda order, stream, text: None)
        for number in range(count):
            await self._ended.acquire()
            spec = TaskSpec(id=TaskId(f"task-{number}"), **fields)
            ready = ev.TaskReady(at=1, task=spec.id, attempt=1, instance=InstanceId("local-1"), spec=spec)
            await self._backend.start(Order(RunId("run-one"), number + 1, ready))
        while self.finished < count:
            await self._ended.acquire()
        await self._backend.close()


def run_bare(count: int, at_once: int) -> None:
    """The floor."""
    alive = 0
    for _ in range(count):
        if alive == at_once:
            os.wait()
            alive -= 1
        os.posix_spawn("/bin/true", ["/bin/true"], os.environ)
        alive += 1
    for _ in range(alive):
        os.wait()


def measure(kind: str, count: int, at_once: int, folder: Path) -> dict[str, Any]:
    """One line of figures."""
    fields = KINDS[kind]

    async def main() -> list[ev.TaskFinished]:
        spawning = Spawning(folder, at_once)
        await spawning.run(count, fields)
        return spawning.failed

    before, began = _cpu_s(), time.perf_counter()
    failed: list[ev.TaskFinished] = []
    if fields:
        failed = uvloop.run(main())
    else:
        run_bare(count, at_once)
    seconds, after = time.perf_counter() - began, _cpu_s()
    if failed:
        raise SystemExit(f"{kind}: {len(failed)} failed, such as {failed[0]}")
    own, children = ((late - early) / count * 1e6 for early, late in zip(before, after, strict=True))
    return {
        "kind": kind, "n": count, "at_once": at_once, "seconds": round(seconds, 3), "rate": round(count / seconds),
        "self_cpu_us": round(own), "children_cpu_us": round(children),
    }  # fmt: skip


def _cpu_s() -> tuple[float, float]:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def main() -> None:
    """Print one line per kind and repeat."""
    parser = argparse.ArgumentParser(description="What one command task costs the local dispatcher.")
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("-n", type=int, default=1000, help="tasks of each kind (default %(default)s)")
    parser.add_argument("-m", type=int, default=16, help="at once (default %(default)s)")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    # Removed at the end only: ext4 looks long for a free inode after many were freed in the last seconds.
    with tempfile.TemporaryDirectory(prefix="pto-bench-") as folder:
        for number in range(options.repeat):
            for kind in options.kinds or KINDS:
                line = measure(kind, options.n, options.m, Path(folder, f"{number}-{kind}"))
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
