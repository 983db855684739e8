"""How a merge starts, ends, and behaves under load."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fakes.sandboxes import nothing_here
from test_consolidator import A, Merge

from pto_consolidator import checking
from pto_consolidator.backend import ConsolidatorBackend
from pto_core.views import RunView
from pto_harness.strays import find_strays
from pto_ports.backend import Order
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_runtime.clock import SystemClock

RUN_ID = RunId("run-one")


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    return Merge(tmp_path)


async def opened(merge: Merge) -> tuple[ConsolidatorBackend, Order]:
    task = TaskId("_merge")
    ready = ev.TaskReady(at=4, task=task, attempt=1, instance=InstanceId("c"), spec=TaskSpec(id=task))
    seq = await merge.add("consolidator", ready)
    backend = ConsolidatorBackend(log=merge.log, blobs=merge.blobs, clock=SystemClock(), instance=InstanceId("c"))
    await backend.open(merge.report, lambda order, stream, text: None)
    return backend, Order(RUN_ID, seq, ready)


async def test_an_order_given_twice_is_merged_once(merge: Merge) -> None:
    await merge.begin(A)
    await merge.end("a", {"src/m.py": "x\n"})
    backend, order = await opened(merge)
    await backend.start(order)
    await backend.start(order)
    await asyncio.wait_for(merge.done.wait(), 20)
    await backend.close()
    assert [type(entry) for entry in merge.reported] == [ev.TaskStarted, ev.RunConsolidated, ev.TaskFinished]


async def test_a_stopped_merge_ends_its_check_and_is_cancelled(merge: Merge) -> None:
    await merge.begin(A, checks=("sleep 600",))
    await merge.end("a", {"src/m.py": "x\n"})
    backend, order = await opened(merge)
    await backend.start(order)
    for _ in range(2_000):
        if find_strays("PTO_OWNER=" + backend._checker._owner):
            break
        await asyncio.sleep(0.01)
    await backend.stop(order, "asked")
    await asyncio.wait_for(merge.done.wait(), 20)
    finished = merge.reported[-1]
    assert isinstance(finished, ev.TaskFinished)
    assert (finished.outcome, finished.failure, finished.reason) == ("cancelled", "cancelled", "asked")
    assert not any(isinstance(entry, ev.RunConsolidated) for entry in merge.reported)
    await backend.close()
    assert find_strays("PTO_OWNER=" + backend._checker._owner) == []


async def test_nothing_is_adopted(merge: Merge) -> None:
    await merge.begin(A)
    backend, order = await opened(merge)
    assert await backend.adopt(order) is False
    await backend.close()


async def test_checks_see_no_secret_of_the_service(merge: Merge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_PASSWORD", "canary-4711")
    await merge.begin(A, checks=("env; exit 1",))
    await merge.end("a", {"src/m.py": "x\n"})
    merged, _ = await merge.merge()
    assert merged is not None
    assert merged.checks[0].tail
    assert not any("canary-4711" in line for line in merged.checks[0].tail)


async def test_ten_thousand_noops_are_merged(merge: Merge) -> None:
    specs = [TaskSpec(id=TaskId(f"t{number}"), noop=True) for number in range(10_000)]
    await merge.begin(*specs)
    for at in range(0, len(specs), 100):
        part = specs[at : at + 100]
        instance = InstanceId("l")
        await merge.add(
            "local", *(ev.TaskReady(at=2, task=spec.id, attempt=1, instance=instance, spec=spec) for spec in part)
        )
        await merge.add("local", *(ev.TaskStarted(at=2, task=spec.id, attempt=1, instance=instance) for spec in part))
        await merge.add(
            "local",
            *(ev.TaskFinished(at=2, task=spec.id, attempt=1, instance=instance, outcome="succeeded") for spec in part),
        )
    merged, finished = await merge.merge()
    assert merged is not None
    assert finished.outcome == "succeeded"
    assert merged.files == 3


def test_a_view_of_nothing_merges_nothing() -> None:
    from pto_consolidator.merging import final_trees

    view = RunView()
    assert final_trees(view) == []
    refused = ev.RequestRefused(at=1, kind="RunRequested", reasons=())
    view.apply(1, Event(id="1", source="t", kind=ev.RequestRefused, lane=None, run=None, entries=(refused,)))
    assert final_trees(view) == []


AGENTS = TaskSpec(id=TaskId("a"), agent="do it")


async def merged_with_check(merge: Merge, spec: TaskSpec, check: str, **request: Any) -> list[ev.Entry]:
    await merge.begin(spec, checks=(check,), **request)
    await merge.end("a", {"src/m.py": "x\n"})
    backend, order = await opened(merge)
    await backend.start(order)
    await asyncio.wait_for(merge.done.wait(), 20)
    await backend.close()
    return merge.reported


@pytest.mark.parametrize(
    ("spec", "sandbox", "is_confined"),
    [(AGENTS, "agents", True), (AGENTS, "none", False), (A, "agents", False), (A, "all", True)],
)
async def test_checks_are_confined_when_agents_wrote_any_of_it_or_all_is_asked_for(
    merge: Merge, tmp_path: Path, spec: TaskSpec, sandbox: str, is_confined: bool
) -> None:
    (tmp_path / "secret").write_text("x")
    reported = await merged_with_check(merge, spec, f"! cat {tmp_path}/secret", sandbox=sandbox)
    (merged,) = (entry for entry in reported if isinstance(entry, ev.RunConsolidated))
    assert merged.checks[0].passed is is_confined


@pytest.mark.parametrize(("engine", "failure"), [("api", "config"), ("simulated", None)])
async def test_without_a_sandbox_only_the_simulated_engines_work_is_checked(
    merge: Merge, monkeypatch: pytest.MonkeyPatch, engine: str, failure: str | None
) -> None:
    monkeypatch.setattr(checking, "find_sandbox", nothing_here)
    reported = await merged_with_check(merge, AGENTS, "test -s src/m.py", engine=engine)
    finished = reported[-1]
    assert isinstance(finished, ev.TaskFinished)
    assert finished.failure == failure
    assert ("--sandbox none" in finished.hint) is (failure is not None)
