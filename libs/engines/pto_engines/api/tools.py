"""The tools of an agent: what they are called, what they take, and what they do at the workbench.

Imports ports and siblings. Invariant: whatever a model puts into a call, it gets an answer in words and nothing is
raised, except for a cancel and for faults that are not the agent's.
"""

from typing import Any

import msgspec

from pto_engines.api.excerpt import Excerpt
from pto_engines.api.files import ConfinedFiles, FileRefused
from pto_engines.api.limits import MAX_OUTPUT_CHARS
from pto_ports.engine import EngineError, Workbench

FINISH = "finish"


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties, "required": required}
    return {"name": name, "description": description, "input_schema": schema, "strict": True}


_PATH = {"type": "string", "description": "relative to the project's folder, such as src/app/store.py"}
TOOLS = [
    _tool(
        "write_file",
        "Make a file, or replace it whole.",
        {"path": _PATH, "content": {"type": "string"}},
        ["path", "content"],
    ),
    _tool("read_file", "Read a text file.", {"path": _PATH, "from_line": {"type": "integer"}}, ["path"]),
    _tool(
        "list_files", "List all files below a folder.", {"folder": {**_PATH, "description": "empty: everything"}}, []
    ),
    _tool(
        "run_command",
        "Run a shell command in the project's folder and see its output. There is no network.",
        {"command": {"type": "string"}, "timeout_s": {"type": "integer"}},
        ["command"],
    ),
    _tool(
        FINISH,
        "Say that the task is done. The checks are run then; if one fails, you are told.",
        {"summary": {"type": "string", "description": "what was built, in one or two sentences"}},
        ["summary"],
    ),
]


class _Write(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    content: str


class _Read(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    from_line: int = 1


class _List(msgspec.Struct, forbid_unknown_fields=True):
    folder: str = ""


class _Run(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    timeout_s: int = 0


class Done(msgspec.Struct, frozen=True):
    """What a call came to."""

    text: str
    is_error: bool = False
    line: str = ""
    """For the log: what was done, without contents."""


class Toolbox:
    """The tools at one workbench, all but ``finish``."""

    def __init__(self, bench: Workbench, command_s: float, until_s: float) -> None:
        self._bench = bench
        self._command_s = command_s
        self._until_s = until_s
        self.files = ConfinedFiles(bench.workspace, bench.refusal)
        self.written: dict[str, None] = {}
        self.commands: list[str] = []
        """Each with its end, for the notes."""

    def use(self, name: str, given: Any) -> Done:
        """Do what the model wants, or say why not. Raises EngineError for a cancel, OSError for a full disk."""
        known = {"write_file": _Write, "read_file": _Read, "list_files": _List, "run_command": _Run}
        if name not in known:
            return Done(
                f"there is no tool {name!r}; there are {', '.join([*known, FINISH])}", True, f"unknown tool {name}"
            )
        try:
            wanted = msgspec.convert(given, known[name])
        except msgspec.ValidationError as error:
            return Done(f"the input does not fit the tool: {error}", True, f"{name}: {error}")
        try:
            return self._use(wanted)
        except FileRefused as error:
            return Done(str(error), True, f"{name}: refused: {error}")

    def _use(self, wanted: Any) -> Done:
        if isinstance(wanted, _Write):
            size = self.files.write(wanted.path, wanted.content)
            self.written[wanted.path] = None
            return Done(f"written: {size} bytes", line=f"wrote {wanted.path} ({size} bytes)")
        if isinstance(wanted, _Read):
            text = self.files.read(wanted.path, wanted.from_line)
            return Done(text or "(the file is empty)", line=f"read {wanted.path}")
        if isinstance(wanted, _List):
            return Done(
                "\n".join(self.files.listing(wanted.folder)) or "(no files)", line=f"listed {wanted.folder or '.'}"
            )
        return self._run(wanted)

    def _run(self, wanted: _Run) -> Done:
        limit = min(wanted.timeout_s, self._command_s) if wanted.timeout_s > 0 else self._command_s
        limit = max(1.0, min(limit, self._until_s - self._bench.now_s()))
        output = Excerpt(MAX_OUTPUT_CHARS)
        try:
            ended = self._bench.run(wanted.command, feed=output.feed, time_limit_s=limit)
        except (ValueError, OSError) as error:
            return Done(f"the command cannot be started: {error}", True, f"could not start: {wanted.command}")
        if ended.why == "cancelled":
            raise EngineError(self._bench.cancel.reason or "cancelled", failure="cancelled")
        how = f"ended at the time limit of {limit:.0f} s" if ended.why == "timeout" else f"exit code {ended.exit_code}"
        self.commands.append(f"{wanted.command} -> {how}")
        return Done(f"{how}\n{output.text()}", ended.exit_code != 0, f"ran {wanted.command} -> {how}")
