"""Jobs before their tasks' turns on a real cluster: they wait for their parents' jobs, and do nothing too early."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from tests.chaos.asking import Requester, Watcher
from tests.chaos.plans import APPEND, TRACE
from tests.slurm.gates import Gates
from tests.slurm.slurm_lane import SITE
from tests.slurm.slurm_site import DISPATCHER, LANE, SERVICES, SlurmSite
from tests.slurm.testbed import SlurmTestbed

from pto_memory import MemoryBlobStore
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import InstanceId, RunId, TaskId, external_name
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested, RunPauseRequested, RunResumeRequested
from pto_proto.subjects import run_filter
from pto_runtime.clock import SystemClock
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.lane import LaneSettings

pytestmark = pytest.mark.slow
THERE = ("PENDING", "RUNNING", "COMPLETING")


class Job(msgspec.Struct, frozen=True):
    id: str
    state: str
    reason: str
    dependency: str
    name: str


class Ahead:
    """A site that looks ahead, and what its cluster says."""

    def __init__(self, site: SlurmSite, requester: Requester, watcher: Watcher) -> None:
        self.site, self.requester, self.watcher = site, requester, watcher

    async def begin(self, run: str, plan: Plan, *, ahead: int = 2, executors: int = 1, **more: int) -> None:
        self.site.variables["PTO_SLURM_LOOKAHEAD"] = str(ahead)
        self.site.start_all(SERVICES)
        await self.watcher.wait(lambda: self.watcher.kinds["DispatcherUp"] >= 3, 60, "the start of the services")
        await self.requester.run(run, plan, executors=executors, backend=LANE, **more)

    def jobs(self, run: str, task: str, attempt: int = 1) -> list[Job]:
        """All jobs of the attempt that the cluster knows, the oldest first."""
        name = external_name(RunId(run), TaskId(task), attempt, 0)
        fields = "JobID:|,State:|,Reason:|,Dependency:128|,Name:64"
        lines = self.site.testbed.client("squeue", "-h", "-a", "-t", "all", "-O", fields).splitlines()
        found = [Job(*(word.strip() for word in line.split("|"))) for line in lines]
        return sorted((job for job in found if job.name.startswith(name)), key=lambda job: int(job.id))

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not await asyncio.to_thread(holds):
            self.site.check()
            assert time.monotonic() < until, f"{what} did not come\n{self.site.said(DISPATCHER.name)[-4000:]}"
            await asyncio.sleep(0.1)

    async def waiting(self, run: str, task: str) -> Job:
        """The task's job, once it waits for others."""

        def is_there() -> bool:
            return any(job.state == "PENDING" and "afterok" in job.dependency for job in self.jobs(run, task))

        await self.until(is_there, f"an early job of {task}")
        return self.jobs(run, task)[-1]

    async def kill_with_an_early_job(self, run: str) -> Job:
        """Begin a run, and kill the dispatcher once its record has the job of b, which waits for a."""
        await self.begin(run, chain(f"{APPEND}; sleep 8", APPEND))
        early = await self.waiting(run, "b")
        await self.until(lambda: any(early.id in path.read_text() for path in self.records()), "its record")
        self.site.kill(DISPATCHER.name)
        return early

    async def done(self, run: str) -> str:
        """How the run ended; nothing of it is there any more."""
        await self.watcher.until_finished(run, timeout_s=120)

        def is_empty() -> bool:
            fields = self.site.testbed.client("squeue", "-h", "-a", "-t", ",".join(THERE), "-O", "Comment:128")
            return f"pto:{run}/" not in fields

        await self.until(is_empty, "the end of all jobs")
        assert not self.site.tracebacks()
        assert "a part of the dispatcher failed" not in self.site.said(DISPATCHER.name)
        return self.watcher.finished[run]

    async def entries(self, run: str, *kinds: type[ev.Entry]) -> list[ev.Entry]:
        records = await self.requester.session.view.read_run(run_filter(RunId(run)))
        return [entry for event in (decode_event(found.data) for found in records) for entry in event.entries
                if isinstance(entry, kinds)]  # fmt: skip

    async def started(self, run: str) -> dict[str, list[str]]:
        """Task -> the jobs that began it."""
        found: dict[str, list[str]] = {}
        for entry in await self.entries(run, ev.TaskStarted):
            if isinstance(entry, ev.TaskStarted) and not entry.task.startswith("_"):
                found.setdefault(entry.task, []).append(entry.job)
        return found

    def records(self) -> list[Path]:
        """What the dispatcher keeps of early jobs."""
        return list(self.site.spool.glob("ledger/early/attempts/[!.]*.json"))  # and no file that is being written

    def traced(self) -> Counter[str]:
        """How often each task did its work."""
        return Counter(line.split()[1] for line in self.site.trace.read_text().splitlines())


@pytest.fixture
async def ahead(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[Ahead]:
    site = SlurmSite(tmp_path, slurm_cluster)
    try:
        await site.set_up()
        requester, other = await Requester.open(site), await Requester.open(site, "hostile")
        watcher = Watcher(other, site.check)
        watcher.begin()
        yield Ahead(site, requester, watcher)
        await watcher.close()
        await other.close()
        await requester.close()
    finally:
        site.close()


def chain(*commands: str) -> Plan:
    """Each task after the one before; tasks a, b, c, ..."""
    names = [TaskId("abcdefgh"[number]) for number in range(len(commands))]
    tasks = (
        TaskSpec(id=name, command=command, depends_on=tuple(names[number - 1 : number]) if number else (), env=(TRACE,))
        for number, (name, command) in enumerate(zip(names, commands, strict=True))
    )
    return Plan(name="chain", tasks=tuple(tasks))


async def test_children_wait_in_the_queue_for_their_parents(ahead: Ahead, gates: Gates) -> None:
    run = "chain-of-four"
    make = f"{APPEND}; cat in.txt >out.txt 2>/dev/null; echo $PTO_TASK >>$PTO_TASK.txt"
    await ahead.begin(run, chain(f"{gates.wait()}; {make}", make, make, f"{APPEND}; cat a.txt b.txt c.txt >all.txt"))
    second = await ahead.waiting(run, "b")
    third = await ahead.waiting(run, "c")
    (first,) = ahead.jobs(run, "a")
    assert first.state == "RUNNING", "its child was there before it ended"
    assert f"afterok:{first.id}" in second.dependency
    assert f"afterok:{second.id}" in third.dependency, "an early job is something to wait for, too"
    assert not ahead.jobs(run, "d"), "no more than two of a run"
    early = {entry.task for entry in await ahead.entries(run, ev.TaskStarted, ev.JobStateChanged)} - {"_plan"}
    assert early == {"a"}, "nothing is told of a job before its task's turn"
    gates.open()
    assert await ahead.done(run) == "succeeded"
    jobs = await ahead.started(run)
    assert (jobs["b"], jobs["c"]) == ([second.id], [third.id])
    assert ahead.traced() == Counter("abcd")
    assert not ahead.records()


async def test_child_of_a_failed_parent_never_runs(ahead: Ahead, gates: Gates) -> None:
    run = "failing-parent"
    await ahead.begin(run, chain(f"{gates.wait()}; exit 3", APPEND), max_retries=0)
    child = await ahead.waiting(run, "b")
    gates.open()
    assert await ahead.done(run) in ("failed", "partial")
    assert not ahead.traced()
    assert [job.id for job in ahead.jobs(run, "b")] == [child.id]
    assert ahead.jobs(run, "b")[0].state == "CANCELLED"
    assert "b" not in await ahead.started(run)
    await ahead.until(lambda: not ahead.records(), "the end of what was kept of the early job")


async def test_parent_that_is_tried_again_has_another_child(ahead: Ahead, gates: Gates) -> None:
    run = "retried-parent"
    flag = ahead.site.folder / "failed-once"
    fails_once = f"{APPEND}; test -e {flag} || {{ {gates.wait()}; touch {flag}; exit 1; }}"
    await ahead.begin(run, chain(fails_once, APPEND), max_retries=2)
    before = await ahead.waiting(run, "b")
    gates.open()
    assert await ahead.done(run) == "succeeded"
    assert ahead.traced() == Counter({"a": 2, "b": 1})
    jobs = ahead.jobs(run, "b")
    assert (jobs[0].id, jobs[0].state) == (before.id, "CANCELLED")
    assert (await ahead.started(run))["b"] == [jobs[-1].id] != [before.id]


@pytest.mark.parametrize("moment", ["pending", "between sbatch and its record"])
async def test_dispatcher_killed_with_an_early_job(ahead: Ahead, moment: str) -> None:
    run, flag = f"killed-{moment.split()[0]}", ahead.site.folder / "submitted"
    if moment != "pending":
        linger = f'case "$*" in *afterok*) [ -e {flag} ] || {{ touch {flag}; sleep 10; }};; esac'
        ahead.site.fake("sbatch", f'answer=$("$REAL" "$@"); {linger}; echo "$answer"')
    await ahead.begin(run, chain(f"{APPEND}; sleep 8", APPEND, APPEND))
    before = await ahead.waiting(run, "b")
    if moment != "pending":
        await ahead.until(flag.exists, "the call of sbatch")
    ahead.site.kill(DISPATCHER.name)
    ahead.site.start(DISPATCHER)
    assert await ahead.done(run) == "succeeded"
    assert ahead.traced() == Counter("abc")
    assert (await ahead.started(run))["b"] == [before.id], "it was found again"
    assert [job.id for job in ahead.jobs(run, "b")] == [before.id]


async def test_dispatcher_that_is_stopped_while_it_starts_leaves_early_jobs_alone(ahead: Ahead) -> None:
    run = "stopped-while-starting"
    before = await ahead.kill_with_an_early_job(run)
    stopped = SlurmBackend(
        blobs=MemoryBlobStore(),
        clock=SystemClock(),
        instance=InstanceId(DISPATCHER.name),
        capacity=4,
        settings=LaneSettings(spool=ahead.site.spool, site=SITE, lookahead=2),
        work_folder=lambda _run: ahead.site.folder,
        engines=(),
        host_environment=ahead.site.environment(DISPATCHER.name, ahead.site.folder),
        lane=LANE,
        log=ahead.requester.session.view,
    )
    await stopped.open(lambda *_: None, lambda *_: None)
    await stopped.close()  # before it was told of the attempts from before
    ahead.site.start(DISPATCHER)
    assert await ahead.done(run) == "succeeded"
    assert (await ahead.started(run))["b"] == [before.id]
    assert [job.id for job in ahead.jobs(run, "b")] == [before.id]


async def test_early_job_that_asks_for_something_else_is_replaced(ahead: Ahead) -> None:
    run = "other-shape"
    before = await ahead.kill_with_an_early_job(run)
    (path,) = ahead.records()
    record = msgspec.json.decode(path.read_bytes())
    record["shape"] = {**record["shape"], "exclude": ["n3"]}
    path.write_bytes(msgspec.json.encode(record))
    ahead.site.start(DISPATCHER)
    assert await ahead.done(run) == "succeeded"
    assert ahead.traced() == Counter("ab")
    first, second = ahead.jobs(run, "b")
    assert first.id == before.id
    assert (await ahead.started(run))["b"] == [second.id]


async def test_early_jobs_go_with_their_run(ahead: Ahead) -> None:
    run = "cancelled-run"
    await ahead.begin(run, chain("sleep 60", APPEND, APPEND))
    for task in ("b", "c"):
        await ahead.waiting(run, task)
    await ahead.requester.ask(RunCancelRequested(run=RunId(run)))
    assert await ahead.done(run) == "cancelled"
    assert not ahead.traced()
    assert {job.state for task in "bc" for job in ahead.jobs(run, task)} == {"CANCELLED"}


async def test_early_jobs_do_not_wait_with_a_paused_run(ahead: Ahead) -> None:
    run = "paused-run"
    await ahead.begin(run, chain(f"{APPEND}; sleep 8", APPEND))
    before = await ahead.waiting(run, "b")
    await ahead.requester.ask(RunPauseRequested(run=RunId(run)))
    await ahead.until(lambda: ahead.jobs(run, "b")[0].state == "CANCELLED", "the end of the early job")
    await ahead.requester.ask(RunResumeRequested(run=RunId(run)))
    assert await ahead.done(run) == "succeeded"
    assert ahead.traced() == Counter("ab")
    assert (await ahead.started(run))["b"] != [before.id]


async def test_job_whose_turn_does_not_come_in_time_has_done_nothing(ahead: Ahead, gates: Gates) -> None:
    """Another task has the only executor; and once the dispatcher sleeps while the early job gives up."""
    run = "late-turn"
    ahead.site.variables["PTO_SLURM_ORDER_WAIT_S"] = "1"
    a, x, b = (f"{APPEND}; {gates.wait(task)}" for task in "axb")
    parent = TaskSpec(id=TaskId("a"), command=a, env=(TRACE,), estimate_s=100)
    other = TaskSpec(id=TaskId("x"), command=x, env=(TRACE,), estimate_s=50)
    child = TaskSpec(id=TaskId("b"), command=b, env=(TRACE,), depends_on=(TaskId("a"),))
    last = TaskSpec(id=TaskId("c"), command=APPEND, env=(TRACE,), depends_on=(TaskId("b"), TaskId("x")))
    await ahead.begin(run, Plan(name="late", tasks=(parent, other, child, last)), ahead=1)
    before = await ahead.waiting(run, "b")
    gates.open("a")
    await ahead.until(lambda: ahead.jobs(run, "b")[0].state == "FAILED", "the job that gave up")
    gave_up = f'"void":["{before.id}"]'  # who does not know it yet submits a job of c that waits for this one in vain
    await ahead.until(lambda: any(gave_up in path.read_text() for path in ahead.records()), "word of its end")
    gates.open("x")
    after = await ahead.waiting(run, "c")
    await ahead.until(lambda: "b" in ahead.traced(), "the second task")
    ahead.site.freeze(DISPATCHER.name)
    gates.open("b")
    await ahead.until(lambda: ahead.jobs(run, "c")[0].state == "FAILED", "the job that gave up")
    ahead.site.thaw(DISPATCHER.name)
    assert await ahead.done(run) == "succeeded"
    assert ahead.traced() == Counter("axbc")
    jobs = await ahead.started(run)
    assert before.id not in jobs["b"]
    assert after.id not in jobs["c"]
    finished = await ahead.entries(run, ev.TaskFinished)
    assert {entry.outcome for entry in finished if isinstance(entry, ev.TaskFinished)} == {"succeeded"}
