"""The command line in a folder and a state folder of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from typing_in import ORCHESTRATOR, Cli, Result


@pytest.fixture(autouse=True)
def _own_interrupts() -> Iterator[None]:
    """Ctrl-C ends the tests although a command that ran in this process has taken it over."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PTO_", "NATS_"))}
    return {**kept, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def cli(tmp_path: Path, environment: dict[str, str]) -> Cli:
    def call(*words: str, code: int | None = 0, timeout_s: float = 60) -> Result:
        result = subprocess.run(
            [ORCHESTRATOR, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout_s
        )
        assert "Traceback" not in result.stderr, result.stderr
        assert code is None or result.returncode == code, (result.returncode, result.stdout, result.stderr)
        return result

    return call
