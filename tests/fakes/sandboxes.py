"""The real sandboxes for tests: bubblewrap is installed where that may be done, and missing under CI it is a failure."""

import os
import subprocess
from pathlib import Path

import pytest

from pto_harness.bubblewrap import find_bubblewrap
from pto_harness.sandbox import Landlock, NoSandbox, Sandbox

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "testbed" / "sandbox.sh"
LEVELS = ("bubblewrap", "landlock")


def sandbox(level: str) -> Sandbox:
    if level == "landlock":
        return Landlock()
    found, why = find_bubblewrap()
    if found is None and os.environ.get("CI") == "true":
        subprocess.run([SCRIPT], check=True, timeout=300)
        find_bubblewrap.cache_clear()
        found, why = find_bubblewrap()
        assert found is not None, why
    if found is None:
        pytest.skip(f"{why}: see {SCRIPT.name}")
    return found


def nothing_here() -> Sandbox:
    raise NoSandbox("no sandbox can be had here: the test says so")
