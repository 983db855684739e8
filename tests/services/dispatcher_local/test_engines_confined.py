"""Every executor engine at a real desk: confined, judged by the harness, told what is wrong, and paid for."""

import os
import sys
from pathlib import Path

import pytest
from fakes.agents import API, CLAUDE_CODE, SIMULATED, Kind, model_at, models_now
from fakes.messages_api import scenario_from, serving_in_thread
from fakes.sandboxes import LEVELS, sandbox
from test_local_backend import Local

KINDS = [SIMULATED, API, pytest.param(CLAUDE_CODE, marks=pytest.mark.slow)]
BAD, GOOD = "def add(a, b):\n    return 0\n", "def add(a, b):\n    return a + b\n"
CHECK = f"cd src && {sys.executable} -c 'import calc; assert calc.add(2, 3) == 5, \"add is wrong\"'"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS, ids=["simulated", "api", "claude-code"])
async def test_an_engine_works_confined_and_learns_what_is_wrong(kind: Kind, level: str, tmp_path: Path) -> None:
    models = models_now()
    rules = kind.rules([("src/calc.py", BAD), ("docs/x.md", "no")], [("src/calc.py", GOOD)]) if kind.rules else []
    check = CHECK if kind.rules else "test -s src/calc.py"
    with serving_in_thread(scenario_from({"rules": rules, "otherwise": {"text": "ok"}})) as api:
        engine = kind.make(model_at(models, api.url), dict(os.environ))
        local = await Local(tmp_path, {kind.name: engine}, find_sandbox=lambda: sandbox(level)).open()
        finished = await local.run(
            "calc", agent="Write it.", engine=kind.name, requirement="Build a calculator",
            outputs=("src/calc.py",), writes=("src/**",), checks=(check,),
        )  # fmt: skip
        await local.backend.close()
    models.close()
    assert (finished.outcome, finished.sandbox) == ("succeeded", level), finished.reason
    made = await local.content(finished)
    assert list(made) == ["src/calc.py"]
    place = tmp_path / "run-one" / "executor_0"
    assert not list(place.glob(".calc.1*")), "nothing but the workspace is left"
    if kind.rules:
        assert made["src/calc.py"] == GOOD
        log = (await local.blobs.get(finished.log)).decode()
        assert "add is wrong" in log
        assert "not accepted" in log
        assert finished.usage.output_tokens > 0
        assert finished.cost_usd
    else:
        assert finished.cost_usd == 0.0
