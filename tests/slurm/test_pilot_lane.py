"""Pilot mode on a real cluster: a few jobs do many attempts, and what happens to the jobs harms no attempt."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.slurm.gates import Gates
from tests.slurm.slurm_lane import SITE, SlurmLane
from tests.slurm.testbed import SlurmTestbed

from pto_proto import events as ev
from pto_slurm import evidence, pilots
from pto_slurm.pilots import kind_of, lane_of, name_in
from pto_slurm.shape import shape_of
from pto_slurm_lane.pooled import PooledAttempt
from pto_slurm_node.pool import PilotSettings, Pool


class PilotLane(SlurmLane):
    def pilots(self, *states: str) -> list[str]:
        """Jobs of this lane's pilots in one of these states; without any: those that are there."""
        return [job for job, state in self.all_pilots() if state in (states or ("PENDING", "RUNNING"))]

    def all_pilots(self) -> list[tuple[str, str]]:
        rows = self.testbed.client(
            "squeue", "-h", "-a", "-t", "all", "-O", "JobID:|,State:|,Name:64,Comment:80"
        ).splitlines()
        split = [line.split("|") for line in rows]
        lane = self.name
        return [
            (row[0].strip(), row[1].strip())
            for row in split
            if (name := name_in(row[2][:64].strip())) and name.lane == lane
        ]

    @property
    def name(self) -> str:
        return lane_of(str(self.folder / "spool"))

    def started(self, task: str, attempt: int = 1) -> ev.TaskStarted:
        return next(entry for entry in self.said[task, attempt] if isinstance(entry, ev.TaskStarted))


@pytest.fixture
async def lane(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[PilotLane]:
    lane = PilotLane(slurm_cluster, tmp_path, pilots=2)
    await lane.open()
    yield lane
    await lane.backend.close()
    for job in lane.pilots():
        slurm_cluster.client("scancel", job)


async def all_ended(lane: PilotLane, tasks: list[str], seconds: float = 60) -> dict[str, ev.TaskFinished]:
    await lane.until(lambda: all(lane.ends(task) for task in tasks), seconds)
    assert {len(lane.ends(task)) for task in tasks} == {1}
    return {task: lane.ends(task)[0] for task in tasks}


async def test_few_jobs_do_many_tasks(lane: PilotLane) -> None:
    tasks = [f"t{number}" for number in range(40)]
    for task in tasks:
        await lane.start(task, command="echo $SLURM_JOB_ID > made")
    ends = await all_ended(lane, tasks)
    assert {end.outcome for end in ends.values()} == {"succeeded"}
    assert {end.files for end in ends.values()} == {1}
    assert 1 <= len(lane.all_pilots()) <= 2
    assert {lane.started(task).job for task in tasks} <= {job for job, _ in lane.all_pilots()}
    assert lane.kinds("t7") == ["TaskStarted", "TaskFinished"]
    child = await lane.run_task("child", command="cat made", trees=(ends["t7"].tree,))
    assert await lane.blobs.get(child.log) == f"{lane.started('t7').job}\n".encode()


async def test_failures_are_told_as_ever(lane: PilotLane) -> None:
    await lane.start("exit", command="echo why >&2; exit 3")
    await lane.start("late", command="sleep 60", resources={"time": "2"})
    await lane.start("unplaceable", slurm="-p")
    ends = await all_ended(lane, ["exit", "late", "unplaceable"])
    assert [ends[task].failure for task in ("exit", "late", "unplaceable")] == ["task", "timeout", "config"]
    assert (ends["exit"].exit_code, ends["exit"].tail[0]) == (3, "why")


async def test_agents_and_lines(lane: PilotLane) -> None:
    await lane.start("loud", command="for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done")
    end = await lane.run_task("agent", agent="Write a module.", outputs=("src/**",), writes=("src/**",))
    assert end.outcome == "succeeded", end
    await lane.until(lambda: ("loud", "line 1") in lane.lines)
    assert (await lane.end("loud")).outcome == "succeeded"


async def test_gpus_have_jobs_of_their_own(lane: PilotLane) -> None:
    end = await lane.run_task("gpu", command="echo $SLURM_GPUS_ON_NODE", resources={"gpus": 1}, slurm="gpu")
    assert await lane.blobs.get(end.log) == b"1\n"
    assert lane.all_pilots() == []


async def test_jobs_and_pilots_together_are_no_more_than_allowed(slurm_cluster: SlurmTestbed, tmp_path: Path) -> None:
    lane = PilotLane(slurm_cluster, tmp_path, pilots=2)
    lane.capacity = 2
    lane.backend = lane._make()
    await lane.open()
    for number in range(2):
        await lane.start(f"t{number}", command="sleep 1")
    await all_ended(lane, ["t0", "t1"])
    assert len(lane.pilots()) == 2
    for number in range(2):
        await lane.start(f"gpu{number}", command="sleep 600", resources={"gpus": 1}, slurm="gpu")
    await lane.until(lambda: lane.pilots() == [], 60)
    for number in range(2):
        await lane.backend.stop(lane.orders[f"gpu{number}", 1], "")
    await all_ended(lane, ["gpu0", "gpu1"])
    assert (await lane.run_task("after")).outcome == "succeeded"
    await lane.backend.close()


async def test_pilots_leave_with_their_dispatcher(lane: PilotLane) -> None:
    await lane.run_task("one")
    assert len(lane.pilots()) == 1
    await lane.kill()
    await lane.until(lambda: lane.pilots() == [], 30)


async def test_cancelling_a_task_that_waits_and_one_that_runs(lane: PilotLane) -> None:
    long = [await lane.start(f"long{number}", command="echo x > part; sleep 60") for number in range(2)]
    waiting = await lane.start("waiting")
    await lane.until(lambda: all("TaskStarted" in lane.kinds(f"long{number}") for number in range(2)))
    for order in (*long, waiting):
        assert await lane.backend.stop(order, "enough")
    ends = await all_ended(lane, ["long0", "long1", "waiting"])
    assert {(end.outcome, end.reason) for end in ends.values()} == {("cancelled", "enough")}
    assert (await lane.run_task("after")).outcome == "succeeded", "its pilots live on"
    assert len(lane.all_pilots()) == 2


async def test_a_pilot_that_somebody_cancels(lane: PilotLane) -> None:
    await lane.start("long", command="sleep 60")
    await lane.until(lambda: "TaskStarted" in lane.kinds("long"))
    lane.testbed.client("scancel", lane.started("long").job)
    end = await lane.end("long")
    assert (end.outcome, end.failure) == ("failed", "infra")
    assert end.reason.startswith("pilot_ended: pilot")
    assert (await lane.run_task("long", 2)).outcome == "succeeded"


async def test_a_restart_goes_on_with_everything(lane: PilotLane) -> None:
    for number in range(6):
        await lane.start(f"t{number}", command="sleep 1; echo x >> ../../../count")
    await lane.until(lambda: "TaskStarted" in lane.kinds("t0"))
    await lane.kill()
    await asyncio.sleep(1.5)
    await lane.restart()
    ends = await all_ended(lane, [f"t{number}" for number in range(6)])
    assert {end.outcome for end in ends.values()} == {"succeeded"}
    (count,) = (lane.folder / "spool" / "runs").glob("*/count")
    assert count.read_text() == "x\n" * 6
    assert len(lane.all_pilots()) <= 2


async def test_an_end_that_was_lost_on_its_way_is_told_again_with_its_outputs(lane: PilotLane) -> None:
    end = await lane.run_task("a", command="echo x > x; echo x >> ../../../count")
    await lane.kill()
    lane.said.clear()
    await lane.restart()
    again = await lane.end("a")
    assert (again.outcome, again.manifest, again.files) == ("succeeded", end.manifest, 1)
    (count,) = (lane.folder / "spool" / "runs").glob("*/count")
    assert count.read_text() == "x\n"


async def test_what_was_stopped_before_it_was_offered_is_not_offered(lane: PilotLane) -> None:
    await lane.kill()
    await lane.restart()
    assert await lane.backend.adopt(order := lane.order("a", slurm="down"))
    assert await lane.backend.stop(order, "enough")
    (attempt,) = lane.backend._attempts.values()
    assert isinstance(attempt, PooledAttempt)
    assert (await lane.end("a")).outcome == "cancelled"
    assert not attempt._is_offered


async def test_what_a_pilot_takes_while_it_is_looked_for_is_found(
    lane: PilotLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lane.start("a", slurm="down")
    (attempt,) = lane.backend._attempts.values()
    assert isinstance(attempt, PooledAttempt)
    await lane.until(lambda: attempt.is_waiting)
    await lane.kill()
    pool = attempt._wing.pool
    (entry,) = pool.waiting()
    looks = {name: getattr(Pool, name) for name in ("claims", "waiting")}

    def between(name: str) -> Any:
        def look(pool: Pool) -> Any:
            found = looks[name](pool)
            pool.take(entry, "7")
            return found

        return look

    for name in looks:
        monkeypatch.setattr(Pool, name, between(name))
    assert attempt._find(), "else it is offered, and done, twice"
    assert attempt.job == "7"


async def test_a_dispatcher_that_has_no_pilots_any_more_goes_on_with_theirs(lane: PilotLane, gates: Gates) -> None:
    counted = "echo x >> ../../../count"
    for number in range(2):
        await lane.start(f"long{number}", command=f"{counted}; {gates.wait()}")
    await lane.until(lambda: all("TaskStarted" in lane.kinds(f"long{number}") for number in range(2)))
    await lane.start("waiting", command=counted)
    await lane.until(lambda: any(lane.folder.glob("spool/pilots/*/ready/[!.]*")))
    await lane.kill()
    lane._settings["pilots"] = 0
    await lane.restart()
    gates.open()
    ends = await all_ended(lane, ["long0", "long1", "waiting"])
    assert {end.outcome for end in ends.values()} == {"succeeded"}
    (count,) = (lane.folder / "spool" / "runs").glob("*/count")
    assert count.read_text() == "x\n" * 3
    assert lane.started("waiting").job not in {job for job, _ in lane.all_pilots()}


async def test_what_was_left_for_nobody_is_swept(lane: PilotLane) -> None:
    await lane.start("long", command="sleep 60")
    await lane.start("long2", command="sleep 60")
    await lane.start("never")
    await lane.until(lambda: "TaskStarted" in lane.kinds("long2"))
    await lane.kill()
    await lane.restart(adopt=False)
    await lane.backend.sweep()
    pools = lane.folder / "spool" / "pilots"
    assert [*pools.glob("*/ready/*"), *pools.glob("*/claimed/*")] == []
    assert [*lane.folder.glob("spool/runs/*/attempts/*")] == [], "which hold secrets"
    (pilot,) = {lane.started("long").job} & {*lane.pilots("RUNNING")}
    results = lane.folder / "spool" / "results"
    await lane.until(lambda: any(f".{pilot}.0.result." in path.name for path in results.iterdir()), 20)


async def test_pilots_that_have_ids_of_earlier_ones_work(lane: PilotLane) -> None:
    """A cluster that was made anew counts from one again."""
    order = lane.order("a")
    pool = Pool(lane.folder / "spool" / "pilots" / kind_of(shape_of(order.ready.spec, SITE)))
    pool.prepare(PilotSettings())
    last = lane.testbed.client("sbatch", "--parsable", "--mem=100M", "-o", "/dev/null", "--wrap", "true")
    for ahead in range(1, 100):
        pool.bury(str(int(last) + ahead))
        pool.send_away(str(int(last) + ahead))
    await lane.backend.start(order)
    await lane.end("a")
    (job,) = [job for job, _ in lane.all_pilots()]
    assert lane.started("a").job == job, "the first one that came"


async def test_pilots_that_can_never_start_are_told_of(slurm_cluster: SlurmTestbed, tmp_path: Path) -> None:
    lane = PilotLane(slurm_cluster, tmp_path, pilots=2)
    await lane.open()
    long: dict[str, Any] = {"resources": {"time": "9-00:00:00"}}
    await lane.start("long", **long)
    await lane.start("nowhere", slurm="nowhere")
    ends = await all_ended(lane, ["long", "nowhere"])
    assert {end.failure for end in ends.values()} == {"config"}
    assert "unsatisfiable:PartitionTimeLimit" in ends["long"].reason
    assert "Invalid partition" in ends["nowhere"].reason
    await lane.until(lambda: lane.pilots() == [])
    await lane.backend.close()


@pytest.mark.slow
async def test_pilots_that_fail_at_once_are_given_up(
    slurm_cluster: SlurmTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilots, "FIRST_REST_S", 0.1)
    lane = PilotLane(slurm_cluster, tmp_path, pilots=1)
    lane.fake(
        "sbatch",
        'args=(); for a in "$@"; do [ "$a" = pilot ] && a=no-such-word; args+=("$a"); done; exec $REAL "${args[@]}"',
    )
    await lane.open()
    await lane.start("t")
    end = await lane.end("t", seconds=240)
    assert end.failure == "config"
    assert "5 pilots in a row ended at their start" in end.reason
    await lane.backend.close()


@pytest.mark.slow
async def test_a_node_that_dies_under_a_pilot(tmp_path: Path) -> None:
    """Its daemon is dead and its pilot lives on as a ghost: what it had runs again elsewhere, it gets nothing more."""
    testbed = SlurmTestbed.start(tmp_path / "c", nodes=2, SLURMDTIMEOUT="5")
    lane = PilotLane(testbed, tmp_path, pilots=1)
    try:
        await lane.open()
        await lane.start("long", command="echo $$ > ../../../pid; exec sleep 600")
        await lane.until(lambda: "TaskStarted" in lane.kinds("long"))
        pid = lane.folder / "spool" / "runs" / lane.run / "pid"
        await lane.until(lambda: pid.exists() and bool(pid.read_text().strip()))
        task = int(pid.read_text())
        ghost = lane.started("long").job
        node = testbed.client("squeue", "-h", "-j", ghost, "-o", "%N")
        testbed.do("kill-node", node)
        end = await lane.end("long", seconds=180)
        assert (end.failure, end.node) == ("infra", node)
        assert end.reason.startswith("node_fail")
        ends = [await lane.run_task(f"after{number}", seconds=120) for number in range(5)]
        assert {end.outcome for end in ends} == {"succeeded"}
        assert ghost not in {lane.started(f"after{number}").job for number in range(5)}
        await lane.until(lambda: not Path(f"/proc/{task}").exists(), 30)
        await lane.backend.close()
    finally:
        testbed.do("down")


@pytest.mark.parametrize("is_known", [True, False], ids=["SLURM knows it", "SLURM has forgotten it"])
async def test_a_pilot_that_died_while_nobody_looked(
    lane: PilotLane, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """It is over before the next incarnation asks for the first time: what it had is not waited for for ever."""
    for name in ("GRACE_S", "ABSENT_S"):
        monkeypatch.setattr(evidence, name, 1.0)
    await lane.start("long", command="sleep 60")
    await lane.until(lambda: "TaskStarted" in lane.kinds("long"))
    pilot = lane.started("long").job
    await lane.kill()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"pilot\0{lane.folder}/".encode() in process.read_bytes():
                os.kill(int(process.parent.name), signal.SIGKILL)
    await lane.until(lambda: (pilot, "RUNNING") not in lane.all_pilots())
    if not is_known:
        lane.fake("squeue", f'"$REAL" "$@" | grep -v "^{pilot} *|" || :')
    await lane.restart()
    end = await lane.end("long")
    assert end.failure == "infra"
    assert end.reason.startswith("pilot_lost")


async def test_limits_of_partitions_are_asked_for_until_they_are_known(lane: PilotLane) -> None:
    """A pilot that does not know them asks for too much time, and never starts."""
    await lane.kill()
    lane.fake("sinfo", 'mkdir "$HERE/first" 2>/dev/null || exec "$REAL" "$@"; echo unreachable >&2; exit 1')
    await lane.open()
    long: dict[str, Any] = {"resources": {"time": "20:00:00"}, "slurm": "urgent"}
    end = await lane.run_task("long", **long)
    assert end.outcome == "succeeded", end.reason


async def test_shapes_that_come_while_pilots_are_steered(lane: PilotLane, capsys: pytest.CaptureFixture[str]) -> None:
    await lane.start("first", command="sleep 1")
    for number in range(1, 13):
        await lane.start(f"t{number}", resources={"memory": f"{100 + number}M"})
        await asyncio.sleep(0.1)
    assert (await lane.end("first")).outcome == "succeeded"
    assert "begins again" not in capsys.readouterr().out, "the one who steers failed"


async def test_jobs_of_their_own_wait_until_pilots_have_left(slurm_cluster: SlurmTestbed, tmp_path: Path) -> None:
    """Pilots without work make room: both together are never more than the lane may have."""
    lane = PilotLane(slurm_cluster, tmp_path, pilots=2)
    lane.capacity = 2
    lane.backend = lane._make()
    await lane.open()
    for task in ("t0", "t1"):
        await lane.start(task, command="sleep 1")
    await all_ended(lane, ["t0", "t1"])
    gpus: dict[str, Any] = {"command": "sleep 2", "resources": {"gpus": 1}}
    orders = [await lane.start(f"g{number}", **gpus) for number in range(2)]
    most = 0
    while not all(lane.ends(f"g{number}") for number in range(2)):
        jobs = [state for order in orders for _, state in lane.jobs(order)]
        most = max(most, len(lane.pilots()) + sum(state in ("PENDING", "RUNNING") for state in jobs))
        await asyncio.sleep(0.1)
    await all_ended(lane, ["g0", "g1"])
    await lane.kill()
    assert most == 2
