"""The local backend: threads, workspaces, blobs, and the end of its processes."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.sandboxes import LEVELS

from pto_dispatcher_local.backend import LocalBackend
from pto_harness.strays import find_strays
from pto_memory import MemoryBlobStore
from pto_ports.backend import Order
from pto_proto import events as ev
from pto_proto.ids import Digest, InstanceId, RunId, TaskId, digest_of
from pto_proto.manifests import Manifest, Tree
from pto_proto.plans import InputFile, Resources, TaskSpec
from pto_runtime.clock import SystemClock


class Local:
    """A backend and what it reported."""

    def __init__(self, folder: Path, engines: dict[str, Any] | None = None, **more: Any) -> None:
        self.blobs = MemoryBlobStore()
        self.reported: list[ev.Entry] = []
        self.lines: list[str] = []
        self.news = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.folder = folder
        self.backend = LocalBackend(
            blobs=self.blobs, clock=SystemClock(), instance=InstanceId("local-1"), capacity=4,
            work_folder=lambda run: folder / run, cache=folder / "cache", engines=engines or {},
            host_environment={"PATH": os.environ["PATH"], "SECRET": "hidden", "SHARED": "seen"}, **more,
        )  # fmt: skip

    async def open(self) -> "Local":
        await self.backend.open(self.report, lambda order, stream, text: self.lines.append(text))
        return self

    def report(self, order: Order, *entries: ev.Entry) -> None:
        self.loop.call_soon_threadsafe(self._take, entries)

    def _take(self, entries: tuple[ev.Entry, ...]) -> None:
        self.reported += entries
        self.news.set()

    def order(self, name: str, **fields: Any) -> Order:
        ready = {
            name: fields.pop(name)
            for name in (
                "trees",
                "on_conflict",
                "inputs_digest",
                "engine",
                "sandbox",
                "slot",
                "requirement",
                "reserved_usd",
            )
            if name in fields
        }
        attempt = fields.pop("attempt", 1)
        spec = TaskSpec(id=TaskId(name), **fields)
        entry = ev.TaskReady(at=1, task=spec.id, attempt=attempt, instance=InstanceId("local-1"), spec=spec, **ready)
        return Order(RunId("run-one"), 7, entry)

    async def run(self, name: str, **fields: Any) -> ev.TaskFinished:
        await self.backend.start(self.order(name, **fields))
        return await self.finished(name, fields.get("attempt", 1))

    async def finished(self, name: str, attempt: int = 1) -> ev.TaskFinished:
        while True:
            for entry in self.reported:
                if isinstance(entry, ev.TaskFinished) and (entry.task, entry.attempt) == (name, attempt):
                    return entry
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 60)

    async def content(self, finished: ev.TaskFinished) -> dict[str, str]:
        """What it made, by path."""
        if not finished.manifest:
            return {}
        manifest = msgspec.json.decode(await self.blobs.get(finished.manifest), type=Manifest)
        with tarfile.open(fileobj=io.BytesIO(await self.blobs.get(manifest.bundle))) as tar:
            return {info.name: tar.extractfile(info).read().decode(errors="replace") for info in tar}  # type: ignore[union-attr]

    async def tree(self, digest: Digest) -> dict[str, str]:
        tree = msgspec.json.decode(await self.blobs.get(digest), type=Tree)
        return {file.path: file.task for file in tree.files}


@pytest.fixture
async def local(tmp_path: Path) -> Any:
    opened = await Local(tmp_path).open()
    yield opened
    await opened.backend.close()


async def test_a_task_sees_its_ancestors_outputs_and_its_dependents_see_both(local: Local) -> None:
    a = await local.run("a", command="echo one > x; echo a > shared")
    b = await local.run("b", command="cat x; echo b > shared; echo two > y", trees=(a.tree,))
    assert b.outcome == "succeeded"
    assert await local.tree(b.tree) == {"x": "a", "shared": "b", "y": "b"}
    assert "one" in local.lines
    assert (await local.blobs.get(b.log)).decode() == "one\n"
    assert [type(entry).__name__ for entry in local.reported] == ["TaskStarted", "TaskFinished"] * 2


async def test_ancestors_that_disagree_are_settled_before_the_task_starts(local: Local) -> None:
    a, b = await local.run("a", command="echo 1 > x"), await local.run("b", command="echo 2 > x")
    trees = (a.tree, b.tree)
    failed = await local.run("c", command="cat x", trees=trees)
    assert (failed.failure, "'x'" in failed.reason) == ("task", True)
    assert (await local.run("d", command="cat x", trees=trees, on_conflict="latest")).outcome == "succeeded"
    assert "2" in local.lines
    kept = await local.run("e", noop=True, trees=trees, on_conflict="keep-both")
    assert sorted(await local.tree(kept.tree)) == ["x", "x.b"]


async def test_inputs_that_match_the_task_appear_in_its_workspace(local: Local) -> None:
    data = await local.blobs.put(b"1,2\n")
    files = [InputFile(path=path, sha256=data, size=4) for path in ("data/a.csv", "data/b.txt")]
    listed = await local.blobs.put(msgspec.json.encode(files))
    done = await local.run("a", command="find . -type f", inputs=("data/*.csv",), inputs_digest=listed)
    assert done.outcome == "succeeded"
    assert local.lines == ["./data/a.csv"]


async def test_a_missing_blob_is_an_infrastructure_failure(local: Local) -> None:
    assert (await local.run("a", command="true", trees=(digest_of(b"nowhere"),))).failure == "infra"


async def test_an_engine_that_is_not_there_is_a_configuration_failure(local: Local) -> None:
    assert (await local.run("a", agent="do it", engine="api")).failure == "config"


async def test_only_allowed_and_named_variables_reach_a_task(local: Local) -> None:
    await local.run("a", command="env", env=("SHARED",))
    assert "SHARED=seen" in local.lines
    assert not any("hidden" in line for line in local.lines)
    assert "PTO_TASK=a" in local.lines


async def test_noops_are_answered_without_a_workspace(local: Local) -> None:
    done = await local.run("a", noop=True)
    assert (done.outcome, done.tree, done.files) == ("succeeded", "", 0)
    assert not (local.folder / "run-one").exists()


async def test_a_stopped_attempt_is_reported_as_cancelled(local: Local) -> None:
    order = local.order("a", command="sleep 100")
    await local.backend.start(order)
    await asyncio.sleep(0.2)
    await local.backend.stop(order, "enough")
    done = await local.finished("a")
    assert (done.outcome, done.failure, done.reason) == ("cancelled", "cancelled", "enough")


async def test_time_limits_of_the_plan_are_kept(local: Local) -> None:
    done = await local.run("a", command="sleep 100", resources=Resources(time="1"))
    assert done.failure == "timeout"


async def test_many_attempts_at_once_keep_apart(local: Local) -> None:
    names = [f"t{number}" for number in range(60)]
    for name in names:
        await local.backend.start(local.order(name, command=f"echo {name} | tee out; echo err-{name} >&2"))
    for name in names:
        done = await local.finished(name)
        assert (done.outcome, done.files) == ("succeeded", 1)
        assert sorted((await local.blobs.get(done.log)).decode().split()) == sorted([name, f"err-{name}"])
        assert await local.tree(done.tree) == {"out": name}
    assert [len([e for e in local.reported if e.task == name]) for name in names] == [2] * 60


async def test_big_and_small_outputs_end_up_alike(local: Local) -> None:
    small = await local.run("a", command="head -c 1000 /dev/zero > x")
    big = await local.run("b", command="head -c 1000000 /dev/zero > y")
    both = await local.run("c", command="wc -c < x; wc -c < y", trees=(small.tree, big.tree))
    assert both.outcome == "succeeded"
    assert local.lines == ["1000", "1000000"]
    assert not list((local.folder / "run-one").rglob(".*.out"))


@pytest.mark.parametrize("kind", [{"command": "true"}, {"agent": "x", "engine": "counted"}, {"noop": True}])
async def test_an_attempt_stopped_while_its_inputs_are_fetched_does_not_begin(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    called: list[object] = []

    class Counted:
        def execute(self, task: object, bench: object) -> None:
            called.append(task)

    local = await Local(tmp_path, {"counted": Counted()}).open()
    a, b = await local.run("a", command="echo 1 > x"), await local.run("b", command="echo 2 > y")
    local.reported.clear()
    order = local.order("c", trees=(a.tree, b.tree), **kind)
    await local.backend.start(order)
    assert await local.backend.stop(order, "enough")
    finished = await local.finished("c")
    assert (finished.outcome, finished.reason) == ("cancelled", "enough")
    assert (called, local.reported) == ([], [finished])
    await local.backend.close()


async def test_an_attempt_stopped_at_once_is_cancelled(local: Local) -> None:
    order = local.order("a", command="sleep 100")
    await local.backend.start(order)
    assert await local.backend.stop(order, "enough")
    assert (await local.finished("a")).outcome == "cancelled"
    assert not await local.backend.stop(order, "enough")


async def test_a_folder_that_cannot_be_made_is_an_infrastructure_failure(local: Local) -> None:
    (local.folder / "run-one").write_text("in the way")
    assert (await local.run("a", command="true")).failure == "infra"
    (local.folder / "run-one").unlink()
    assert (await local.run("b", command="true")).outcome == "succeeded"


async def test_closing_ends_all_attempts_and_reports_none(tmp_path: Path) -> None:
    local = await Local(tmp_path).open()
    for number in range(8):
        await local.backend.start(local.order(f"t{number}", command="sleep 100"))
    marker = f"PTO_OWNER={local.backend._owner}"
    while len(find_strays(marker)) < 8:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
    await asyncio.wait_for(local.backend.close(), 10)
    assert find_strays(marker) == []
    assert {type(entry) for entry in local.reported} == {ev.TaskStarted}


HOST = """
import asyncio, sys
from pathlib import Path
folder = Path({folder!r})
sys.path[:0] = [str(folder), str(folder.parents[1])]
from fakes.sandboxes import sandbox
from test_local_backend import Local
async def main():
    local = await Local(Path({work!r}), find_sandbox=lambda: sandbox({level!r})).open()
    wanted = {{"command": "(setsid sleep 300 &); env -i sleep 301 & sleep 300", "sandbox": "all" if {level!r} else "none"}}
    await local.backend.start(local.order("a", **wanted))
    print(local.backend._owner, flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""


def _bare_sleepers() -> list[str]:
    return subprocess.run(["pgrep", "-xf", "sleep 301"], capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("level", ["", *LEVELS])
def test_no_process_outlives_a_dispatcher_that_was_killed(tmp_path: Path, level: str) -> None:
    code = HOST.format(folder=str(Path(__file__).parent), work=str(tmp_path), level=level)
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    marker = f"PTO_OWNER={host.stdout.readline().strip()}"
    until = time.monotonic() + 60
    while not (bare := _bare_sleepers()) or len(find_strays(marker)) < 2:
        assert time.monotonic() < until, "its processes did not start"
        time.sleep(0.05)
    host.send_signal(signal.SIGKILL)
    host.wait()
    until = time.monotonic() + 5
    while (find_strays(marker) or any(Path("/proc", pid).exists() for pid in bare)) and time.monotonic() < until:
        time.sleep(0.05)
    assert find_strays(marker) == []
    assert not any(Path("/proc", pid).exists() for pid in bare)


async def test_readmes_of_two_parents_are_no_conflict(local: Local) -> None:
    a, b = await local.run("a", command="echo A > README.md"), await local.run("b", command="echo B > README.md")
    joined = await local.run("c", command="cat README.md", trees=(a.tree, b.tree))
    assert joined.outcome == "succeeded"
    assert sorted(await local.tree(joined.tree)) == ["README.b.md", "README.md"]
