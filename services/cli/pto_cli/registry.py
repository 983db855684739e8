"""The folders of embedded runs: ``$XDG_STATE_HOME/parallel-orchestrator/runs/<run>``.

Imports the standard library and proto only. Invariant: what is in ``run.json`` is a note for people and for finding
things; the truth about a run is the log in its store.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pto_cli.model_flags import ModelChoice
from pto_proto.ids import LANE_LOCAL, Lane, is_run_id

INTERRUPTED = "interrupted"
AWAITING = "awaiting-approval"
DELIVERING = "delivering"
"""Its log has ended, and what it made is on its way to the output folder."""
ENDED = ("succeeded", "partial", "failed", "cancelled")
UNBORN_S = 3600.0
"""A folder without a note that is older than this belongs to no start that is under way."""
_REMOVED = ".removed-"
"""Prefix of folders that are being removed; no run id begins with a dot."""


def state_home() -> Path:
    """Where embedded runs and their shared cache of blobs lie."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "parallel-orchestrator"


@dataclass(frozen=True, kw_only=True)
class Dispatchers:
    """The dispatchers that an embedded run needs."""

    lanes: tuple[Lane, ...] = (LANE_LOCAL,)
    told: Mapping[str, str] = field(default_factory=dict)
    """Variables that they are told beside their environment; none is a secret."""


LOCAL_ONLY = Dispatchers()


@dataclass(frozen=True, kw_only=True)
class RunNote:
    """What ``run.json`` says."""

    run: str
    name: str
    state: str
    created: str
    """RFC 3339."""
    output_dir: str
    max_executors: int = 1
    engine: str = "simulated"
    provider: str = "anthropic"
    model: str = ""
    region: str = ""
    lanes: tuple[str, ...] = (LANE_LOCAL,)
    told: Mapping[str, str] = field(default_factory=dict)

    def dispatchers(self) -> Dispatchers:
        """Those that the run needs wherever it is hosted again: their containers and jobs may still run."""
        return Dispatchers(lanes=tuple(map(Lane, self.lanes)), told=self.told)

    def models(self) -> ModelChoice:
        """Who plans and does agents' work, without credentials."""
        return ModelChoice(engine=self.engine, provider=self.provider, model=self.model, region=self.region)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the broker of a run that is being hosted listens, and how to get in."""

    url: str
    user: str
    password: str
    pid: int

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, pid={self.pid})"


@dataclass(frozen=True)
class RunFolder:
    """One embedded run's folder."""

    path: Path

    @property
    def store(self) -> Path:
        """The broker's store."""
        return self.path / "store"

    @property
    def log(self) -> Path:
        """What the services of the run had to say."""
        return self.path / "services.log"

    def is_hosted(self) -> bool:
        """Whether a process holds the store: then its broker runs and one can attach."""
        try:
            with (self.store / ".lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def ended_at(self) -> float | None:
        """When its end was noted (Unix seconds), which is done when its output is there; None for a run that has not
        ended, or whose note cannot be read.
        """
        note = self.read_note()
        try:
            return (self.path / "run.json").stat().st_mtime if note is not None and note.state in ENDED else None
        except OSError:
            return None

    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())

    def remove(self) -> bool:
        """Remove the whole folder; False: it is held by another command. Nobody sees half of it."""
        gone = self.path.with_name(f"{_REMOVED}{self.path.name}")
        try:
            with (self.store / ".lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.path.rename(gone)
        except BlockingIOError:
            return False
        except FileNotFoundError:  # a run that never had a store
            self.path.rename(gone)
        shutil.rmtree(gone)
        return True

    def read_note(self) -> RunNote | None:
        """What is noted about the run; None if nothing readable is.

        A run that nobody hosts any more is interrupted, unless it waits for a person anyway.
        """
        data = _read_json(self.path / "run.json")
        try:
            note = RunNote(**data) if data is not None else None
        except TypeError:
            return None
        if note is None or note.state in (*ENDED, AWAITING) or self.is_hosted():
            return note
        return RunNote(**{**asdict(note), "state": INTERRUPTED})

    def write_note(self, note: RunNote) -> None:
        """Note this about the run."""
        _write_json(self.path / "run.json", asdict(note))

    def read_endpoint(self) -> Endpoint | None:
        """How to reach the run's broker; None if nobody hosts it."""
        data = _read_json(self.path / "endpoint.json") if self.is_hosted() else None
        endpoint = Endpoint(**data) if data is not None else None
        # A host that was killed leaves its file behind: only the one that holds the store counts.
        return endpoint if endpoint is not None and str(endpoint.pid) == self._holder() else None

    def _holder(self) -> str:
        try:
            return (self.store / ".lock").read_text().strip()
        except OSError:
            return ""

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Tell other commands how to attach; the file can be read by its owner only."""
        _write_json(self.path / "endpoint.json", asdict(endpoint))

    def remove_endpoint(self) -> None:
        """Nobody can attach any more."""
        (self.path / "endpoint.json").unlink(missing_ok=True)


def run_folder(run: str) -> RunFolder:
    """The folder of this run, whether it exists or not."""
    return RunFolder(state_home() / "runs" / run)


def all_runs() -> list[RunFolder]:
    """The folders of all embedded runs, the oldest first."""
    root = state_home() / "runs"
    folders = [RunFolder(path) for path in root.iterdir() if is_run_id(path.name)] if root.is_dir() else []
    return sorted(folders, key=lambda folder: (note.created if (note := folder.read_note()) else "", folder.path))


def sweep_removed() -> None:
    """Remove what an interrupted removal left behind, and stores of runs whose start was killed before its note."""
    for path in (state_home() / "runs").iterdir() if (state_home() / "runs").is_dir() else ():
        with suppress(OSError):
            is_unborn = not (path / "run.json").exists() and time.time() - path.stat().st_mtime > UNBORN_S
            if path.name.startswith(_REMOVED) or is_unborn:
                shutil.rmtree(path, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(data, file, indent=2)
    part.replace(path)
