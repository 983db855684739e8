"""Engines cost little until they work: nothing heavy is imported with them, and many agents share one process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("anthropic", "boto3", "botocore", "httpx2", "pydantic")
MAX_MB = 300
AGENTS = 50


def test_no_engine_module_imports_a_client_library() -> None:
    modules = [
        ".".join(path.relative_to(ROOT / "libs/engines").with_suffix("").parts)
        for path in (ROOT / "libs/engines/pto_engines").rglob("*.py")
    ]
    names = [name.removesuffix(".__init__") for name in modules]
    program = f"import sys\nfor name in {names!r}: __import__(name)\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(names) > 30
    assert ran.stdout.strip() == "[]"


@pytest.fixture
def fake_url(tmp_path: Path) -> Iterator[str]:
    """The fake in a process of its own, so that its memory is not counted."""
    write = {"tool": "write_file", "input": {"path": "src/calc.py", "content": "x = 1\n" * 2000}}
    turns = [
        {"text": "I write.", "calls": [write], "between_s": 0.02},
        {"calls": [{"tool": "run_command", "input": {"command": "sleep 1; wc src/calc.py"}}], "first_byte_s": 1.0},
        {"calls": [{"tool": "finish", "input": {"summary": "done"}}]},
    ]
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"rules": [{"turns": turns}]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.messages_api", "--scenario", scenario],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait()


@pytest.mark.slow
def test_fifty_agents_at_once_fit_into_one_process(fake_url: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tests/engines/fifty_agents.py", fake_url, tmp_path, str(AGENTS)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert ran.returncode == 0, ran.stderr
    cost = json.loads(ran.stdout)
    print(cost)
    assert cost["turns"] == 3 * AGENTS
    assert cost["highest_mb"] < MAX_MB, cost
