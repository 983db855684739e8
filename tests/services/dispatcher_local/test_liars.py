"""Executors that say they are done and are not: none of them makes a task succeed, and nothing unchecked is kept."""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.sandboxes import LEVELS, nothing_here, sandbox
from test_local_backend import Local

from pto_ports.engine import AgentTask, AttemptDone, EngineError, Workbench
from pto_proto.plans import Resources

PYTHON = sys.executable
GOOD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return 0\n"
CALC = "src/calc.py"
TESTS = "tests/check_calc.py"
CHECK = f"{PYTHON} {TESTS}"
CHECK_TEXT = """import sys
sys.path.insert(0, "src")
from calc import add
assert add(2, 3) == 5, "add is wrong"
"""
HELPER = "src_of_others/helper.py"
GIVEN = f"mkdir -p tests src_of_others; cat > {TESTS} <<'END'\n{CHECK_TEXT}END\necho 'SUM = 0' > {HELPER}"
"""What the tasks before made: the check itself, and a module of somebody else."""


def shell(bench: Workbench, text: str) -> int:
    return bench.run(text, feed=lambda stream, data: None, time_limit_s=20.0).exit_code


def write(bench: Workbench, path: str, text: str) -> None:
    """As a tool of an agent would, but without asking whether it may."""
    target = bench.workspace / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


@dataclass(frozen=True)
class Liar:
    name: str
    deed: Callable[[Workbench], object]
    said: str
    """In the reason of the failure."""
    more: dict[str, Any] | None = None


def fills_the_memory(bench: Workbench) -> None:
    assert shell(bench, f'{PYTHON} -c \'x = bytearray(10**9); open("{CALC}", "w").write("x")\'') != 0


def fills_the_disk(bench: Workbench) -> None:
    assert shell(bench, f"mkdir -p src && truncate -s 3G big && echo x > {CALC}") != 0


def hides_a_late_writer(bench: Workbench) -> None:
    write(bench, CALC, BAD)
    late = f"sleep 0.4; while :; do cat good > {CALC}; cat good > $PWD/../.*/check/{CALC}; sleep 0.01; done"
    write(bench, "good", GOOD)
    shell(bench, f"setsid env -i /bin/sh -c '{late}' >/dev/null 2>&1 </dev/null &")


def outlives(bench: Workbench) -> None:
    shell(bench, f"(setsid env -i /bin/sh -c 'sleep 0.8; mkdir -p src; echo x > {CALC}' >/dev/null 2>&1 &) & echo done")


def replaces_the_check(bench: Workbench) -> None:
    write(bench, CALC, BAD)
    write(bench, TESTS, "print('fine')\n")


def deletes_the_tests(bench: Workbench) -> None:
    write(bench, CALC, BAD)
    shell(bench, "rm -rf tests")


def changes_others(bench: Workbench) -> None:
    text = (
        "import sys\nsys.path.insert(0, 'src_of_others')\nfrom helper import SUM\n\n\ndef add(a, b):\n    return SUM\n"
    )
    write(bench, CALC, text)
    write(bench, HELPER, "SUM = 5\n")


def prepares_the_next_check(bench: Workbench) -> None:
    """Its code is run by the first check, and then replaces what the second one runs."""
    text = f"open({TESTS!r}, 'w').write('')\nopen('second.sh', 'w').write('exit 0')\n\n\n"
    write(bench, CALC, text + "def add(a, b):\n    return 5\n")


LIARS = [
    Liar("makes no files", lambda bench: None, f"declared output '{CALC}' is missing"),
    Liar(
        "makes no files without being asked for any", lambda bench: None, "made no file", {"outputs": (), "checks": ()}
    ),
    Liar("makes empty files", lambda bench: write(bench, CALC, ""), "is empty"),
    Liar("makes stubs", lambda bench: write(bench, CALC, "def add(a, b): ...\n"), "the check"),
    Liar("makes what fails the tests", lambda bench: write(bench, CALC, BAD), "the check"),
    Liar("deletes the tests", deletes_the_tests, "the check"),
    Liar("replaces the check", replaces_the_check, f"not taken over: {TESTS}"),
    Liar("changes what others made", changes_others, f"not taken over: {HELPER}"),
    Liar(
        "writes outside of its scope", lambda bench: write(bench, "docs/calc.py", GOOD), "not taken over: docs/calc.py"
    ),
    Liar(
        "shadows the program of the check",
        lambda bench: (write(bench, CALC, BAD), write(bench, "tests/sys.py", ""), write(bench, "calc.py", GOOD)),
        "the check",
    ),
    Liar("links to a file outside", lambda bench: shell(bench, f"mkdir src; ln -s /etc/passwd {CALC}"), "it is a link"),
    Liar("links its folder to elsewhere", lambda bench: shell(bench, "ln -s /etc src"), "it is a link"),
    Liar("makes a pipe", lambda bench: shell(bench, f"mkdir src; mkfifo {CALC}"), "it is no regular file"),
    Liar(
        "writes to /tmp only", lambda bench: shell(bench, "echo x > /tmp/calc.py; echo x > $TMPDIR/calc.py"), "missing"
    ),
    Liar("says done after a failure", lambda bench: shell(bench, "echo all is well; exit 1"), "missing"),
    Liar("makes a program that fails", lambda bench: write(bench, CALC, "raise SystemExit(1)\n"), "exit code 1"),
    Liar("leaves a hidden writer behind", hides_a_late_writer, "the check"),
    Liar("leaves the work to children that outlive it", outlives, "missing"),
    Liar("uses up the memory", fills_the_memory, "missing", {"resources": Resources(memory="200M")}),
    Liar("uses up the disk", fills_the_disk, "missing"),
    Liar("prepares the next check", prepares_the_next_check, "second", {"checks": (CHECK, "sh second.sh")}),
]


class Lying:
    """An engine that does its deed and says that it is done; one that asks the bench does it again when refused."""

    name = "liar"

    def __init__(self, deed: Callable[[Workbench], object], asks: bool) -> None:
        self.deed = deed
        self.asks = asks
        self.told: list[str] = []

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        self.deed(bench)
        while self.asks and (found := bench.judge()):
            self.told.append(found)
            self.deed(bench)
        return AttemptDone(summary="All done, all tests pass!")


async def attempt(folder: Path, engine: Any, level: str, **fields: Any) -> tuple[Local, Any]:
    find = nothing_here if level == "none" else lambda: sandbox(level)
    local = await Local(folder, {"liar": engine}, find_sandbox=find).open()
    try:
        given = await local.run("given", command=GIVEN)
        wanted = {"outputs": (CALC,), "writes": ("src/**",), "checks": (CHECK,), **fields}
        wanted |= {"sandbox": "none"} if level == "none" else {}
        return local, await local.run("a", agent="do it", engine="liar", trees=(given.tree,), **wanted)
    finally:
        await local.backend.close()


def test_there_are_enough_of_them() -> None:
    assert len({liar.name for liar in LIARS}) >= 12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.name)
async def test_a_lie_is_never_a_success(liar: Liar, level: str, tmp_path: Path) -> None:
    engine = Lying(liar.deed, asks=level == "bubblewrap")
    began = time.monotonic()
    _, finished = await attempt(tmp_path, engine, level, **(liar.more or {}))
    assert (finished.outcome, finished.failure, finished.sandbox) == ("failed", "task", level), finished
    assert liar.said in finished.reason
    assert not finished.manifest
    assert finished.tree == ""
    if engine.asks:
        assert len(engine.told) == 4, "three corrections"
        assert "after 3 corrections" in finished.reason
    # Whoever outlives the attempt would show now.
    await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()) if "outlive" in liar.name else 0.0)
    assert "outlive" not in liar.name or not list(tmp_path.rglob(CALC))


@pytest.mark.parametrize("level", [*LEVELS, "none"])
async def test_what_is_edited_after_the_check_is_not_what_is_kept(level: str, tmp_path: Path) -> None:
    class EditsLater:
        name = "liar"

        def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
            write(bench, CALC, GOOD)
            assert bench.judge() == ""
            write(bench, CALC, BAD)
            write(bench, "src/more.py", BAD)
            return AttemptDone()

    local, finished = await attempt(tmp_path, EditsLater(), level)
    assert (finished.outcome, finished.sandbox) == ("succeeded", level)
    assert await local.content(finished) == {CALC: GOOD}


@pytest.mark.parametrize("level", LEVELS)
async def test_a_truthful_executor_succeeds_with_what_lies_in_its_scope(level: str, tmp_path: Path) -> None:
    def deed(bench: Workbench) -> None:
        write(bench, CALC, "from calc_parts import add\n")
        write(bench, "src/calc_parts.py", GOOD)
        write(bench, "scratch.txt", "notes")

    local, finished = await attempt(tmp_path, Lying(deed, asks=False), level)
    assert (finished.outcome, finished.sandbox) == ("succeeded", level), finished.reason
    assert set(await local.content(finished)) == {CALC, "src/calc_parts.py"}


async def test_what_is_wrong_is_told_and_the_corrected_work_is_taken(tmp_path: Path) -> None:
    class Learns:
        name = "liar"

        def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
            write(bench, "elsewhere.py", GOOD)
            first = bench.judge()
            assert f"declared output '{CALC}' is missing" in first
            assert "elsewhere.py: it is outside of what the task may write (src/**)" in first
            write(bench, CALC, BAD)
            second = bench.judge()
            assert "ended with exit code 1" in second
            assert "add is wrong" in second
            write(bench, CALC, GOOD)
            assert bench.judge() == ""
            return AttemptDone()

    local, finished = await attempt(tmp_path, Learns(), "bubblewrap")
    assert finished.outcome == "succeeded"
    assert await local.content(finished) == {CALC: GOOD}
    assert "add is wrong" in (await local.blobs.get(finished.log)).decode()


async def test_without_a_sandbox_an_agent_is_not_started_unless_told_so(tmp_path: Path) -> None:
    engine = Lying(lambda bench: write(bench, CALC, GOOD), asks=False)
    local = await Local(tmp_path, {"liar": engine, "simulated": engine}, find_sandbox=nothing_here).open()
    wanted: dict[str, Any] = {"agent": "do it", "outputs": (CALC,)}
    refused = await local.run("a", engine="liar", **wanted)
    assert (refused.failure, "--sandbox none" in refused.hint) == ("config", True)
    assert not list(tmp_path.rglob(CALC))
    own = await local.run("b", engine="simulated", **wanted)
    told = await local.run("c", engine="liar", sandbox="none", **wanted)
    assert [(done.outcome, done.sandbox) for done in (own, told)] == [("succeeded", "none")] * 2
    commands = [await local.run("d", command="true"), await local.run("e", command="true", sandbox="all")]
    assert [(done.failure, done.sandbox) for done in commands] == [(None, ""), ("config", "")]
    await local.backend.close()


async def test_a_failure_of_the_engine_ends_the_attempt_in_its_own_words(tmp_path: Path) -> None:
    class Fails:
        name = "liar"

        def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
            write(bench, CALC, GOOD)
            raise EngineError("no more money", failure="budget", hint="raise it")

    _, finished = await attempt(tmp_path, Fails(), "bubblewrap")
    assert (finished.outcome, finished.failure, finished.hint) == ("failed", "budget", "raise it")
