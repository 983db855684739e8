"""Finds the Claude Code program: by setting, on the PATH, or inside a Python package that brings it.

Imports ports and the standard library. Invariant: a setting that leads nowhere is an error, never silently replaced
by another program.
"""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from pto_ports.engine import EngineError

PACKAGE = "claude_agent_sdk"
INSIDE = Path("_bundled") / "claude"
VERSION_TIMEOUT_S = 20.0
INSTALL = "Install Claude Code (npm install -g @anthropic-ai/claude-code), or set the path of its program."


def find_program(setting: str = "", path: str | None = None) -> Path:
    """The program's file. Raises EngineError (``config``) with what to do."""
    if setting:
        found = Path(setting).expanduser()
        if not (found.is_file() and os.access(found, os.X_OK)):
            raise EngineError(f"there is no Claude Code program at {setting}", failure="config", hint=INSTALL)
        return found.resolve()
    on_path = shutil.which("claude", path=path)
    if on_path:
        return Path(on_path)
    spec = find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / INSIDE).is_file():
            return Path(folder) / INSIDE
    raise EngineError("Claude Code is not installed here", failure="config", hint=INSTALL)


def program_version(program: Path) -> str:
    """What it says about its version. Raises EngineError (``config``)."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True, env={}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{program} does not tell its version: {error}", failure="config", hint=INSTALL) from error
    return said.stdout.strip()
