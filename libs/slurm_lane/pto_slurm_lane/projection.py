"""``.slurm_state/`` in a run's work folder: who looks there sees jobs and tasks as the dispatcher sees them.

Imports siblings. Invariants: it is written whole files at a time and never read for a decision; what is missing of it
comes again with the next news of each attempt; what other lanes of the run have written stays.
"""

import asyncio
import json
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm_lane.ledger import Record
from pto_slurm_node.spool import Spool

FOLDER = ".slurm_state"
PAUSE_S = 0.5
"""News of so long are written together."""
MAX_LOG_BYTES = 4 * 1024 * 1024
MAX_RUNS = 64
"""Runs whose states are kept in memory though there is no news of them: of others they are on the disk."""
_WRITING = threading.Lock()
"""Two clusters of one run have one folder, and in embedded mode one process."""


class Projections:
    """Of all runs of a lane; writes in the background."""

    def __init__(self, clock: Clock, work_folder: Callable[[str], Path]) -> None:
        self._clock = clock
        self._work_folder = work_folder
        self._states: dict[str, _State] = {}
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def define(self, record: Record, argv: Sequence[str]) -> None:
        """An attempt is about to be submitted by this argument vector; a pilot needs none for it."""
        state = self._state(record.run)
        state.files[f"task_definitions/{record.ready.task}.json"] = _encoded(msgspec.to_builtins(record.ready.spec))
        if argv:
            state.files[f"scripts/{_stem(record)}.sh"] = f"#!/bin/sh\n{shlex.join(argv)}\n".encode()
        self.note(record, "submitting")

    def note(self, record: Record, status: str) -> None:
        """An attempt is in this state now; of a task, only the latest attempt is shown."""
        state = self._state(record.run)
        if state.knows_later(record):
            return
        state.has_news = True
        if record.job:
            state.jobs[record.job] = record.ready.task
        state.tasks[record.ready.task] = {
            "status": status,
            "attempt": record.ready.attempt,
            "round": record.ready.round,
            "job": record.job,
            "updated_at": self._clock.now_ms(),
        }
        self._wake.set()

    def finish(self, record: Record, spool: Spool) -> None:
        """An attempt has ended; may be told again, as long as the spool has its logs."""
        end, state = record.end, self._state(record.run)
        if end is None:
            return
        for stream in ("out", "err"):
            state.logs.append((spool.job_log(record.run, record.name, stream), f"logs/{_stem(record)}.{stream}"))
        state.has_news = True
        self._wake.set()
        if state.knows_later(record):
            return
        self.note(record, end.outcome)
        state.files[f"results/{record.ready.task}.json"] = _encoded(
            {
                "task": record.ready.task, "attempt": record.ready.attempt, "job": record.job, "outcome": end.outcome,
                "failure": end.failure, "reason": end.reason, "hint": end.hint, "exit_code": end.exit_code,
                "duration_s": end.duration_s, "files": end.files,
            }
        )  # fmt: skip

    async def run(self) -> None:
        """Write what there is until cancelled."""
        while True:
            await self._wake.wait()
            await self._clock.sleep(PAUSE_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what there is now; when this ends, even by a cancel, nothing told before is still being written."""
        async with self._turn:
            writing = asyncio.create_task(self._flush())
            try:
                await asyncio.shield(writing)
            finally:
                await asyncio.wait({writing})

    async def _flush(self) -> None:
        self._wake.clear()
        for state in [state for state in self._states.values() if state.has_news]:
            news = state.take()
            try:
                await asyncio.to_thread(_write, state.folder, news)
            except OSError as error:
                get_logger().warning(
                    "the state of the jobs cannot be written", folder=str(state.folder), reason=str(error)
                )
        quiet = [run for run, state in self._states.items() if not state.has_news]
        for run in quiet[: max(0, len(self._states) - MAX_RUNS)]:
            del self._states[run]

    def _state(self, run: str) -> "_State":
        state = self._states.pop(run, None) or _State(self._work_folder(run) / FOLDER)
        self._states[run] = state  # the last one heard of is the last one to go
        return state


class _News(NamedTuple):
    tables: dict[str, dict[str, Any]]
    """By file name: entries that are to be in it, beside those that are there."""
    files: dict[str, bytes]
    logs: list[tuple[Path, str]]
    """To be copied."""


class _State:
    """What this lane knows of one run, and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, str] = {}
        self.tasks: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.logs: list[tuple[Path, str]] = []
        self.has_news = False

    def knows_later(self, record: Record) -> bool:
        """Whether a later attempt of its task was heard of."""
        ready = record.ready
        return _is_later(self.tasks.get(ready.task), {"round": ready.round, "attempt": ready.attempt})

    def take(self) -> _News:
        """What is to be written."""
        self.has_news = False
        files, self.files = self.files, {}
        logs, self.logs = self.logs, []
        return _News({"jobs.json": dict(self.jobs), "tasks.json": dict(self.tasks)}, files, logs)


def _write(folder: Path, news: _News) -> None:
    for name in ("results", "scripts", "logs", "task_definitions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with _WRITING:
        for name, entries in news.tables.items():
            there = _read(folder / name)
            news_of_it = {key: entry for key, entry in entries.items() if not _is_later(there.get(key), entry)}
            _replace(folder / name, _encoded({**there, **news_of_it}))
    for name, data in news.files.items():
        _replace(folder / name, data)
    for source, name in news.logs:
        with suppress(OSError):
            if source.stat().st_size <= MAX_LOG_BYTES:
                shutil.copyfile(source, folder / name)


def _is_later(known: Any, entry: Any) -> bool:
    """Whether both are tasks' entries and the known one is of a later attempt."""
    at = [[one.get(key) for key in ("round", "attempt")] for one in (known, entry) if isinstance(one, dict)]
    return len(at) == 2 and all(isinstance(number, int) for number in at[0] + at[1]) and at[0] > at[1]


def _stem(record: Record) -> str:
    ready = record.ready
    return f"{ready.task}.{ready.attempt}" + (f".r{ready.round}" if ready.round else "")


def _encoded(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
