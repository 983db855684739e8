"""Services on the in-memory log: what a run takes over of earlier ones, and what is gone."""

from typing import Any

import msgspec

from pto_core.views import RunView
from pto_proto.ids import RunId, TaskId, digest_of
from pto_proto.manifests import Manifest
from pto_proto.plans import InputFile, Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.reuse import Reusable
from small_system import SmallSystem


def command(name: str, *after: str, inputs: tuple[str, ...] = ("*.txt",)) -> TaskSpec:
    return TaskSpec(id=TaskId(name), command=f"make {name}", depends_on=after, inputs=inputs)  # type: ignore[arg-type]


PLAN = Plan(tasks=(command("a"), command("b", "a", inputs=("b.csv",)), command("c", "b")))


async def system_with_outputs() -> SmallSystem:
    """Every task of this system leaves the same stored manifest and tree behind."""
    system = SmallSystem()
    bundle = await system.blobs.put(b"a bundle")
    manifest = await system.blobs.put(msgspec.json.encode(Manifest(bundle=bundle, files=())))
    tree = await system.blobs.put(b"{}")
    finish = system.local.finish
    system.local.finish = lambda order, **fields: finish(order, manifest=manifest, tree=tree, **fields)  # type: ignore[method-assign]
    system.start_all()
    return system


async def run_it(system: SmallSystem, run: str, plan: Plan = PLAN, **fields: Any) -> RunView:
    system.local.started.clear()
    await system.ask(RunRequested(run=RunId(run), plan=plan, **fields))
    return await system.until(lambda view: view.finished or view.refused, run)


def started(system: SmallSystem) -> list[str]:
    return [task for task, _ in system.local.started]


async def inputs(system: SmallSystem, **contents: str) -> Any:
    files = [
        InputFile(path=name.replace("_", "."), sha256=await system.blobs.put(text.encode()), size=len(text))
        for name, text in contents.items()
    ]
    return await system.blobs.put(msgspec.json.encode(files))


async def test_a_changed_input_file_runs_exactly_what_sees_it_and_what_is_behind() -> None:
    system = await system_with_outputs()
    await run_it(system, "run-one", inputs_digest=await inputs(system, a_txt="1", b_csv="1"))
    assert started(system) == ["a", "b", "c"]
    await run_it(system, "run-two", inputs_digest=await inputs(system, a_txt="1", b_csv="1"), reuse=True)
    assert started(system) == []
    await run_it(system, "run-three", inputs_digest=await inputs(system, a_txt="1", b_csv="2"), reuse=True)
    assert started(system) == ["b", "c"]
    await system.stop_all()


async def test_what_lies_in_no_store_any_more_runs_again() -> None:
    system = await system_with_outputs()
    await run_it(system, "run-one")
    gone = digest_of(b"gone")
    listed = [
        Reusable(key=task.key, manifest=gone if task.spec.id == "b" else task.manifest, tree=task.tree, run="old", task=task.spec.id)
        for task in (await system.view("run-one")).run.tasks  # type: ignore[union-attr]
    ]  # fmt: skip
    digest = await system.blobs.put(msgspec.json.encode(listed))
    view = await run_it(system, "run-two", reuse_digest=digest)
    assert started(system) == ["b", "c"]
    assert view.run is not None
    assert [entry.source_run for entry in view.run.reused.values()] == ["old"]
    await system.stop_all()


async def test_a_list_that_is_missing_or_none_is_refused_readably() -> None:
    system = await system_with_outputs()
    missing = await run_it(system, "run-one", reuse_digest=digest_of(b"nowhere"))
    assert str(missing.refused[0].reasons[0]).startswith("reuse_digest: the list cannot be fetched")
    wrong = await run_it(system, "run-two", reuse_digest=await system.blobs.put(b'{"no": "list"}'))
    assert str(wrong.refused[0].reasons[0]).startswith("reuse_digest: the stored list is none of finished tasks")
    unknown = await run_it(system, "run-three", resumes="run-zero")
    assert "there is no run 'run-zero' in this log" in str(unknown.refused[0].reasons[0])
    await system.stop_all()


async def test_the_next_leader_finds_the_same_again() -> None:
    system = await system_with_outputs()
    await run_it(system, "run-one")
    await system.kill("scheduler")
    await system.ask(RunRequested(run=RunId("run-two"), plan=PLAN, reuse=True))
    system.local.started.clear()
    system.start_scheduler()
    await system.until(lambda view: view.finished, "run-two")
    assert started(system) == []
    await system.stop_all()
