"""The consolidator on a run's events and blobs."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pto_blobs.directory import DirectoryBlobStore
from pto_consolidator.backend import ConsolidatorBackend
from pto_core.limits import INFRA_RETRIES
from pto_core.merge import overlay
from pto_harness.manifest import write_bundle
from pto_memory import MemoryBlobStore, MemoryEventLog
from pto_ports.backend import Order
from pto_ports.event_log import Outgoing
from pto_proto import events as ev
from pto_proto.envelope import Event, encode_event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.manifests import Manifest, Tree
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.clock import SystemClock

RUN = RunId("run-one")


class Merge:
    """A run whose tasks have ended, and a consolidator for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MemoryEventLog()
        self.blobs: Any = MemoryBlobStore()
        self.reported: list[ev.Entry] = []
        self.done = asyncio.Event()
        self.trees: dict[str, tuple[Digest, Tree]] = {}

    async def add(self, lane: str | None, *entries: ev.Entry) -> int:
        at = await self.log.last_seq()
        event = Event(
            id=str(at), source="t", kind=type(entries[0]), lane=Lane(lane) if lane else None, run=RUN, entries=entries
        )
        return await self.log.append([Outgoing(event.subject, encode_event(event), f"w{at}")])

    async def begin(self, *specs: TaskSpec, checks: tuple[str, ...] = (), **request: Any) -> None:
        await self.add(
            None,
            ev.RunAccepted(at=1, content_digest=Digest("c"), request=RunRequested(run=RUN, name="Test", **request)),
        )
        plan = TaskId("_plan")
        ready = ev.TaskReady(at=1, task=plan, attempt=1, instance=InstanceId("p"), spec=TaskSpec(id=plan))
        await self.add("planner", ready)
        await self.add("planner", ev.TaskPlanned(at=1, plan_digest=Digest("d"), part=0, parts=1, tasks=specs))
        await self.add(
            "planner",
            ev.PlanFinished(
                at=1,
                task=plan,
                attempt=1,
                plan_digest=Digest("d"),
                name="Test",
                parts=1,
                task_count=len(specs),
                checks=checks,
            ),
        )
        await self.add(
            "planner", ev.TaskFinished(at=1, task=plan, attempt=1, instance=InstanceId("p"), outcome="succeeded")
        )
        await self.add(None, ev.PlanSettled(at=1, plan_digest=Digest("d")))

    async def end(
        self,
        name: str,
        files: dict[str, str] | None = None,
        *,
        after: tuple[str, ...] = (),
        failed: bool = False,
        lost: int = 0,
    ) -> None:
        for attempt in range(1, lost + 1):
            given = {"at": 2, "task": TaskId(name), "attempt": attempt, "instance": InstanceId("l")}
            await self.add("local", ev.TaskReady(**given, spec=TaskSpec(id=TaskId(name))))
            await self.add(
                "local", ev.TaskFinished(**given, outcome="failed", failure="infra", reason="no blob in /srv/node-7")
            )
            if attempt > INFRA_RETRIES:
                return
            given.pop("instance")
            await self.add(None, ev.TaskRetryScheduled(**given, due_at=3, failure="infra"))
        identity = {"at": 2, "task": TaskId(name), "attempt": lost + 1, "instance": InstanceId("l")}
        await self.add("local", ev.TaskReady(**identity, spec=TaskSpec(id=TaskId(name))))
        if failed:
            await self.add("local", ev.TaskFinished(**identity, outcome="failed", failure="task", reason="it broke"))
            return
        manifest, tree = Digest(""), Digest("")
        if files:
            made = write_bundle(self._write(name, files), list(files), self.folder / f"{name}.out")
            await self.blobs.put_file(Path(made["bundle"]))
            data = Path(made["manifest"]).read_bytes()
            manifest = await self.blobs.put(data)
            below = self.trees[after[0]][1].files if after else ()
            merged = overlay(below, msgspec.json.decode(data, type=Manifest), TaskId(name))
            tree = await self.blobs.put(msgspec.json.encode(merged))
            self.trees[name] = (tree, merged)
        await self.add("local", ev.TaskFinished(**identity, outcome="succeeded", manifest=manifest, tree=tree))

    def _write(self, name: str, files: dict[str, str]) -> Path:
        for path, text in files.items():
            target = self.folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return self.folder / name

    def report(self, order: Order, *entries: ev.Entry) -> None:
        self.reported += entries
        if isinstance(entries[-1], ev.TaskFinished):
            self.done.set()

    async def merge(self) -> tuple[ev.RunConsolidated | None, ev.TaskFinished]:
        await self.add(None, ev.RunExecuted(at=3))
        task = TaskId("_merge")
        ready = ev.TaskReady(at=4, task=task, attempt=1, instance=InstanceId("c"), spec=TaskSpec(id=task))
        seq = await self.add("consolidator", ready)
        backend = ConsolidatorBackend(log=self.log, blobs=self.blobs, clock=SystemClock(), instance=InstanceId("c"))
        await backend.open(self.report, lambda order, stream, text: None)
        await backend.start(Order(RUN, seq, ready))
        await asyncio.wait_for(self.done.wait(), 20)
        await backend.close()
        merged = [entry for entry in self.reported if isinstance(entry, ev.RunConsolidated)]
        last = self.reported[-1]
        assert isinstance(last, ev.TaskFinished)
        return (merged[0] if merged else None), last

    async def text(self, merged: ev.RunConsolidated, path: str) -> str:
        import io
        import tarfile

        tree = msgspec.json.decode(await self.blobs.get(merged.manifest), type=Tree)
        file = next(file for file in tree.files if file.path == path)
        with tarfile.open(fileobj=io.BytesIO(await self.blobs.get(file.bundle))) as tar:
            source = tar.extractfile(file.member or file.path)
            assert source is not None
            return source.read().decode()

    async def paths(self, merged: ev.RunConsolidated) -> list[str]:
        return [file.path for file in msgspec.json.decode(await self.blobs.get(merged.manifest), type=Tree).files]


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    return Merge(tmp_path)


A, B = TaskSpec(id=TaskId("a"), command="make a"), TaskSpec(id=TaskId("b"), command="make b", depends_on=(TaskId("a"),))


async def test_outputs_become_one_project_with_readme_plan_and_execution_page(merge: Merge) -> None:
    await merge.begin(A, B)
    await merge.end("a", {"src/m.py": "x = 1\n", "README.md": "Part A.\n"})
    await merge.end("b", {"src/m.py": "x = 2\ny = 3\n", "result.json": "{}"}, after=("a",))
    merged, finished = await merge.merge()
    assert merged is not None
    assert finished.outcome == "succeeded"
    assert await merge.paths(merged) == [
        "README.md",
        "data/result.json",
        "docs/execution.md",
        "execution_plan.json",
        "src/m.py",
    ]
    assert await merge.text(merged, "src/m.py") == "x = 2\ny = 3\n"
    assert merged.lines == 2
    assert "Part A." in await merge.text(merged, "README.md")
    assert "| src/m.py | b |" in await merge.text(merged, "docs/execution.md")
    plan = msgspec.json.decode(await merge.text(merged, "execution_plan.json"), type=Plan)
    assert [spec.id for spec in plan.tasks] == ["a", "b"]
    assert [type(entry).__name__ for entry in merge.reported] == ["TaskStarted", "RunConsolidated", "TaskFinished"]


async def test_what_failed_is_named_as_missing(merge: Merge) -> None:
    await merge.begin(A, B, max_retries=0)
    await merge.end("a", failed=True)
    merged, _ = await merge.merge()
    assert merged is not None
    text = await merge.text(merged, "docs/execution.md")
    assert "- a: failed, it broke" in text
    assert "- b: skipped" in text
    assert "Incomplete" in await merge.text(merged, "README.md")


async def test_lost_attempts_leave_no_trace_in_the_project(tmp_path: Path) -> None:
    digests = set()
    for name, lost in (("one", 0), ("two", 2)):
        (tmp_path / name).mkdir()
        merge = Merge(tmp_path / name)
        await merge.begin(A)
        await merge.end("a", {"src/m.py": "x\n"}, lost=lost)
        merged, _ = await merge.merge()
        assert merged is not None
        digests.add(merged.tree_digest)
    assert len(digests) == 1


async def test_no_words_of_a_host_get_into_the_project(merge: Merge) -> None:
    await merge.begin(A, B)
    await merge.end("a", lost=INFRA_RETRIES + 1)
    merged, _ = await merge.merge()
    assert merged is not None
    text = await merge.text(merged, "docs/execution.md")
    assert "- a: failed, by a failure of the class infra" in text
    assert "node-7" not in text


async def test_checks_run_on_the_merged_tree(merge: Merge) -> None:
    await merge.begin(A, checks=("test -f src/m.py && test -f README.md", "echo wrong; exit 3"))
    await merge.end("a", {"src/m.py": "x = 1\n"})
    merged, _ = await merge.merge()
    assert merged is not None
    assert [(check.passed, check.exit_code) for check in merged.checks] == [(True, 0), (False, 3)]
    assert "wrong" in merged.checks[1].tail


async def test_a_missing_blob_is_an_infrastructure_failure(merge: Merge) -> None:
    await merge.begin(A)
    await merge.end("a", {"src/m.py": "x\n"})
    merge.blobs = MemoryBlobStore()
    merged, finished = await merge.merge()
    assert merged is None
    assert (finished.outcome, finished.failure) == ("failed", "infra")


@pytest.mark.parametrize("path", ["src/m.py", "data/m.csv"])
async def test_a_bundle_that_is_gone_is_an_infrastructure_failure_read_or_not(merge: Merge, path: str) -> None:
    blobs = merge.blobs = DirectoryBlobStore(merge.folder / "blobs")
    await merge.begin(A)
    await merge.end("a", {path: "x\n"})
    blobs.path_of(merge.trees["a"][1].files[0].bundle).unlink()
    merged, finished = await merge.merge()
    assert merged is None
    assert (finished.outcome, finished.failure) == ("failed", "infra")


async def test_a_damaged_bundle_is_not_read(merge: Merge) -> None:
    blobs = merge.blobs = DirectoryBlobStore(merge.folder / "blobs")
    await merge.begin(A)
    await merge.end("a", {"src/m.py": "x\n"})
    bundle = blobs.path_of(merge.trees["a"][1].files[0].bundle)
    bundle.chmod(0o644)
    bundle.write_bytes(b"y" * bundle.stat().st_size)
    merged, finished = await merge.merge()
    assert merged is None
    assert (finished.outcome, finished.failure) == ("failed", "infra")


async def test_merging_twice_gives_the_same_tree(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        merge = Merge(tmp_path / name)
        await merge.begin(A, B)
        await merge.end("a", {"src/m.py": "x\n"})
        await merge.end("b", {"src/n.py": "y\n"}, after=("a",))
        merged, _ = await merge.merge()
        assert merged is not None
        digests.append((merged.tree_digest, merged.manifest))
    assert digests[0] == digests[1]
