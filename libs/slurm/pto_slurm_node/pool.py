"""A queue of attempts of one shape in the shared folder, from which pilots take: files that are renamed, and no more.

Imports the standard library and siblings only, Python >= 3.8. Invariants: an attempt lies in exactly one of ``ready``
and ``claimed``, because only a rename moves it; who holds a claim is in its name; a pilot that was told to be gone
takes nothing any more, even if nobody could end it.

::

    settings.json                what pilots are told (see ``PilotSettings``)
    ready/<order>.<run>.<name>   attempts to be done, the lowest first: each file is the executor's order
    claimed/<...>@<job>          and who does them
    stops/<name>                 a wish that it ends
    beats/<job>                  signs of life
    leave/<job>                  a wish that this pilot takes nothing more
    gone/<job>                   SLURM says that this job has ended: whoever still runs as it is a ghost
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

from pto_slurm_node.spool import private_folder, read_json, write_json

FOLDERS = ("ready", "claimed", "stops", "beats", "leave", "gone")
ORDER_DIGITS = 20


class PilotSettings(NamedTuple):
    """What a pilot needs to know besides its own job."""

    minutes: int = 60
    """Time limit of its job, where SLURM does not say when it ends."""
    lead_s: float = 90.0
    """It takes nothing more so long before its end."""
    task_s: float = 0.0
    """Time limit of each of its tasks; 0: none."""
    idle_s: float = 60.0
    """It ends when there was nothing to do for so long."""
    nap_s: float = 0.25
    """Longest pause between two looks for work, while there was some not long ago."""
    beat_s: float = 5.0
    """Between two signs of life."""


class Entry(NamedTuple):
    """An attempt in a pool."""

    order: int
    """Its place in the queue."""
    run: str
    name: str

    @property
    def file_name(self) -> str:
        """In ``ready``."""
        return f"{self.order:0{ORDER_DIGITS}d}.{self.run}.{self.name}"


class Claim(NamedTuple):
    """An attempt that a pilot took."""

    entry: Entry
    job: str

    @property
    def file_name(self) -> str:
        """In ``claimed``."""
        return f"{self.entry.file_name}@{self.job}"


class Pool:
    """Paths below one folder of ``pilots``, and what is done with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ready = root / "ready"
        self.claimed = root / "claimed"
        self.beats = root / "beats"
        self._leave = root / "leave"
        self._gone = root / "gone"
        self._stops = root / "stops"
        self._settings = root / "settings.json"

    def prepare(self, settings: PilotSettings) -> None:
        """Make its folders; pilots that are started from here on are told these settings."""
        for folder in (self.root, *(self.root / name for name in FOLDERS)):
            private_folder(folder)
        write_json(self._settings, settings._asdict())

    @property
    def settings(self) -> PilotSettings:
        """As they were told last."""
        told = read_json(self._settings) or {}
        return PilotSettings(**{name: value for name, value in told.items() if name in PilotSettings._fields})

    # --- the dispatcher's side ---

    def put(self, entry: Entry, order: dict[str, Any]) -> None:
        """Offer an attempt."""
        write_json(self.ready / entry.file_name, order)

    def withdraw(self, entry: Entry) -> bool:
        """Take an attempt back; False: a pilot has taken it, or it is not there."""
        try:
            (self.ready / entry.file_name).unlink()
        except FileNotFoundError:
            return False
        return True

    def waiting(self) -> list[Entry]:
        """What nobody has taken, the next one first."""
        return sorted(entry for entry in map(entry_of, _names(self.ready)) if entry)

    def claims(self) -> list[Claim]:
        """What pilots have taken and the dispatcher has not cleared away."""
        return [claim for claim in map(claim_in, _names(self.claimed)) if claim]

    def clear(self, claim: Claim) -> None:
        """The dispatcher knows how it ended."""
        for path in (self.claimed / claim.file_name, self._stops / claim.entry.name):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def stop(self, name: str) -> None:
        """Let whoever does it end it."""
        (self._stops / name).touch(0o600)

    def last_beats(self) -> dict[str, float]:
        """Job -> when it showed itself last, by the clock of the file system."""
        found = {}
        for name in _names(self.beats):
            with contextlib.suppress(FileNotFoundError):
                found[name] = (self.beats / name).stat().st_mtime
        return found

    def send_away(self, job: str) -> None:
        """Let this pilot end after what it does now."""
        (self._leave / job).touch(0o600)

    def bury(self, job: str) -> None:
        """SLURM says that this pilot is gone: its ghost must take nothing, and end what it still does."""
        (self._gone / job).touch(0o600)
        with contextlib.suppress(FileNotFoundError):
            (self.beats / job).unlink()

    def welcome(self, job: str) -> None:
        """SLURM has just given this id to a new pilot: what was noted of an earlier one with it does not count."""
        for mark in (self._gone / job, self._leave / job):
            with contextlib.suppress(FileNotFoundError):
                mark.unlink()

    def forget_ghosts(self, before_s: float) -> None:
        """Pilots that were buried, and attempts that were to end, before this time are surely gone."""
        for path in [*self._gone.iterdir(), *self._leave.iterdir(), *self._stops.iterdir()]:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()

    # --- the pilots' side ---

    def take(self, entry: Entry, job: str) -> Claim | None:
        """Become the one who does it; None: somebody else is."""
        claim = Claim(entry, job)
        target = self.claimed / claim.file_name
        try:
            (self.ready / entry.file_name).rename(target)
        except FileNotFoundError:
            # A network file system may say so to a rename that it had done and that was sent again.
            return claim if target.exists() else None
        return claim

    def order(self, claim: Claim) -> Path:
        """Where the order of an attempt lies that was taken."""
        return self.claimed / claim.file_name

    def is_stopped(self, name: str) -> bool:
        """Whether this attempt is to end."""
        return (self._stops / name).exists()

    def is_closed(self, job: str) -> bool:
        """Whether this pilot takes nothing any more."""
        return (self._leave / job).exists() or self.is_buried(job)

    def is_buried(self, job: str) -> bool:
        """Whether SLURM has given this pilot up."""
        return (self._gone / job).exists()

    def beat(self, job: str, doing: str) -> None:
        """A sign of life."""
        (self.beats / job).write_text(doing)

    def leave(self, job: str) -> None:
        """No sign of life will follow."""
        with contextlib.suppress(FileNotFoundError):
            (self.beats / job).unlink()


def entry_of(file_name: str) -> Entry | None:
    """The attempt that a file in ``ready`` is."""
    parts = file_name.split(".")
    if len(parts) != 3 or not parts[0].isdigit() or not parts[1] or not parts[2] or "@" in file_name:
        return None
    return Entry(int(parts[0]), parts[1], parts[2])


def claim_in(file_name: str) -> Claim | None:
    """The claim that a file in ``claimed`` is."""
    name, at, job = file_name.partition("@")
    entry = entry_of(name)
    return Claim(entry, job) if entry and at and job.isdigit() else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are enough, and there may be many
    except FileNotFoundError:
        return []
