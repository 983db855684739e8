"""Runs peers from outside: each group of workloads in a process of its own, with a limit, and all of it ended after."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..meter import Record
from ..options import Options
from .catalogue import PEERS
from .process import MARK

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 300.0
SAID = 1_500
"""Characters of what a failed peer said that are kept."""


def available(folder: Path) -> list[str]:
    """The peers that can run: the floors, and those whose environments are in this folder."""
    return [name for name, known in PEERS.items() if known.python(folder, sys.executable) is not None]


def peer_records(name: str, workloads: Sequence[str], folder: Path, options: Options) -> Iterator[Record]:
    """What one peer says about these workloads, those that it can do; a failure is a record with ``error``."""
    wanted = [workload for workload in PEERS[name].sizes if workload in workloads]
    if "W5cold" in workloads and "W5a" in PEERS[name].sizes and "W5a" not in wanted:
        wanted.append("W5a")
    for workers, group in (
        (2, [workload for workload in wanted if workload == "W6"]),
        (2, [workload for workload in wanted if workload[:2] not in ("W5", "W6")]),
        (3, [workload for workload in wanted if workload.startswith("W5")]),
    ):
        if group:
            yield from _group(name, group, workers, folder, options)


def _group(name: str, group: Sequence[str], workers: int, folder: Path, options: Options) -> Iterator[Record]:
    python = PEERS[name].python(folder, sys.executable)
    if python is None:
        return
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as state:
        environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        command = [
            str(python), "-m", f"{__package__}.process", name, ",".join(group), "--repeats", str(options.repeats),
            "--scale", str(options.scale), "--workers", str(workers), "--state", state,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        said, error = _said(process)
        found = [json.loads(line.removeprefix(MARK)) for line in said.splitlines() if line.startswith(MARK)]
        yield from found
        if error or not found:
            yield {"workload": ",".join(group), "peer": name, "error": error or "no records", "said": said[-SAID:]}


def _said(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """(all it said, what went wrong) of a peer, waited for."""
    error = ""
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        error = f"it did not end within {LIMIT_S:g} s"
    finally:
        end(process)
    if error:
        said, _ = process.communicate()
    elif process.returncode:
        error = f"it ended with {process.returncode}"
    return said, error


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """The peer's own session, and nothing else."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
