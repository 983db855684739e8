"""The keys of models are seen by the engine alone: not by what an agent runs, and in nothing that is kept or told."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.agents import API, CLAUDE_CODE, Kind, model_at, models_now, text_below
from fakes.messages_api import scenario_from, serving_in_thread
from fakes.questions import KEY
from fakes.sandboxes import LEVELS, sandbox
from test_local_backend import Local

from pto_core.task_check import MODEL_KEYS

SECRET = "secret-of-the-service-0123456789"
PLANTED = f"host-{KEY}"
LOOK = (
    "import os, sys\n"
    "found = [dict(os.environ)]\n"
    "for pid in os.listdir('/proc'):\n"
    "    for name in ('environ', 'cmdline'):\n"
    "        try:\n"
    "            found.append(open(f'/proc/{pid}/{name}', 'rb').read())\n"
    "        except OSError:\n"
    "            pass\n"
    "open(sys.argv[1], 'w').write(repr(found))\n"
    "print(found)\n"
)
"""What a curious program does: keep and print every environment and command line that it can read."""
KINDS = [API, pytest.param(CLAUDE_CODE, marks=pytest.mark.slow, id="claude-code")]


def rules(kind: Kind) -> list[dict[str, Any]]:
    made = kind.rules([("src/look.py", LOOK), ("src/out.py", "x = 1\n")])  # type: ignore[misc]
    if kind is not API:
        return made
    looks = {"tool": "run_command", "input": {"command": f"{sys.executable} src/look.py src/seen.txt"}}
    made[0]["turns"].insert(1, {"text": "I look around.", "calls": [looks]})
    return made


@pytest.fixture
def host_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose own environment holds every key."""
    for name in MODEL_KEYS:
        monkeypatch.setenv(name, PLANTED)
    monkeypatch.setenv("PTO_PASSWORD", SECRET)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_key_leaves_the_engine(kind: Kind, level: str, tmp_path: Path, host_environment: None) -> None:
    models = models_now()
    check = f"{sys.executable} src/look.py $TMPDIR/x"
    # A process with the key in its environment, which nobody else must be able to read.
    holder = await asyncio.create_subprocess_exec("/bin/sleep", "120", env={"ANTHROPIC_API_KEY": KEY})
    with serving_in_thread(scenario_from({"rules": rules(kind), "otherwise": {"text": "ok"}})) as api:
        engine = kind.make(model_at(models, api.url), dict(os.environ))
        local = await Local(tmp_path, {kind.name: engine}, find_sandbox=lambda: sandbox(level)).open()
        local.backend._host_environment |= dict(os.environ)
        watched = asyncio.create_task(arguments_of_all())
        finished = await local.run(
            "a", agent="look around", engine=kind.name, outputs=("src/out.py",), writes=("src/**",), checks=(check,),
            env=("ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY"),
        )  # fmt: skip
        watched.cancel()
        await local.backend.close()
    holder.kill()
    await holder.wait()
    models.close()
    assert (finished.outcome, finished.sandbox) == ("succeeded", level), finished.reason
    made = await local.content(finished)
    assert "PTO_TASK" in made.get("src/seen.txt", "PTO_TASK"), "it did look"
    events = msgspec.json.encode(local.reported).decode()
    blobs = [data.decode(errors="replace") for data in local.blobs.blobs.values()]
    told = {
        "events": events, "lines": "\n".join(local.lines), "blobs": "\n".join(blobs), "outputs": str(made),
        "files": text_below(tmp_path), "arguments": "\n".join(ARGUMENTS),
    }  # fmt: skip
    assert "PTO_TASK" in told["lines"] + told["blobs"], "the check looked, or the command did"
    for where, text in told.items():
        assert KEY not in text, where
        assert PLANTED not in text, where
        assert SECRET not in text, where


ARGUMENTS: set[str] = set()


async def arguments_of_all() -> None:
    """Command lines of this machine, as often as the loop has time."""
    while True:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    ARGUMENTS.add((entry / "cmdline").read_text(errors="replace"))
                except OSError:
                    continue
        await asyncio.sleep(0.02)
