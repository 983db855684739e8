"""Pilots as processes of the packed executor, and the pool they take from."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pto_slurm.package import install
from pto_slurm_node.pilot import needed_s
from pto_slurm_node.pool import Claim, Entry, PilotSettings, Pool, claim_in, entry_of
from pto_slurm_node.spool import Fence, Spool, events_in, read_json

RUN = "run-1"


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.01)
    return found


class Hangar:
    """A pool, and pilots as processes."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.spool = Spool(root / "spool")
        self.spool.prepare()
        self.spool.prepare_run(RUN)
        self.installed = install(self.spool)
        self.pool = Pool(self.spool.pilots / "class-1")
        self.pool.prepare(PilotSettings(**{"idle_s": 30.0, "nap_s": 0.02, "beat_s": 0.1, **settings}))
        self.processes: list[subprocess.Popen[str]] = []
        self.jobs: list[int] = []

    def offer(self, number: int, command: str = "true", **more: Any) -> Entry:
        entry = Entry(number, RUN, f"pto-{number:024x}")
        work = self.spool.run(RUN) / "work" / str(number)
        task = {"workspace": f"{work}/w", "out": f"{work}/out", "log": f"{work}/log", "command": command}
        self.pool.put(entry, {"task": {**task, "env": {"PATH": "/usr/bin:/bin"}, **more}})
        return entry

    def start(self, job: int, **environment: str) -> "subprocess.Popen[str]":
        argv = ["/bin/sh", self.installed.script, *self.installed.arguments("pilot", self.pool.root, sys.executable)]
        given = {"SLURM_JOB_ID": str(job), "SLURMD_NODENAME": "n1", **environment}
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=given, start_new_session=True)
        self.processes.append(process)
        self.jobs.append(job)
        return process

    def end(self) -> list[str]:
        """All pilots; what they said."""
        for job in self.jobs:
            self.pool.send_away(str(job))
        return [process.communicate(timeout=30)[1] for process in self.processes]

    def results(self) -> dict[str, Fence]:
        return {event.fence.name: event.fence for event in events_in(self.spool.results) if event.kind == "result"}

    def result(self, entry: Entry) -> dict[str, Any]:
        fence = until(lambda: self.results().get(entry.name))
        return dict(read_json(self.spool.results / f"{fence.text}.result.json"))


@pytest.fixture
def hangar(tmp_path: Path) -> Iterator[Hangar]:
    hangar = Hangar(tmp_path)
    yield hangar
    for process in hangar.processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_several_pilots_do_every_attempt_once(hangar):
    entries = [hangar.offer(number, "echo x >> ../count") for number in range(60)]
    for job in (1, 2, 3):
        hangar.start(job)
    until(lambda: len(hangar.results()) == 60)
    said = hangar.end()
    assert hangar.pool.waiting() == []
    assert {claim.entry for claim in hangar.pool.claims()} == set(entries)
    assert {claim.job for claim in hangar.pool.claims()} <= {"1", "2", "3"}
    counts = [path.read_text() for path in (hangar.spool.run(RUN) / "work").glob("*/count")]
    assert counts == ["x\n"] * 60
    assert all("the pool is closed to it" in text for text in said)
    assert [process.returncode for process in hangar.processes] == [0, 0, 0]


def test_the_first_is_done_first(hangar):
    order = [hangar.offer(number) for number in (5, 3, 9, 1)]
    hangar.start(1)
    until(lambda: len(hangar.results()) == 4)
    began = {entry: hangar.result(entry)["began"] for entry in order}
    assert sorted(order) == sorted(order, key=began.__getitem__)


def test_an_attempt_can_be_taken_back_until_a_pilot_has_it(hangar):
    entry = hangar.offer(1)
    assert hangar.pool.withdraw(entry)
    assert not hangar.pool.withdraw(entry)
    hangar.offer(2)
    hangar.start(1)
    until(lambda: len(hangar.results()) == 1)
    assert not hangar.pool.withdraw(Entry(2, RUN, f"pto-{2:024x}"))


def test_a_running_attempt_ends_when_the_dispatcher_asks(hangar):
    entry = hangar.offer(1, "echo part > part; sleep 60")
    hangar.start(1)
    until(lambda: (hangar.spool.run(RUN) / "work" / "1" / "w" / "part").exists())
    hangar.pool.stop(entry.name)
    assert hangar.result(entry)["outcome"] == "cancelled"
    hangar.offer(2)
    until(lambda: len(hangar.results()) == 2)


def test_a_pilot_that_is_told_to_end_gives_back_what_it_did(hangar):
    entry, later = hangar.offer(1, "echo part > part; sleep 60"), hangar.offer(2)
    pilot = hangar.start(1)
    until(lambda: (hangar.spool.run(RUN) / "work" / "1" / "w" / "part").exists())
    pilot.send_signal(signal.SIGTERM)
    assert pilot.wait(30) == 0
    assert (hangar.result(entry)["outcome"], hangar.result(entry)["reason"]) == ("cancelled", "signal SIGTERM")
    assert [event.kind for event in events_in(hangar.spool.results)] == ["interrupted", "result"]
    assert hangar.pool.waiting() == [later]
    assert hangar.pool.last_beats() == {}


def test_an_idle_pilot_is_told_at_once_too(hangar):
    pilot = hangar.start(1)
    until(lambda: "1" in hangar.pool.last_beats())
    pilot.terminate()
    assert pilot.wait(30) == 0


def test_a_pilot_with_nothing_to_do_ends(tmp_path):
    hangar = Hangar(tmp_path, idle_s=0.2)
    pilot = hangar.start(1)
    assert "nothing to do for 0.2 s" in pilot.communicate(timeout=30)[1]
    assert pilot.returncode == 0


@pytest.mark.parametrize(
    ("settings", "ends_in"),
    [({"minutes": 1, "lead_s": 90.0}, None), ({"lead_s": 2.0, "task_s": 600.0}, 8)],
)
def test_a_pilot_near_its_end_takes_nothing(tmp_path, settings, ends_in):
    hangar = Hangar(tmp_path, **settings)
    hangar.offer(1)
    environment = {"SLURM_JOB_END_TIME": str(time.time() + ends_in)} if ends_in else {}
    pilot = hangar.start(1, **environment)
    said = pilot.communicate(timeout=30)[1]
    if ends_in:  # half of 6 s is enough of a pilot's short life, so it did the task first
        assert len(hangar.results()) == 1
    else:
        assert "too short for a task" in said
        assert hangar.results() == {}


@pytest.mark.parametrize(
    ("task_s", "lead_s", "whole_s", "needed"), [(0, 90, 3600, 90), (600, 90, 3600, 690), (3600, 90, 3690, 1890)]
)
def test_what_must_be_left_to_begin(task_s, lead_s, whole_s, needed):
    assert needed_s(task_s, lead_s, whole_s) == needed


def test_a_ghost_takes_nothing(hangar):
    hangar.pool.bury("1")
    hangar.offer(1)
    assert "the pool is closed to it" in hangar.start(1).communicate(timeout=30)[1]
    hangar.start(2)
    until(lambda: hangar.results())


def test_an_order_that_is_not_whole_disturbs_nothing(hangar):
    entry = hangar.offer(1)
    (hangar.pool.ready / entry.file_name).write_text("{")
    other = hangar.offer(2)
    hangar.start(1)
    assert hangar.result(other)["outcome"] == "succeeded"
    assert (hangar.result(entry)["failure"], "not whole" in hangar.result(entry)["reason"]) == ("infra", True)


def test_what_is_cleared_away_leaves_nothing(hangar):
    entry = hangar.offer(1)
    hangar.pool.stop(entry.name)
    claim = hangar.pool.take(entry, "1")
    assert claim is not None
    hangar.pool.clear(claim)
    hangar.pool.clear(claim)
    assert [path for name in ("ready", "claimed", "stops") for path in (hangar.pool.root / name).iterdir()] == []


def test_a_ghost_ends_what_it_does(hangar):
    entry = hangar.offer(1, "sleep 60")
    ghost = hangar.start(1)
    until(lambda: (hangar.pool.beats / "1").exists() and (hangar.pool.beats / "1").read_text() == entry.name)
    hangar.pool.bury("1")
    assert ghost.wait(30) == 0
    assert "given up" in hangar.result(entry)["reason"]


def test_who_is_sent_away_ends_what_it_does(hangar):
    entry = hangar.offer(1, "sleep 1.5")
    pilot = hangar.start(1)
    until(lambda: hangar.pool.claims())
    hangar.pool.send_away("1")
    assert pilot.wait(30) == 0
    assert hangar.result(entry)["outcome"] == "succeeded"


def test_only_old_ghosts_are_forgotten(hangar):
    hangar.pool.bury("1")
    hangar.pool.stop("pto-x")
    hangar.pool.forget_ghosts(time.time() - 60)
    assert hangar.pool.is_closed("1")
    hangar.pool.forget_ghosts(time.time() + 60)
    assert not hangar.pool.is_closed("1")
    assert not hangar.pool.is_stopped("pto-x")


def test_signs_of_life_say_what_is_done(hangar):
    entry = hangar.offer(1, "sleep 60")
    hangar.start(7)
    until(lambda: (hangar.pool.beats / "7").exists() and (hangar.pool.beats / "7").read_text() == entry.name)
    before = hangar.pool.last_beats()["7"]
    until(lambda: hangar.pool.last_beats()["7"] > before)


def test_a_rename_that_was_sent_twice_is_still_ours(hangar):
    """As NFS does when the answer to the first one was lost."""
    entry = hangar.offer(1)
    assert hangar.pool.take(entry, "1") == Claim(entry, "1")
    assert hangar.pool.take(entry, "1") == Claim(entry, "1")
    assert hangar.pool.take(entry, "2") is None


def test_a_race_for_one_attempt_has_one_winner(hangar):
    entries = [hangar.offer(number) for number in range(50)]
    won: list[Claim] = []
    barrier = threading.Barrier(4)

    def race(job: str) -> None:
        barrier.wait()
        won.extend(claim for entry in entries if (claim := hangar.pool.take(entry, job)))

    threads = [threading.Thread(target=race, args=(str(job),)) for job in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.entry for claim in won) == entries


@pytest.mark.parametrize("name", ["x", "1.run", "1.run.name.more", ".1.run.name", "a.run.name", "1..name", "1.run."])
def test_other_files_are_no_entries(name):
    assert entry_of(name) is None
    assert claim_in(f"{name}@1") is None


def test_names_are_read_as_they_are_written():
    entry = Entry(time.time_ns(), "run-1", "pto-abc")
    assert entry_of(entry.file_name) == entry
    assert claim_in(Claim(entry, "744").file_name) == Claim(entry, "744")
    assert claim_in(f"{entry.file_name}@x") is None
    assert entry_of(Claim(entry, "744").file_name) is None
