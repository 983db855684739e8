"""The output folder when things go wrong: full disks, crashes, links, runs that have not ended."""

import errno
import json
from pathlib import Path

import pytest

from pto_client.fetch import fetch
from pto_client.log_lines import log_lines
from pto_client.output import OutputNotWritable, OutputProblem, is_output_of
from pto_memory import MemoryBlobStore
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import Digest, InstanceId, RunId, TaskId
from test_fetch import RUN, Log, finished_run, stored, tree_of


class FullDisk(MemoryBlobStore):
    """Writes ``room`` files, then the disk is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    async def get_file(self, digest: Digest, path: Path) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        await super().get_file(digest, path)


async def test_a_full_disk_leaves_nothing_that_looks_complete_and_can_be_repeated(tmp_path: Path) -> None:
    blobs, out = FullDisk(0), tmp_path / "out"
    (out / "executor_0").mkdir(parents=True)
    log = await finished_run(blobs, tmp_path)
    with pytest.raises(OutputNotWritable, match="disk is full"):
        await fetch(log.messages, blobs, out)
    assert list(tree_of(out)) == [".staging/run"]
    assert is_output_of(out, RUN)
    blobs.room = 100
    await fetch(log.messages, blobs, out)
    assert (out / "execution_summary.json").is_file()
    assert not (out / ".staging").exists()


async def test_a_new_folder_is_left_empty_when_fetching_fails(tmp_path: Path) -> None:
    blobs, out = FullDisk(0), tmp_path / "out"
    log = await finished_run(blobs, tmp_path)
    with pytest.raises(OutputNotWritable):
        await fetch(log.messages, blobs, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("moves", [0, 1, 2, 3, 4])
async def test_a_crash_while_moving_in_is_mended_by_fetching_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    blobs, out, left = MemoryBlobStore(), tmp_path / "out", [moves]
    log = await finished_run(blobs, tmp_path)
    rename = Path.rename

    def crash(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            await fetch(log.messages, blobs, out)
    assert not (out / "execution_summary.json").exists()
    await fetch(log.messages, blobs, out)
    await fetch(log.messages, blobs, tmp_path / "undisturbed")
    assert tree_of(out) == tree_of(tmp_path / "undisturbed")


async def test_a_run_that_has_not_ended_is_not_declared_complete(tmp_path: Path) -> None:
    log = await finished_run(MemoryBlobStore(), tmp_path)
    with pytest.raises(OutputProblem, match="has not ended"):
        await fetch(log.messages[:-1], MemoryBlobStore(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_link_in_place_of_raw_outputs_is_not_followed(tmp_path: Path) -> None:
    blobs, out, elsewhere = MemoryBlobStore(), tmp_path / "out", tmp_path / "elsewhere"
    (elsewhere / "a.1").mkdir(parents=True)
    out.mkdir()
    (out / "executor_1").symlink_to(elsewhere)
    (out / ".staging").symlink_to(elsewhere)
    await fetch((await finished_run(blobs, tmp_path)).messages, blobs, out)
    assert (out / "executor_1/a.1/src/a.py").read_text() == "x = 1\n"
    assert not (out / "executor_1").is_symlink()
    assert tree_of(elsewhere) == {}


async def test_raw_outputs_with_long_names_and_logs_are_fetched(tmp_path: Path) -> None:
    blobs, out, log = MemoryBlobStore(), tmp_path / "out", Log()
    name = "/".join(["d" * 99, "e" * 99, "f" * 99])
    manifest, _ = await stored(blobs, tmp_path / "made", {name: "long"})
    source = await finished_run(blobs, tmp_path)
    log.messages = source.messages[:-4]
    said, gone = await blobs.put(b"it said so\n"), Digest("0" * 64)
    for attempt, digest in ((2, said), (3, gone)):
        identity = {"task": TaskId("a"), "attempt": attempt, "instance": InstanceId("local-1")}
        log.add("local", ev.TaskReady(at=1, **identity, spec=ev.TaskSpec(id=TaskId("a"))))
        log.add("local", ev.TaskFinished(at=1, **identity, outcome="failed", manifest=manifest, log=digest))
    log.messages += source.messages[-1:]
    await fetch(log.messages, blobs, out)
    assert (out / "executor_0/a.2" / name).read_text() == "long"
    assert (out / "executor_0/a.2.log").read_text() == "it said so\n"
    assert not (out / "executor_0/a.3.log").exists()


async def test_the_summary_names_attempts_that_may_still_run(tmp_path: Path) -> None:
    blobs = MemoryBlobStore()
    log = await finished_run(blobs, tmp_path)
    log.messages.pop()
    log.add(None, ev.RunFinished(at=2600, status="cancelled", tasks={"succeeded": 1}, unconfirmed=("a.1",)))
    await fetch(log.messages, blobs, tmp_path / "out")
    assert json.loads((tmp_path / "out/execution_summary.json").read_text())["unconfirmed"] == ["a.1"]


def test_whose_output_a_folder_is_can_be_told(tmp_path: Path) -> None:
    assert not is_output_of(tmp_path, "run-one")
    (tmp_path / "execution_summary.json").write_text('{"run": "run-one"}')
    assert is_output_of(tmp_path, "run-one")
    assert not is_output_of(tmp_path, "run-two")
    (tmp_path / "execution_summary.json").write_text("[]")
    assert not is_output_of(tmp_path, "run-one")


def test_log_lines_have_no_line_breaks_and_no_escapes_from_tasks() -> None:
    finished = ev.TaskFinished(
        at=1, task=TaskId("a"), attempt=1, instance=InstanceId("l"), outcome="failed", failure="task",
        reason="it said\n2026 run succeeded \x1b[2J.", hint="Look at ../x.", tail=("red \x1b[31m",),
    )  # fmt: skip
    event = Event(id="1", source="t", kind=ev.TaskFinished, lane=None, run=RunId("run-one"), entries=(finished,))
    first, tail = log_lines([(7, event)])
    assert first.endswith("task: it said 2026 run succeeded  [2J. Hint: Look at ../x.")
    assert tail == "    | red  [31m"
