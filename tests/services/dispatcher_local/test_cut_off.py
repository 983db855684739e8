"""Attempts of agents that are cut off leave their work to the next one; it counts for nothing by itself."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_local_backend import Local

from pto_harness.limits import CARRIED_BYTES, CARRIED_FILES
from pto_ports.engine import AgentTask, AttemptDone, EngineError, Workbench

OUTPUT = "src/a.py"


class Acting:
    """Does the next deed at each attempt."""

    name = "actor"

    def __init__(self, *deeds: Any) -> None:
        self.deeds = list(deeds)
        self.seen: list[tuple[str, list[str]]] = []

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        there = sorted(p.relative_to(bench.workspace).as_posix() for p in bench.workspace.rglob("*") if p.is_file())
        self.seen.append((task.notes, there))
        self.deeds.pop(0)(bench)
        return AttemptDone()


def put(bench: Workbench, path: str, text: str) -> None:
    target = bench.workspace / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def cut_off(failure: Any = "infra") -> Any:
    def deed(bench: Workbench) -> None:
        put(bench, OUTPUT, "half")
        put(bench, "given.txt", "changed")
        put(bench, "elsewhere.txt", "outside of the scope")
        (bench.workspace / "src" / "link").symlink_to("/etc/passwd")
        bench.keep_notes("wrote half of it")
        raise EngineError("the line was cut", failure=failure)

    return deed


async def attempts(folder: Path, engine: Acting, count: int, **fields: Any) -> tuple[Local, list[Any]]:
    local = await Local(folder, {"actor": engine}).open()
    given = await local.run("given", command="echo theirs > given.txt")
    wanted = {"outputs": (OUTPUT,), "writes": ("src/**",), **fields}
    done = []
    for attempt in range(1, count + 1):
        order = {"attempt": attempt, "slot": attempt % 2, "trees": (given.tree,), "engine": "actor"}
        done.append(await local.run("a", agent="do it", **order, **wanted))
    await local.backend.close()
    return local, done


@pytest.mark.parametrize("failure", ["infra", "capacity", "timeout", "budget"])
async def test_files_in_scope_and_notes_are_there_again(tmp_path: Path, failure: str) -> None:
    engine = Acting(cut_off(failure), lambda bench: put(bench, OUTPUT, "whole"))
    local, (first, second) = await attempts(tmp_path, engine, 2)
    assert (first.failure, second.outcome) == (failure, "succeeded")
    assert engine.seen == [("", ["given.txt"]), ("wrote half of it", ["given.txt", OUTPUT])]
    assert await local.content(second) == {OUTPUT: "whole"}


@pytest.mark.parametrize("checks", [(), (f"test -s {OUTPUT}",)])
async def test_what_was_left_behind_counts_for_nothing_by_itself(tmp_path: Path, checks: tuple[str, ...]) -> None:
    engine = Acting(cut_off(), lambda bench: None, lambda bench: None)
    _, (_, second, third) = await attempts(tmp_path, engine, 3, checks=checks)
    assert (second.outcome, second.failure) == ("failed", "task")
    assert "what an earlier attempt left behind" in second.reason
    assert engine.seen[2] == ("", ["given.txt"]), "work that was judged and found wrong is not offered again"
    assert third.outcome == "failed"


async def test_writing_it_once_more_makes_it_ones_own(tmp_path: Path) -> None:
    engine = Acting(cut_off(), lambda bench: put(bench, OUTPUT, "half"))
    local, (_, second) = await attempts(tmp_path, engine, 2)
    assert second.outcome == "succeeded"
    assert await local.content(second) == {OUTPUT: "half"}


async def test_only_so_much_is_offered(tmp_path: Path) -> None:
    def too_much(bench: Workbench) -> None:
        (bench.workspace / "src").mkdir()
        with (bench.workspace / "src" / "0-big").open("wb") as file:
            file.truncate(CARRIED_BYTES + 1)
        for number in range(CARRIED_FILES + 10):
            (bench.workspace / "src" / f"f{number}").touch()
        raise EngineError("cut", failure="infra")

    engine = Acting(too_much, lambda bench: put(bench, OUTPUT, "x"))
    await attempts(tmp_path, engine, 2)
    there = engine.seen[1][1]
    assert "src/0-big" not in there
    assert len([path for path in there if path.startswith("src/f")]) == CARRIED_FILES


async def test_commands_always_start_afresh(tmp_path: Path) -> None:
    local = await Local(tmp_path).open()
    first = await local.run("a", command="echo x > left; exit 1")
    second = await local.run("a", command="test ! -e left", attempt=2)
    await local.backend.close()
    assert (first.outcome, second.outcome) == ("failed", "succeeded")


HOST = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_local_backend import Local
from test_cut_off import Acting, put
import threading

def deed(bench):
    put(bench, "src/a.py", "half")
    bench.keep_notes("killed in the middle")
    print("working", flush=True)
    threading.Event().wait(60)

async def main():
    local = await Local(Path({folder!r}), {{"actor": Acting(deed)}}).open()
    await local.run("a", agent="do it", engine="actor", outputs=("src/a.py",))

asyncio.run(main())
"""


async def test_work_of_a_dispatcher_that_was_killed_is_offered_too(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    code = HOST.format(paths=[str(here.parent), str(here.parents[2])], folder=str(tmp_path))
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert await host.stdout.readline() == b"working\n"
    os.kill(host.pid, signal.SIGKILL)
    await host.wait()
    engine = Acting(lambda bench: put(bench, "src/b.py", "more"))
    local = await Local(tmp_path, {"actor": engine}).open()
    finished = await local.run("a", agent="do it", engine="actor", attempt=2, outputs=(OUTPUT, "src/b.py"))
    await local.backend.close()
    assert engine.seen == [("killed in the middle", [OUTPUT])]
    assert await local.content(finished) == {OUTPUT: "half", "src/b.py": "more"}
