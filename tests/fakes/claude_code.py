"""Runs the real Claude Code command line against the fake: the pinned program, headless, in an environment of its own.

Invariant: the program sees no home, key or address but those given here, and asks nobody but the fake.
"""

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .messages_api import FakeMessagesApi
from .questions import ACCESS_KEY, BEDROCK_MODEL, KEY

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
"""The first alone keeps it from telemetry, reports of errors and updates; without it the maker's servers are asked."""
ARGUMENTS = (
    "-p",
    "--restricted",
    "--tools",
    "Write,Edit,Read,Glob,Grep",
    "--permission-mode",
    "acceptEdits",
    "--max-turns",
    "10",
)
ALONE = ("--strict-mcp-config", "--no-session-persistence")
RUN_TIMEOUT_S = 60
WORKING_DIRECTORY = r"working directory: (?P<cwd>\S+)"
"""What it says to the model about where it works; in which message depends on the model."""


def pinned_program() -> Path:
    """Install what the lock names, if it is not there yet; a test that needs it fails when that fails."""
    made = subprocess.run(
        ["make", "--no-print-directory", "claude-code"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.fail(f"make claude-code failed: {made.stderr.strip()}", pytrace=False)
    (program,) = ROOT.glob("deploy/claude-code/node_modules/@anthropic-ai/*/claude")
    return program


def by_anthropic(api: FakeMessagesApi) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_MODEL": "claude-sonnet-5-5"}


def by_bedrock(api: FakeMessagesApi) -> dict[str, str]:
    return {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": api.url,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{
            f"ANTHROPIC_{which}MODEL": BEDROCK_MODEL
            for which in ("", *(f"DEFAULT_{m}_" for m in ("OPUS", "SONNET", "HAIKU")))
        },
    }


@dataclass(frozen=True)
class Ran:
    status: int
    lines: list[dict[str, Any]]
    errors: str

    @property
    def result(self) -> dict[str, Any]:
        (found,) = [line for line in self.lines if line.get("type") == "result"]
        return found


@dataclass(frozen=True)
class ClaudeCode:
    program: Path
    folder: Path
    """Holds its home and its workspace."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    async def run(self, prompt: str, *more: str, output: str = "stream-json", **environment: str) -> Ran:
        for name in ("home", "workspace"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        home = str(self.folder / "home")
        base = {"PATH": os.environ["PATH"], "HOME": home, "CLAUDE_CONFIG_DIR": home, **QUIET}
        process = await asyncio.create_subprocess_exec(
            self.program,
            *(
                *ARGUMENTS,
                *ALONE,
                "--output-format",
                output,
                *(["--verbose"] if output == "stream-json" else []),
                *more,
            ),
            cwd=self.workspace,
            env={**base, **self.environment, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(prompt.encode()), RUN_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = [json.loads(line) for line in out.decode().splitlines()]
        return Ran(process.returncode or 0, lines, errors.decode())
