"""The three executor engines over the fake API, and neutral scripts for what their agents do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_engines.api import ApiExecutor
from pto_engines.claude_code import ClaudeCodeExecutor
from pto_engines.models.access import Model, Models
from pto_engines.models.settings import ModelSettings
from pto_engines.simulated import SimulatedExecutor
from pto_ports.engine import TaskEngine
from pto_runtime.clock import SystemClock

from .claude_code import WORKING_DIRECTORY, pinned_program
from .questions import KEY, MODEL

Writes = Sequence[tuple[str, str]]
"""(path, content) of the files that an agent writes, one a turn."""
REFUSED_ONCE = "not accepted yet"
"""Of the message after a failed check."""
USAGE = {
    "input_tokens": 100,
    "output_tokens": 10,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 50,
}


def api_rules(first: Writes, second: Writes = ()) -> list[dict[str, Any]]:
    """Writes, finishes; after a complaint writes more and finishes again."""
    finish = {"calls": [{"tool": "finish", "input": {"summary": "I am done."}}], "usage": USAGE}
    turns = [*map(_api_turn, first), finish, *map(_api_turn, second), finish]
    return [{"name": "agent", "when": {"tools": ["write_file", "finish"]}, "turns": turns}]


def _api_turn(write: tuple[str, str]) -> dict[str, Any]:
    call = {"tool": "write_file", "input": {"path": write[0], "content": write[1]}}
    return {"text": f"I write {write[0]}.", "calls": [call], "usage": USAGE}


def claude_rules(first: Writes, second: Writes = ()) -> list[dict[str, Any]]:
    """The same for the program, which starts a new conversation after a complaint."""
    where = {"regex": WORKING_DIRECTORY}
    done = {"text": "I am done.", "usage": USAGE}
    again = {"regex": rf"(?s)(?=.*{REFUSED_ONCE}).*{WORKING_DIRECTORY}"}
    return [
        {"name": "again", "when": {"anywhere": again, "tools": ["Write"]}, "turns": [*map(_claude_turn, second), done]},
        {"name": "agent", "when": {"anywhere": where, "tools": ["Write"]}, "turns": [*map(_claude_turn, first), done]},
    ]


def _claude_turn(write: tuple[str, str]) -> dict[str, Any]:
    path = write[0] if write[0].startswith("/") else "${cwd}/" + write[0]
    call = {"tool": "Write", "input": {"file_path": path, "content": write[1]}}
    return {"text": f"I write {write[0]}.", "calls": [call], "usage": USAGE}


@dataclass(frozen=True)
class Kind:
    name: str
    rules: Callable[..., list[dict[str, Any]]] | None
    """None: it asks no model."""
    make: Callable[[Model, dict[str, str]], TaskEngine]


def _claude(model: Model, host: dict[str, str]) -> TaskEngine:
    return ClaudeCodeExecutor(model, host, str(pinned_program()))


SIMULATED = Kind("simulated", None, lambda model, host: SimulatedExecutor())
API = Kind("api", api_rules, lambda model, host: ApiExecutor(model))
CLAUDE_CODE = Kind("claude-code", claude_rules, _claude)


def model_at(models: Models, url: str, **more: Any) -> Model:
    return models.model(ModelSettings(**{"model": MODEL, "base_url": url, "api_key": KEY, **more}))


def models_now() -> Models:
    return Models(SystemClock())


def text_below(folder: Path) -> str:
    """Everything in files and names below a folder."""
    found = [str(path) for path in folder.rglob("*")]
    found += [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(found)
