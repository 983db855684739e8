"""The output folder as a projection of a run's events."""

import json
from pathlib import Path

import msgspec
import pytest

from pto_client.fetch import fetch
from pto_client.output import OutputProblem, Staging
from pto_core.consolidation import tree_digest
from pto_harness.manifest import write_bundle
from pto_memory import MemoryBlobStore
from pto_ports.event_log import Recorded
from pto_proto import events as ev
from pto_proto.envelope import Event, encode_event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.manifests import Manifest, Tree, TreeFile
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested

RUN = RunId("run-one")
SPEC = TaskSpec(id=TaskId("a"), command="make it")


class Log:
    """Events of a run of one task, written by hand."""

    def __init__(self) -> None:
        self.messages: list[Recorded] = []

    def add(self, lane: str | None, *entries: ev.Entry) -> None:
        event = Event(
            id=f"{len(self.messages)}",
            source="test",
            kind=type(entries[0]),
            lane=Lane(lane) if lane else None,
            run=RUN,
            entries=entries,
        )
        self.messages.append(Recorded(len(self.messages) + 1, event.subject, encode_event(event)))

    def attempt(self, lane: str, task: str, slot: int = 0, **finished: object) -> None:
        identity = {"task": TaskId(task), "attempt": 1}
        instance = InstanceId(f"{lane}-1")
        spec = SPEC if task == "a" else TaskSpec(id=TaskId(task))
        self.add(lane, ev.TaskReady(at=1000, **identity, instance=instance, slot=slot, spec=spec))
        self.add(lane, ev.TaskStarted(at=1100, **identity, instance=instance))
        if task == "_plan":
            self.add(lane, ev.TaskPlanned(at=1150, plan_digest=Digest("p"), part=0, parts=1, tasks=(SPEC,)))
            self.add(
                lane, ev.PlanFinished(at=1150, **identity, plan_digest=Digest("p"), name="One", parts=1, task_count=1)
            )
        if task == "_merge":
            self.add(lane, ev.RunConsolidated(at=2500, **identity, **finished))
            finished = {}
        fields = {"outcome": "succeeded", "duration_s": 1.0, **finished}
        self.add(lane, ev.TaskFinished(at=2100, **identity, instance=instance, **fields))


async def stored(blobs: MemoryBlobStore, folder: Path, files: dict[str, str]) -> tuple[Digest, Manifest]:
    for path, text in files.items():
        (folder / "w" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "w" / path).write_text(text)
    made = write_bundle(folder / "w", list(files), folder / "o")
    await blobs.put_file(Path(made["bundle"]))
    data = Path(made["manifest"]).read_bytes()
    return await blobs.put(data), msgspec.json.decode(data, type=Manifest)


async def finished_run(blobs: MemoryBlobStore, tmp_path: Path, path: str = "src/a.py") -> Log:
    digest, manifest = await stored(blobs, tmp_path / "made", {"src/a.py": "x = 1\n"})
    file = manifest.files[0]
    tree = Tree(
        files=(
            TreeFile(
                path=path, member="src/a.py", sha256=file.sha256, size=6, bundle=manifest.bundle, task=TaskId("a")
            ),
        )
    )
    log = Log()
    log.add(
        None,
        ev.RunAccepted(at=900, content_digest=Digest("c"), request=RunRequested(run=RUN, name="One", max_executors=2)),
    )
    log.attempt("planner", "_plan")
    log.add(None, ev.PlanSettled(at=1200, plan_digest=Digest("p")))
    log.attempt("local", "a", slot=1, manifest=digest, files=1)
    log.add(None, ev.RunExecuted(at=2200))
    merged = {
        "tree_digest": tree_digest(tree.files),
        "manifest": await blobs.put(msgspec.json.encode(tree)),
        "files": 1,
        "lines": 1,
    }
    log.attempt("consolidator", "_merge", **merged)
    log.add(
        None, ev.RunFinished(at=2600, status="succeeded", tasks={"succeeded": 1}, tree_digest=merged["tree_digest"])
    )
    return log


def tree_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_the_folder_holds_project_raw_outputs_events_log_and_summary(tmp_path: Path) -> None:
    blobs, out = MemoryBlobStore(), tmp_path / "out"
    log = await finished_run(blobs, tmp_path)
    summary = await fetch(log.messages, blobs, out)
    assert sorted(tree_of(out)) == [
        "events.jsonl", "execution_summary.json", "executor_1/a.1/src/a.py", "orchestrator.log", "src/a.py",
    ]  # fmt: skip
    assert (out / "events.jsonl").read_bytes().splitlines() == [message.data for message in log.messages]
    written = json.loads((out / "execution_summary.json").read_text())
    assert (written["status"], written["version"], written["wall_s"], written["speed_up"]) == ("succeeded", 1, 1.0, 1.0)
    assert written["tasks"][0]["attempts"][0]["slot"] == 1
    assert summary.critical_path.tasks == ("a",)
    assert "a (attempt 1) succeeded" in (out / "orchestrator.log").read_text()


async def test_fetching_again_or_after_a_crash_gives_the_same(tmp_path: Path) -> None:
    blobs, out = MemoryBlobStore(), tmp_path / "out"
    log = await finished_run(blobs, tmp_path)
    await fetch(log.messages, blobs, out)
    first = tree_of(out)
    (out / "execution_summary.json").unlink()
    (out / "src/a.py").write_text("broken")
    (out / ".staging" / "src").mkdir(parents=True)
    (out / ".staging" / "src" / "left").write_text("from a crash")
    await fetch(log.messages, blobs, out)
    assert tree_of(out) == first


async def test_workspaces_of_a_live_run_are_kept(tmp_path: Path) -> None:
    blobs, out = MemoryBlobStore(), tmp_path / "out"
    (out / "executor_1/a.1").mkdir(parents=True)
    (out / "executor_1/a.1/everything").write_text("as it was")
    await fetch((await finished_run(blobs, tmp_path)).messages, blobs, out)
    assert [path for path in tree_of(out) if path.startswith("executor_")] == ["executor_1/a.1/everything"]


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "a/../../b", ".staging/../../x"])
async def test_a_hostile_manifest_writes_nothing_outside(tmp_path: Path, path: str) -> None:
    blobs, out = MemoryBlobStore(), tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    log = await finished_run(blobs, tmp_path, path)
    with pytest.raises(OutputProblem):
        await fetch(log.messages, blobs, out)
    assert not (out / "execution_summary.json").exists()
    assert sorted(entry.name for entry in (tmp_path / "deep").iterdir()) == ["out"]


async def test_a_run_that_was_cancelled_early_has_events_and_summary(tmp_path: Path) -> None:
    log = Log()
    log.add(None, ev.RunAccepted(at=900, content_digest=Digest("c"), request=RunRequested(run=RUN)))
    log.add(None, ev.RunCancelling(at=950))
    log.add(None, ev.RunFinished(at=960, status="cancelled", tasks={}))
    summary = await fetch(log.messages, MemoryBlobStore(), tmp_path / "out")
    assert summary.status == "cancelled"
    assert sorted(tree_of(tmp_path / "out")) == ["events.jsonl", "execution_summary.json", "orchestrator.log"]


def test_a_link_in_the_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "src").symlink_to(tmp_path / "elsewhere")
    staging = Staging(tmp_path / "out")
    staging.write("src/a", b"x")
    staging.write("last", b"y")
    staging.move_in("last")
    assert (tmp_path / "out" / "src" / "a").read_bytes() == b"x"
    assert list((tmp_path / "elsewhere").iterdir()) == []
