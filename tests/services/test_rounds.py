"""Rounds through the services: scheduler, planner and the real consolidator, real commands as checks, fake agents."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from pto_consolidator.backend import ConsolidatorBackend
from pto_core.audit import Audit
from pto_core.consolidation import Consolidated
from pto_core.merge import merge_parents, overlay
from pto_core.project_docs import render_execution_doc
from pto_core.views import RunView
from pto_harness.manifest import write_bundle
from pto_ports.backend import LiveLine, Order, Report
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import LANE_CONSOLIDATOR, Digest, InstanceId, RunId, TaskId
from pto_proto.manifests import Manifest, Tree
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested
from small_system import SmallSystem

Write = Callable[[ev.TaskReady], dict[str, str]]
"""What an agent writes: path -> text."""


class Agents:
    """A backend whose agents write what the test says; each attempt is remembered."""

    instance = InstanceId("local-1")

    def __init__(self, folder: Path, system: SmallSystem, write: Write) -> None:
        self._folder, self._blobs, self._write = folder, system.blobs, write
        self._numbers = itertools.count()
        self._report: Report | None = None
        self._working: set[asyncio.Task[None]] = set()
        self.attempts: list[ev.TaskReady] = []

    def can_run(self) -> tuple[str, ...]:
        return ("noop", "command", "agent:simulated")

    async def open(self, report: Report, live: LiveLine) -> None:
        self._report = report

    async def start(self, order: Order) -> None:
        self.attempts.append(order.ready)
        work = asyncio.create_task(self._work(order))
        self._working.add(work)
        work.add_done_callback(self._working.discard)

    async def _work(self, order: Order) -> None:
        ready = order.ready
        identity = {"at": 1, "task": ready.task, "attempt": ready.attempt, "round": ready.round}
        trees = [msgspec.json.decode(await self._blobs.get(digest), type=Tree) for digest in ready.trees]
        seen = merge_parents(trees, ready.on_conflict).files
        folder = self._folder / f"work-{next(self._numbers)}"
        files = self._write(ready)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        made = write_bundle(folder, list(files), folder / ".out")
        data = Path(made["manifest"]).read_bytes()
        await self._blobs.put_file(Path(made["bundle"]))
        tree = overlay(seen, msgspec.json.decode(data, type=Manifest), ready.task)
        finished = ev.TaskFinished(
            **identity, instance=self.instance, outcome="succeeded", manifest=await self._blobs.put(data),
            tree=await self._blobs.put(msgspec.json.encode(tree)), files=len(files),
        )  # fmt: skip
        assert self._report is not None
        self._report(order, ev.TaskStarted(**identity, instance=self.instance), finished)

    async def stop(self, order: Order, reason: str) -> bool:
        return False

    async def sweep(self) -> None:
        pass

    def forget(self, order: Order) -> None:
        pass

    async def adopt(self, order: Order) -> bool:
        return False

    async def close(self) -> None:
        pass


class System(SmallSystem):
    """The small system with a real consolidator."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def play(self, write: Write, plan: Plan, run: str = "run-one") -> tuple[RunView, Agents]:
        agents = Agents(self.folder, self, write)
        merger = ConsolidatorBackend(log=self.log, blobs=self.blobs, clock=self.clock, instance=InstanceId("c-1"))
        self.start_scheduler()
        self.start_planner()
        self.start_local(agents)  # type: ignore[arg-type]
        self._start_dispatcher("consolidator", LANE_CONSOLIDATOR, "c-1", merger)
        await self.ask(RunRequested(run=RunId(run), plan=plan, max_executors=8))
        view = await self.until(lambda view: view.finished, run)
        await self.stop_all()
        return view, agents


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    system = System(tmp_path)
    yield system
    await system.stop_all()


def agent(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="write it", depends_on=tuple(map(TaskId, after)))


async def audit(system: System) -> Audit:
    found = Audit()
    for recorded in await system.log.read_run(">"):
        found.take(recorded.seq, recorded.subject, recorded.data)
    found.finish()
    return found


async def merges(system: System) -> list[ev.RunConsolidated]:
    events = [decode_event(recorded.data) for recorded in await system.log.read_run(">")]
    return [entry for event in events for entry in event.entries if isinstance(entry, ev.RunConsolidated)]


SIXTEEN = Plan(tasks=tuple(agent(f"t{n}") for n in range(16)), checks=("! grep -l BROKEN src/*.txt",))


async def test_the_task_that_broke_the_project_is_found_reopened_and_mends_it(system: System) -> None:
    def write(ready: ev.TaskReady) -> dict[str, str]:
        is_broken = ready.task == "t11" and not ready.evidence
        return {f"src/{ready.task}.txt": "BROKEN\n" if is_broken else "fine\n"}

    view, agents = await system.play(write, SIXTEEN)
    assert view.finished is not None
    assert view.finished.status == "succeeded"
    assert [(e.task, e.round) for e in view.reopened] == [("t11", 1)]
    assert "src/t11.txt" in view.reopened[0].evidence
    assert len(agents.attempts) == 17
    tried = view.attempts[TaskId("_merge")]
    assert [(merge.round, merge.attempt, merge.outcome) for merge in tried] == [
        (0, 1, "succeeded"),
        (1, 1, "succeeded"),
    ]
    first, _ = await merges(system)
    assert first.culprit == "t11"
    assert first.merged_builds <= 5
    assert view.consolidated is not None
    assert (view.consolidated.culprit, view.consolidated.merged_builds) == ("", 1)
    assert (await audit(system)).findings == []


async def test_an_agent_that_never_mends_it_leaves_a_partial_run_with_the_check_named(system: System) -> None:
    def write(ready: ev.TaskReady) -> dict[str, str]:
        return {f"src/{ready.task}.txt": f"BROKEN {ready.round}\n" if ready.task == "t3" else "fine\n"}

    view, _ = await system.play(write, SIXTEEN)
    assert view.finished is not None
    assert view.finished.status == "partial"
    assert "! grep -l BROKEN src/*.txt` (exit code 1), traced to t3, which was reopened 2 times" in view.finished.reason
    assert [(a.round, a.attempt) for a in view.attempts[TaskId("t3")]] == [(0, 1), (1, 1), (2, 1)]
    assert (await audit(system)).findings == []


CHAIN = Plan(
    tasks=(agent("base"), agent("middle", "base"), agent("top", "middle"), agent("beside")),
    checks=("test $(cat src/base.txt) -gt 1", "test -f src/top.txt"),
)


@pytest.mark.parametrize("is_mended", [True, False])
async def test_what_was_built_on_it_runs_again_only_if_it_changed(system: System, is_mended: bool) -> None:
    def write(ready: ev.TaskReady) -> dict[str, str]:
        number = 1 + ready.round if is_mended and ready.task == "base" else 1
        return {f"src/{ready.task}.txt": f"{number}\n"}

    view, agents = await system.play(write, CHAIN)
    ran = [
        (ready.task, ready.round, ready.attempt) for ready in agents.attempts if (ready.round, ready.attempt) != (0, 1)
    ]
    assert view.finished is not None
    if is_mended:
        assert view.finished.status == "succeeded"
        assert ran == [("base", 1, 1), ("middle", 0, 2), ("top", 0, 2)]
    else:
        assert view.finished.status == "partial"
        assert ran == [("base", 1, 1), ("base", 2, 1)]
    assert (await audit(system)).findings == []


async def test_the_same_run_ends_the_same_although_the_scheduler_dies_between_rounds(tmp_path: Path) -> None:
    def write(ready: ev.TaskReady) -> dict[str, str]:
        return {f"src/{ready.task}.txt": f"{1 + (ready.round if ready.task == 'base' else 0)}\n"}

    digests: set[Digest] = set()
    for number in range(2):
        system = System(tmp_path / f"{number}")
        playing = asyncio.create_task(system.play(write, CHAIN))
        if number:
            await asyncio.sleep(0)
            await system.until(lambda view: view.reopened)
            await system.kill("scheduler")
            system.start_scheduler()
        view, _ = await playing
        assert view.finished is not None
        digests.add(view.finished.outcome_digest)
    assert len(digests) == 1


async def test_the_execution_page_tells_of_the_rounds(system: System) -> None:
    def write(ready: ev.TaskReady) -> dict[str, str]:
        return {"src/a.txt": "BROKEN\n" if not ready.round else "fine\n"}

    view, _ = await system.play(write, Plan(tasks=(agent("a"),), checks=("! grep BROKEN src/a.txt",)))
    assert view.consolidated is not None
    page = render_execution_doc(view, Consolidated(files=(), readmes=(), conflicts=(), refused=()))
    assert "## Reopened" in page
    assert "- a, round 1: The check `! grep BROKEN src/a.txt` on the merged project ended with exit code 1." in page
