"""The lane's folder on the shared file system: whose it is, what is installed in it, and what may go.

Imports attempts, ports, pto_slurm, pto_slurm_node and siblings. Invariants: one process at a time works in it; nothing
of an attempt whose end the log does not have is removed.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Container, Iterable
from contextlib import suppress
from pathlib import Path

from pto_attempts.assignment import MARK
from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm.package import Installed, install
from pto_slurm_lane.ledger import Record
from pto_slurm_node.pool import entry_of
from pto_slurm_node.spool import Spool, event_of

KEPT_S = 14 * 86_400.0
"""Runs that nothing was heard of for so long leave nothing behind; so do words that did not count, and old blobs."""

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b", re.ASCII)


class HouseTaken(Exception):
    """Another process works in this folder; the message says which and what to do."""


def unusable(folder: Path, error: OSError) -> str:
    """What to say of a spool that cannot be used, and what to do."""
    return (
        f"{folder} cannot be used: {error.strerror or error}; set PTO_SLURM_SPOOL to a folder that you may write and "
        "that the nodes mount at the same path"
    )


class House:
    """Of one lane's dispatcher."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._lock: int | None = None
        self.is_new = False
        """Whether the folder was not there: then it may have been lost, and its jobs are still to be found."""

    def open(self) -> Installed:
        """Make it ready. Raises HouseTaken, OSError."""
        self.is_new = not (self._spool.root / "ledger").exists()
        self._spool.prepare()
        path = self._spool.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(descriptor)
            raise HouseTaken(
                f"another dispatcher works in {self._spool.root}; give each a folder of its own (PTO_SLURM_SPOOL)"
            ) from error
        except OSError as error:
            get_logger().warning(
                "this file system has no locks; see to it that one dispatcher works here", reason=str(error)
            )
        self._lock = descriptor
        return install(self._spool)

    def close(self) -> None:
        """Let somebody else in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def clean_up_all(self, records: Iterable[Record]) -> None:
        """The log has their ends; what cannot be removed is left to a sweep."""
        for record in records:
            try:
                self.clean_up(record)
            except OSError as error:
                get_logger().warning("what an attempt left cannot be removed", attempt=record.name, reason=str(error))

    def clean_up(self, record: Record) -> None:
        """The log has its end: what is kept of the attempt may go, but not what the next one may go on with.

        The run's own folders stay until a sweep finds them old: a job that waits needs its logs' folder, empty or not.
        """
        folder = self._spool.attempt(record.run, record.name)
        shutil.rmtree(folder, ignore_errors=True)
        for stream in ("out", "err"):
            with suppress(OSError):
                self._spool.job_log(record.run, record.name, stream).unlink()
        work, ready = self._spool.run(record.run) / "work" / f"executor_{record.ready.slot}", record.ready
        stem = f"{ready.task}.{ready.attempt}" + (f".r{ready.round}" if ready.round else "")
        is_needed = bool(ready.spec.agent) and record.end is not None and record.end.outcome == "failed"
        if not is_needed:
            # By their whole names: ``a.1.*`` would also be the workspaces of a task ``a.1``.
            names = (stem, f"{stem}.log", f".{stem}.out", f".{stem}.{MARK}")
            _remove_all(work, names)
            restart = 1
            while _remove_all(work, [f"{name}.restart{restart}" for name in names]):
                restart += 1

    def sweep(self, names: Container[str]) -> None:
        """At a start: words for nobody are put aside, and what is old or nobody's goes; ``names`` are open attempts."""
        for path in sorted(self._spool.results.iterdir()):
            event = event_of(path.name)
            if event is not None and event.fence.name not in names:
                with suppress(OSError):
                    path.replace(self._spool.stale / path.name)
        needed = set[str]()
        """Names of runs and blobs that open attempts need, however old they are."""
        attempts = sorted(self._spool.root.glob("runs/*/attempts/*"))
        for attempt in attempts:
            if attempt.name in names:
                needed |= {attempt.parents[1].name, *_blobs_in(attempt / "order.json")}
        pools = self._spool.pilots
        for path in (*pools.glob("*/ready/*"), *pools.glob("*/claimed/*")):
            entry = entry_of(path.name.partition("@")[0])
            if entry is not None and entry.name in names:
                needed |= {entry.run, *_blobs_in(path)}
        old_s = self._clock.now_ms() / 1000 - KEPT_S
        for folder in (self._spool.stale, self._spool.root / "runs", self._spool.root / "blobs"):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.name not in needed and _newest_s(path) < old_s:
                    get_logger().info("removing what nobody asked for in a long time", path=str(path))
                    _remove(path)
        for attempt in attempts:
            if attempt.name not in names:
                _remove(attempt)  # secrets among it


def _blobs_in(order: Path) -> list[str]:
    """The blobs that an executor is to use."""
    try:
        return _DIGEST.findall(order.read_text())
    except OSError:
        return []


def _newest_s(path: Path) -> float:
    """When anything directly in it was changed last."""
    with suppress(OSError):
        below = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(path)] if path.is_dir() else []
        return max(path.stat().st_mtime, *below, 0.0)
    return 0.0


def _remove_all(folder: Path, names: Iterable[str]) -> int:
    """How many of them were there."""
    there = [folder / name for name in names if os.path.lexists(f"{folder}/{name}")]
    for path in there:
        _remove(path)
    return len(there)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
