"""Agents at the local dispatcher's workbench: scope, environment, and how an engine's failure is reported."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.agents import API, model_at, models_now
from fakes.messages_api import scenario_from, serving_in_thread
from test_local_backend import Local

from pto_ports.engine import AgentTask, AttemptDone, AttemptLimits, EngineError, Workbench
from pto_proto.plans import Resources


class Probe:
    """An engine that does what a test wants at the bench."""

    name = "probe"

    def __init__(self, deed: Any) -> None:
        self.deed = deed

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        self.deed(task, bench)
        return AttemptDone()


async def at_bench(folder: Path, deed: Any, **fields: Any) -> tuple[Local, Any]:
    local = await Local(folder, {"probe": Probe(deed)}).open()
    try:
        return local, await local.run("a", agent="do it", engine="probe", **fields)
    finally:
        await local.backend.close()


async def test_scope_is_what_the_task_writes_or_else_its_outputs(tmp_path: Path) -> None:
    said: list[list[bool]] = []

    def deed(task: AgentTask, bench: Workbench) -> None:
        said.append([not bench.refusal(path) for path in ("src/a.py", "docs/a.md", "../x", "/etc/x")])

    for number, fields in enumerate(({"writes": ("src/**",)}, {"outputs": ("docs/",)}, {})):
        await at_bench(tmp_path / str(number), deed, **fields)
    assert said == [[True, False, False, False], [False, True, False, False], [True, True, False, False]]


async def test_commands_have_the_tasks_environment_and_programs_only_their_own(tmp_path: Path) -> None:
    seen: list[str] = []

    def deed(task: AgentTask, bench: Workbench) -> None:
        out = bytearray()
        bench.run("env; cat", feed=lambda stream, data: out.extend(data), time_limit_s=5, stdin=b"given=1\n")
        seen.append(out.decode())
        out.clear()
        bench.run(["env"], feed=lambda stream, data: out.extend(data), time_limit_s=5, environment={"KEY": "k"})
        seen.append(out.decode())

    await at_bench(tmp_path, deed)
    command, program = (dict(line.split("=", 1) for line in text.splitlines()) for text in seen)
    assert (command["given"], command["PTO_TASK"]) == ("1", "a")
    assert not {"SECRET", "KEY"} & set(command)
    assert (program["KEY"], program["PTO_ATTEMPT_ID"]) == ("k", command["PTO_ATTEMPT_ID"])
    assert {name for name in program if not name.startswith("PTO_")} <= {
        "KEY", "PWD", "SHLVL", "_", "LC_CTYPE", "HOME", "TMPDIR",
    }  # fmt: skip


async def test_engine_knows_the_time_limit_of_its_task(tmp_path: Path) -> None:
    seen: list[float] = []
    for name, fields in (("a", {"resources": Resources(time="90")}), ("b", {})):
        await at_bench(tmp_path / name, lambda task, bench: seen.append(task.limits.time_s), **fields)
    assert seen == [90.0, AttemptLimits().time_s]


async def test_failure_of_an_engine_keeps_its_class_and_hint(tmp_path: Path) -> None:
    def deed(task: AgentTask, bench: Workbench) -> None:
        raise EngineError("no such model", failure="config", hint="choose another")

    _, finished = await at_bench(tmp_path, deed)
    assert (finished.outcome, finished.failure, finished.reason, finished.hint) == (
        "failed",
        "config",
        "no such model",
        "choose another",
    )


@pytest.mark.parametrize(("reserved", "cost"), [(0.5, None), (0.0, 0.0)])
async def test_an_engine_that_is_left_at_its_limit_costs_an_unknown_amount(
    tmp_path: Path, reserved: float, cost: float | None
) -> None:
    def deed(task: AgentTask, bench: Workbench) -> None:
        time.sleep(3)

    fields = {"resources": Resources(time="1"), "reserved_usd": reserved}
    _, finished = await at_bench(tmp_path, deed, **fields)
    assert (finished.outcome, finished.failure, finished.cost_usd) == ("failed", "timeout", cost)


@pytest.mark.parametrize("is_lying", [False, True])
async def test_harness_decides_what_an_agent_made(tmp_path: Path, is_lying: bool) -> None:
    first = [] if is_lying else [("src/a.py", "x = 1\n")]
    models = models_now()
    with serving_in_thread(scenario_from({"rules": API.rules(first)})) as api:  # type: ignore[misc]
        engine = API.make(model_at(models, api.url), dict(os.environ))
        local = await Local(tmp_path, {"api": engine}).open()
        finished = await local.run(
            "a", agent="do it", engine="api", outputs=("src/a.py",), checks=("test -s src/a.py",)
        )
        await local.backend.close()
    models.close()
    assert finished.outcome == ("failed" if is_lying else "succeeded")
    assert any("agent" in line for line in local.lines) or is_lying
