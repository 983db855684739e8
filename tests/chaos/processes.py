"""Processes of the tests: commands to wait for, children that end with the tests, and a look at what runs."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

BIN = Path(sys.executable).parent
PYTHON = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
"""Whose code is tested."""
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def start_command(folder: Path, environment: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    """``orchestrator WORDS`` in this folder and environment, in a session of its own."""
    return subprocess.Popen(
        [BIN / "orchestrator", *words], env=environment, cwd=folder, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip


def wait_for_one(*processes: "subprocess.Popen[str]", timeout_s: float = 120) -> None:
    """Until any of the commands has ended."""
    deadline = time.monotonic() + timeout_s
    while all(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, f"no command ended in {timeout_s:g} s"
        time.sleep(0.05)


def embedded_environment(folder: Path, **more: str) -> dict[str, str]:
    """For commands that bring their own broker."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}", "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"), **PYTHON, **more,
    }  # fmt: skip


def ended(process: "subprocess.Popen[str]", timeout_s: float = 120) -> tuple[int, str]:
    """(exit code, all it said) of a command, waited for."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"a command did not end in {timeout_s:g} s; it said:\n{out}{err}") from None
    return process.returncode, out + err


def processes_with(text: str) -> Iterator[int]:
    """Ids of the processes, this one aside, whose environment holds this text."""
    wanted = text.encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes() and _is_alive(entry):
                    yield int(entry.name)


def _is_alive(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"


def die_with_parent() -> None:
    """Runs in the child before exec: an end of the tests, however it comes, ends the services."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
