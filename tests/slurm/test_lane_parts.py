"""Parts of the lane without a cluster: what one of them meets must not end it, since nobody would notice."""

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from tests.slurm.slurm_lane import SlurmLane, a_record

from pto_proto.events import TaskFinished
from pto_proto.ids import InstanceId, RunId
from pto_runtime.clock import SystemClock
from pto_slurm.queue import JobRow
from pto_slurm.shape import JobShape
from pto_slurm_lane import projection
from pto_slurm_lane.attempt import JobAttempt
from pto_slurm_lane.board import Board
from pto_slurm_lane.house import KEPT_S, House
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.projection import FOLDER, MAX_RUNS, Projections
from pto_slurm_lane.watch import Look, Watch
from pto_slurm_lane.wing import Wing
from pto_slurm_node.pool import Entry, PilotSettings, Pool
from pto_slurm_node.spool import RESULT, Event, Fence, Spool, put_event, write_json, write_secrets


def a_board(spool: Spool, on_event: Callable[[Event, dict[str, object]], None]) -> Board:
    return Board(spool, SystemClock(), interval_s=1, wanted=lambda _name: True, on_event=on_event)


async def test_scans_at_the_same_time_hand_over_each_event_once(tmp_path: Path) -> None:
    spool, found = Spool(tmp_path), list[str]()
    spool.prepare()
    board = a_board(spool, lambda event, _data: found.append(event.fence.name))
    for number in range(300):
        put_event(spool.results, Fence(f"a{number}", "1"), RESULT, {})
    await asyncio.gather(*(board.scan() for _ in range(8)))
    assert sorted(found) == sorted(f"a{number}" for number in range(300))


async def test_one_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    spool, found = Spool(tmp_path), list[str]()
    spool.prepare()
    board = a_board(spool, lambda event, _data: found.append(event.fence.name))
    (spool.results / "a.1.0.result.json").mkdir()
    (spool.results / "b.1.0.result.json").write_text("[" * 100_000)
    put_event(spool.results, Fence("c", "1"), RESULT, {})
    assert await board.scan()
    assert found == ["c"]


async def test_a_run_that_begins_while_states_are_written_disturbs_nothing(tmp_path: Path) -> None:
    projections = Projections(SystemClock(), lambda run: tmp_path / run)
    runs = [RunId(f"run-{number:08d}") for number in range(20)]
    projections.note(a_record(runs[0]), "running")
    writing = asyncio.create_task(projections.flush())
    while not writing.done():
        if len(runs) > 1:
            projections.note(a_record(runs.pop()), "running")
        await asyncio.sleep(0)
    await writing
    await projections.flush()
    assert len([*tmp_path.glob(f"*/{FOLDER}/tasks.json")]) == 21 - len(runs)


async def test_states_of_runs_without_news_are_left_alone(tmp_path: Path) -> None:
    """Whoever removed a finished run's folder does not find it there again."""
    projections = Projections(SystemClock(), lambda run: tmp_path / run)
    old, new = RunId("run-old00"), RunId("run-new00")
    projections.note(a_record(old, "a"), "running")
    await projections.flush()
    (tmp_path / old).rename(tmp_path / "moved")
    projections.note(a_record(new, "a"), "running")
    await projections.flush()
    assert not (tmp_path / old).exists()
    (tmp_path / "moved").rename(tmp_path / old)
    projections.note(a_record(old, "b"), "running")
    await projections.flush()
    assert set(json.loads((tmp_path / old / FOLDER / "tasks.json").read_bytes())) == {"a", "b"}


@pytest.mark.parametrize("is_new", [False, True], ids=["same", "restarted"])
async def test_of_a_task_the_latest_attempt_is_shown_and_the_logs_of_all(tmp_path: Path, is_new: bool) -> None:
    projections, run, spool = (
        Projections(SystemClock(), lambda run: tmp_path / run),
        RunId("run-twice0"),
        Spool(tmp_path),
    )
    first, second = a_record(run, "a"), a_record(run, "a")
    second.ready = msgspec.structs.replace(second.ready, attempt=2)
    projections.note(second, "submitted")
    if is_new:
        await projections.flush()
        projections = Projections(SystemClock(), lambda run: tmp_path / run)
    first.end = TaskFinished(at=2, task=first.ready.task, attempt=1, instance=InstanceId("slurm-1"), outcome="failed")
    log = spool.job_log(run, first.name, "out")
    log.parent.mkdir(parents=True)
    log.write_text("said\n")
    projections.finish(first, spool)
    await projections.flush()
    found = json.loads((tmp_path / run / FOLDER / "tasks.json").read_bytes())
    assert (found["a"]["attempt"], found["a"]["status"]) == (2, "submitted")
    assert (tmp_path / run / FOLDER / "logs" / "a.1.out").read_text() == "said\n"


async def test_states_of_many_runs_take_no_more_memory_and_lose_nothing(tmp_path: Path) -> None:
    projections = Projections(SystemClock(), lambda run: tmp_path / run)
    runs = [RunId(f"run-{number:08d}") for number in range(MAX_RUNS + 10)]
    for run in runs:
        projections.note(a_record(run, "a"), "running")
    await projections.flush()
    assert list(projections._states) == runs[10:]
    projections.note(a_record(runs[0], "b"), "running")
    await projections.flush()
    assert set(json.loads((tmp_path / runs[0] / FOLDER / "tasks.json").read_bytes())) == {"a", "b"}


async def test_two_clusters_of_a_run_keep_each_others_states(tmp_path: Path) -> None:
    run, lanes = RunId("run-two000"), [Projections(SystemClock(), lambda run: tmp_path / run) for _ in range(2)]
    for status in ("submitted", "succeeded"):
        for lane, task in zip(lanes, "ab", strict=True):
            lane.note(a_record(run, task), status)
        await asyncio.gather(*(lane.flush() for lane in lanes))
    found = json.loads((tmp_path / run / FOLDER / "tasks.json").read_bytes())
    assert {task: found[task]["status"] for task in found} == {"a": "succeeded", "b": "succeeded"}


async def test_what_is_being_written_at_an_end_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, write = threading.Event(), projection._write
    monkeypatch.setattr(projection, "_write", lambda *words: (may_write.wait(60), write(*words)))
    projections, run = Projections(SystemClock(), lambda run: tmp_path / run), RunId("run-ended0")
    projections.note(a_record(run, "a"), "succeeded")
    writing = asyncio.create_task(projections.flush())
    for _ in range(10):
        await asyncio.sleep(0)
    writing.cancel()
    asyncio.get_running_loop().call_later(0.1, may_write.set)
    await projections.flush()
    assert json.loads((tmp_path / run / FOLDER / "tasks.json").read_bytes())["a"]["status"] == "succeeded"
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_who_waits_for_copies_of_logs_waits_for_those_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(projection, "_write", lambda *_: may_end.wait(60))
    projections = Projections(SystemClock(), lambda run: tmp_path / run)
    projections.note(a_record(RunId("run-slow00")), "succeeded")
    writing, waiting = asyncio.create_task(projections.flush()), asyncio.create_task(projections.flush())
    for _ in range(10):
        await asyncio.sleep(0)
    is_early = waiting.done()
    may_end.set()
    await asyncio.gather(writing, waiting)
    assert not is_early


async def test_secrets_of_the_last_attempts_go_before_the_lane_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of one's own is never swept again."""
    lane = await SlurmLane(SimpleNamespace(environment={"PATH": ""}), tmp_path).open()  # type: ignore[arg-type]
    spool, records = Spool(tmp_path / "spool"), [a_record(lane.run, task) for task in "abc"]
    for record in records:
        write_secrets(spool.attempt(record.run, record.name) / "secrets.json", {"TOKEN": "secret"})
        lane.backend._tidy_up(record)
    assert lane.backend._lane is not None
    for task, is_told in (("lingers", True), ("given-up", False)):
        attempt = JobAttempt(a_record(lane.run, task), lane.backend._lane)
        attempt.is_forgotten, attempt.is_told = True, is_told
        lane.backend._attempts[attempt.record.name] = attempt
        write_secrets(spool.attempt(lane.run, attempt.record.name) / "secrets.json", {"TOKEN": "secret"})
        records.append(attempt.record)
    clean_up = House.clean_up

    def fail_once(house: House, record: Record) -> None:
        if record is records[0]:
            raise PermissionError("somebody else's")
        clean_up(house, record)

    monkeypatch.setattr(House, "clean_up", fail_once)
    await lane.kill()
    left = [record.ready.task for record in records if spool.attempt(record.run, record.name).exists()]
    assert left == ["a", "given-up"], "the job of what was given up is still to be cancelled"


async def test_what_waits_for_weeks_is_not_swept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.prepare()
    long_ago = time.time() - 2 * KEPT_S
    for run, name in (("run-waits", "waits"), ("run-ended", "ended")):
        spool.prepare_run(run)
        spool.attempt(run, name).mkdir()
        blob = spool.root / "blobs" / hashlib.sha256(name.encode()).hexdigest()
        write_json(spool.attempt(run, name) / "order.json", {"task": {"files": [{"source": str(blob)}]}})
        blob.parent.mkdir(exist_ok=True)
        blob.touch()
        os.utime(blob, (long_ago, long_ago))
        for path in (*spool.run(run).iterdir(), spool.run(run)):
            os.utime(path, (long_ago, long_ago))
    pool = Pool(spool.pilots / "kind")
    pool.prepare(PilotSettings())
    spool.prepare_run("run-pooled")
    blob = spool.root / "blobs" / hashlib.sha256(b"pooled").hexdigest()
    blob.touch()
    (pool.ready / Entry(1, "run-pooled", "pooled").file_name).write_text(f'{{"task": {{"source": "{blob}"}}}}')
    for path in (blob, *spool.run("run-pooled").iterdir(), spool.run("run-pooled")):
        os.utime(path, (long_ago, long_ago))
    House(spool, SystemClock()).sweep({"waits", "pooled"})
    assert spool.attempt("run-waits", "waits").exists()
    assert not spool.run("run-ended").exists()
    assert spool.run("run-pooled").exists()
    kept = {hashlib.sha256(name).hexdigest() for name in (b"waits", b"pooled")}
    assert {path.name for path in (spool.root / "blobs").iterdir()} == kept


async def test_jobs_that_vanished_together_are_asked_about_together(tmp_path: Path) -> None:
    asked = list[Sequence[str]]()

    class Clients:
        async def past_jobs(self, jobs: Sequence[str]) -> tuple[JobRow, ...]:
            asked.append(jobs)
            return tuple(JobRow(job=job, name="n", comment="", state="TIMEOUT") for job in jobs)

    watch = Watch(
        Clients(),  # type: ignore[arg-type]
        SystemClock(),
        interval_s=1,
        floor_s=0.1,
        is_needed=lambda: True,
        on_look=lambda: None,
    )
    rows = await asyncio.gather(*(watch.past(job) for job in ("1", "2", "3")))
    assert [row and row.job for row in rows] == ["1", "2", "3"]
    assert [sorted(jobs) for jobs in asked] == [["1", "2", "3"]]


@pytest.mark.parametrize(("state", "is_told"), [("RUNNING", True), ("SUSPENDED", False)])
def test_only_a_pilot_that_runs_is_called_silent(tmp_path: Path, state: str, is_told: bool) -> None:
    clock = SystemClock()
    wing = Wing("site", "kind", JobShape(), Pool(tmp_path / "pool"), clock)
    wing.prepare(60.0)
    wing.submitted(0, "7")
    name = wing.name(0)
    row = JobRow(job="7", name=name.job_name, comment=name.comment, state=state)
    wing.take_look(Look(1, clock.monotonic_s(), [row]))
    wing.pool.beat("7", "")
    wing.scan()
    assert wing.silent(clock.now_ms() / 1000) == []
    assert [job for job, _ in wing.silent(clock.now_ms() / 1000 + 600)] == (["7"] if is_told else [])
    assert wing.silent(clock.now_ms() / 1000 + 700) == [], "once"
