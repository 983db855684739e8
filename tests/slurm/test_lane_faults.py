"""What goes wrong on clusters, provoked on a real one: each attempt runs once, and what is said of it is true."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.slurm.gates import Gates
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed

from pto_slurm import evidence
from pto_slurm.identity import attempt_of
from pto_slurm_lane import sighting
from pto_slurm_lane.lane import LaneSettings

TIMED_OUT = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
UNKNOWN = "echo 'sbatch: error: the site says: come another day' >&2; exit 1"
NO_MUNGE = """cat >&2 <<END
sbatch: error: Munge encode failed: Failed to access "munge.socket.2": No such file or directory (Did you start munged?)
sbatch: error: slurm_send_node_msg: auth_g_create: REQUEST_SUBMIT_BATCH_JOB has authentication error
sbatch: error: Batch job submission failed: Protocol authentication error
END
exit 1"""
ONCE = 'mkdir "$HERE/first" 2>/dev/null || exec "$REAL" "$@"\n'
"""A fake that fails the first time only."""


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    """Two nodes, on a controller that forgets jobs after two seconds."""
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("frail") / "c", nodes=2, MINJOBAGE="2")
    yield testbed
    testbed.do("down")


@pytest.fixture
async def lane(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    """Not open yet."""
    lane = SlurmLane(slurm_cluster, tmp_path, client_limit_s=5.0)
    yield lane
    await lane.backend.close()


@pytest.fixture
async def frail_lane(frail: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    """Not open yet."""
    lane = SlurmLane(frail, tmp_path, client_limit_s=5.0)
    yield lane
    await lane.backend.close()


def counted(lane: SlurmLane, seconds: float = 0.0) -> dict[str, Any]:
    """A task that leaves a trace of each time it runs."""
    return {"command": f"echo $SLURM_JOB_ID >> {lane.folder}/runs; sleep {seconds}"}


def runs(lane: SlurmLane) -> list[str]:
    try:
        return (lane.folder / "runs").read_text().split()
    except FileNotFoundError:
        return []


# --- submissions whose answer tells nothing ---


@pytest.mark.parametrize(
    "lie", [TIMED_OUT, "sleep 60", UNKNOWN], ids=["says that it timed out", "hangs", "unknown words"]
)
async def test_sbatch_that_submits_and_fails_is_believed_neither(lane: SlurmLane, lie: str) -> None:
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" >/dev/null; {lie}')
    await lane.open()
    assert (await lane.run_task("a", **counted(lane, 1))).outcome == "succeeded"
    assert len(runs(lane)) == 1
    assert len(lane.jobs(lane.orders["a", 1])) == 1


async def test_sbatch_that_fails_without_a_job_is_called_again_when_there_is_surely_none(lane: SlurmLane) -> None:
    """Words that are not known are a refusal then."""
    lane.fake("sbatch", f'[[ "$*" != *refused* ]] || {{ {UNKNOWN}; }}\n{ONCE}{TIMED_OUT}')
    await lane.open()
    refused = await lane.start("refused")
    assert (await lane.run_task("a", **counted(lane))).outcome == "succeeded"
    assert len(runs(lane)) == 1
    end = await lane.end("refused")
    assert (end.failure, end.reason) == ("config", "sbatch: error: the site says: come another day")
    assert not lane.jobs(refused)


async def test_job_that_ended_and_was_forgotten_before_it_was_looked_for(frail_lane: SlurmLane) -> None:
    lane = frail_lane
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" >/dev/null; sleep 4; {TIMED_OUT}')
    await lane.open()
    assert (await lane.run_task("a", **counted(lane))).outcome == "succeeded"
    assert len(runs(lane)) == 1


async def test_attempt_submitted_twice_runs_once(lane: SlurmLane) -> None:
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" >/dev/null; "$REAL" "$@" >/dev/null; {TIMED_OUT}')
    await lane.open()
    assert (await lane.run_task("a", **counted(lane, 1))).outcome == "succeeded"
    assert len(runs(lane)) == 1
    well = (["CANCELLED", "COMPLETED"], ["COMPLETED", "COMPLETED"])
    await lane.until(lambda: sorted(state for _, state in lane.jobs(lane.orders["a", 1])) in well)


async def test_the_job_that_works_is_followed_though_it_said_nothing_yet(lane: SlurmLane, gates: Gates) -> None:
    """Of two jobs the one with the claim counts: the end of the other one, which is cancelled, is not the attempt's.

    It is the attempt's by its comment, and has the claim before it has that: no look sees two jobs and no claim.
    """
    slowly = f"""{ONCE}
        folder=${{@: -1}}; again=()
        for word in "${{@:1:$#-5}}"; do
            case $word in
                --dependency=* | --partition=*) ;;
                --comment=*) comment=${{word#--}} ;;
                *) again+=("$word") ;;
            esac
        done
        "$REAL" "$@" >/dev/null
        {{
            sleep 3
            job=$("$REAL" "${{again[@]}}" --comment=other --wrap="{gates.wait()}; exec sh ${{*: -5}}")
            echo -n "$(basename "$folder").$job.0" > "$folder/claim"
            scontrol update "jobid=$job" "$comment"
        }} >/dev/null 2>&1 &
        {TIMED_OUT}"""
    lane.fake("sbatch", slowly)
    await lane.open()
    order = await lane.start("a", slurm="down", **counted(lane))
    await lane.until(lambda: "CANCELLED" in [state for _, state in lane.jobs(order)])
    gates.open()
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())
    assert len(runs(lane)) == 1


async def test_dispatcher_killed_between_sbatch_and_its_record(lane: SlurmLane) -> None:
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" > "$HERE/job"; sleep 60')
    await lane.open()
    order = await lane.start("a", **counted(lane, 1))
    await lane.until(lambda: bool(lane.jobs(order)))
    await lane.kill()
    await lane.restart()
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())
    assert len(runs(lane)) == 1


async def test_dispatcher_killed_before_sbatch(lane: SlurmLane) -> None:
    lane.fake("sbatch", f"{ONCE}sleep 60")
    await lane.open()
    await lane.start("a", **counted(lane))
    await lane.until((lane.folder / "bin" / "first").exists)
    await lane.kill()
    await lane.restart()
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())
    assert len(runs(lane)) == 1


async def test_cancel_of_an_attempt_that_may_have_a_job(lane: SlurmLane) -> None:
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" >/dev/null; sleep 2; {TIMED_OUT}')
    await lane.open()
    order = await lane.start("a", command="sleep 300")
    await lane.until(lambda: bool(lane.jobs(order)))
    assert await lane.backend.stop(order, "asked to")
    assert (await lane.end("a")).outcome == "cancelled"
    await lane.until(lambda: [state for _, state in lane.jobs(order)] == ["CANCELLED"])


async def test_sbatch_that_could_not_ask_is_called_again(lane: SlurmLane, gates: Gates) -> None:
    lane.fake("sbatch", f'[ -e "$HERE/no-munge" ] || exec "$REAL" "$@"\n{NO_MUNGE}')
    await lane.open()
    await lane.start("first", command=gates.wait())
    await lane.until(lambda: bool(lane.states("first")))
    (lane.folder / "bin" / "no-munge").touch()
    await lane.start("second")
    await lane.until(lambda: lane.states("second") == ["waiting"])
    (lane.folder / "bin" / "no-munge").unlink()
    gates.open()
    # The first one's end is a reason to ask again, before the time for that comes (FULL_S).
    assert (await lane.end("second", seconds=28)).outcome == "succeeded"
    (waiting,) = [entry for entry in lane.said["second", 1] if getattr(entry, "state", "") == "waiting"]
    assert "Did you start munged?" in getattr(waiting, "detail", "")


# --- looks that fail, and restarts ---


@pytest.mark.parametrize("fault", ["exit 1", "sleep 60", "echo garbage"])
async def test_looks_that_fail_change_nothing(lane: SlurmLane, fault: str) -> None:
    lane.fake("squeue", f'[ -e "$HERE/away" ] || exec "$REAL" "$@"; {fault}')
    await lane.open()
    await lane.start("a", command="sleep 3")
    await lane.until(lambda: "TaskStarted" in lane.kinds("a"))
    (lane.folder / "bin" / "away").touch()
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())
    await lane.until(lambda: lane.away, 20)
    waiting = await lane.start("b")
    await asyncio.sleep(1)
    assert lane.jobs(waiting) == [], "nothing is submitted to a controller that does not answer"
    (lane.folder / "bin" / "away").unlink()
    assert (await lane.end("b")).outcome == "succeeded"


async def test_jobs_go_on_without_their_dispatcher(frail_lane: SlurmLane) -> None:
    lane = await frail_lane.open()
    await lane.start("long", **counted(lane, 8))
    await lane.start("short", command="echo out > out.txt")
    await lane.until(lambda: all("JobStateChanged" in lane.kinds(task) for task in ("long", "short")))
    await lane.kill()
    await asyncio.sleep(5)  # the short one has ended, and SLURM has forgotten it
    await lane.restart()
    assert (await lane.end("short")).files == 1
    assert (await lane.end("long")).outcome == "succeeded"
    assert len(runs(lane)) == 1


async def test_result_of_long_ago_is_read_before_anything_is_said(
    lane: SlurmLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ended long before its next dispatcher looked, and the shared folder is slower than the controller."""
    monkeypatch.setattr(sighting, "CLOCKS_DIFFER_S", 0.0)
    monkeypatch.setattr(evidence, "GRACE_S", 1.0)
    monkeypatch.setattr(LaneSettings, "scan_s", 60.0)
    await lane.open()
    order = await lane.start("a", **counted(lane, 1))
    await lane.until(lambda: bool(lane.jobs(order)))
    await lane.kill()
    await lane.state(order, "COMPLETED")
    await asyncio.sleep(3)
    await lane.restart(adopt=False)
    await asyncio.sleep(0.5)  # in which a dispatcher reads its lane, and the folder is scanned for nobody
    assert await lane.backend.adopt(order)
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())


@pytest.mark.parametrize(("says", "word"), [("true", "timeout:"), ("other", "vanished:")])
async def test_accounting_is_asked_about_what_squeue_has_forgotten(
    frail_lane: SlurmLane, monkeypatch: pytest.MonkeyPatch, says: str, word: str
) -> None:
    """What it says of another job that has got the same id does not count."""
    monkeypatch.setattr(evidence, "ABSENT_S", 1.0)
    lane = frail_lane
    lane.fake("sacct", 'cat "$HERE/row"')
    await lane.open()
    order = await lane.start("a", command="sleep 60")
    await lane.until(lambda: "TaskStarted" in lane.kinds("a"))
    job, name = lane.jobs(order)[0][0], attempt_of(order.run, order.ready).job_name if says == "true" else "other"
    (lane.folder / "bin" / "row").write_text(f"{job}|TIMEOUT||0|1|2|302|5|300|0:0|n1|{name}|\n")
    await lane.kill()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"run\0{lane.folder}/".encode() in process.read_bytes():
                os.kill(int(process.parent.name), signal.SIGKILL)
    await lane.until(lambda: lane.jobs(order) == [])
    await lane.restart()
    end = await lane.end("a")
    assert end.reason.startswith(word)


async def test_end_is_told_again_until_the_log_has_it(lane: SlurmLane) -> None:
    await lane.open()
    end = await lane.run_task("a", command="echo x > x")
    await lane.kill()
    lane.said.clear()
    await lane.restart()
    assert (await lane.end("a", seconds=5)) == end
    lane.forget("a")
    await lane.kill()
    await lane.restart(adopt=False)
    await lane.backend.sweep()
    assert not list((lane.folder / "spool" / "ledger" / "attempts").iterdir())


async def test_state_of_an_attempt_whose_end_the_log_has_is_shown_though_it_was_killed_before(lane: SlurmLane) -> None:
    await lane.open()
    end = await lane.run_task("a", command="echo said")
    await lane.kill()
    state = lane.folder / "out" / lane.run / ".slurm_state"
    shutil.rmtree(state)  # as if it had been killed before it could write this
    await lane.restart(adopt=False)
    await lane.backend.sweep()
    assert json.loads((state / "tasks.json").read_bytes())["a"]["status"] == end.outcome == "succeeded"
    assert "said" in (state / "logs" / "a.1.out").read_text()
    await lane.until(lambda: not list((lane.folder / "spool" / "ledger" / "attempts").iterdir()), 10)


async def test_order_that_was_never_begun_is_begun(lane: SlurmLane) -> None:
    await lane.open()
    await lane.kill()
    await lane.restart()
    assert await lane.backend.adopt(lane.order("a", **counted(lane)))
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())


async def test_lost_spool_loses_no_job(lane: SlurmLane) -> None:
    await lane.open()
    order = await lane.start("a", command="sleep 5")
    await lane.state(order, "RUNNING")
    await lane.kill()
    ledger = lane.folder / "spool" / "ledger"
    ledger.rename(lane.folder / "lost")
    await lane.restart()
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end.reason, end.tail, lane.queue())
    assert len(lane.jobs(order)) == 1


async def test_attempts_that_the_log_gave_up_are_cancelled(lane: SlurmLane) -> None:
    await lane.open()
    order = await lane.start("a", command="sleep 300")
    await lane.state(order, "RUNNING")
    await lane.kill()
    await lane.restart(adopt=False)
    await lane.backend.sweep()
    await lane.state(order, "CANCELLED", "FAILED")
    assert lane.ends("a") == []


async def test_job_that_has_the_id_of_one_that_was_given_up_is_not_touched(lane: SlurmLane) -> None:
    order, stranger = await lane.restart_with_a_strangers_job(adopt=False)
    await lane.backend.sweep()
    await lane.state(order, "CANCELLED", "FAILED")
    assert lane.testbed.client("squeue", "-h", "-j", stranger, "-o", "%T") in ("PENDING", "RUNNING")
    lane.testbed.client("scancel", stranger)


async def test_attempts_that_the_log_gave_up_are_looked_for(lane: SlurmLane) -> None:
    lane.fake("sbatch", f'{ONCE}"$REAL" "$@" > "$HERE/job"; sleep 60')
    await lane.open()
    order = await lane.start("a", command="sleep 300")
    await lane.until(lambda: bool(lane.jobs(order)))
    await lane.kill()
    await lane.restart(adopt=False)
    await lane.backend.sweep()
    await lane.state(order, "CANCELLED", "FAILED")


async def test_what_was_not_submitted_is_cancelled_without_a_controller(lane: SlurmLane) -> None:
    lane.fake("squeue", "exit 1")
    await lane.open()
    first = await lane.start("first", slurm="down")
    await lane.until(lambda: lane.away, 20)
    second, third = await lane.start("second"), await lane.start("third")
    await asyncio.sleep(0.5)
    for task, order in (("second", second), ("third", third)):
        assert await lane.backend.stop(order, "asked to")
        assert (await lane.end(task)).outcome == "cancelled"
        assert lane.jobs(order) == []
    for job, _ in lane.jobs(first):  # it may have been submitted before the first look failed
        lane.testbed.client("scancel", job)


async def test_second_dispatcher_in_one_spool_is_refused(lane: SlurmLane) -> None:
    await lane.open()
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from pto_slurm_lane.house import House; from pto_slurm_node.spool import Spool\n"
        "from pto_runtime.clock import SystemClock\n"
        f"House(Spool(Path({str(lane.folder / 'spool')!r})), SystemClock()).open()\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert b"another dispatcher works in" in said
