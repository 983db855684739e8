"""The folder that dispatcher and compute nodes share: where everything lies, and how it is written.

Imports the standard library only, Python >= 3.8. Invariants: a file is there whole or not at all; one file per event,
never appended to; every event names the attempt, job and restart that it comes from; nobody but its owner can read
anything below.

::

    bin/                                     the executor and its wrapper, by content
    results/<name>.<job>.<restart>.<kind>.json   events for the dispatcher to take
    runs/<run>/logs/<name>.out .err          what the job itself says
    runs/<run>/attempts/<name>/order.json    what the executor is to do; values of variables beside it, 0600
    runs/<run>/attempts/<name>/early.json    that a job may come before its order, and how long it waits for it
    runs/<run>/attempts/<name>/claim         the job that does it, and no other (of pilots: see there)
    runs/<run>/work/                         workspaces, bundles and logs of tasks
    pilots/<class>/...                       see pto_slurm_node.pool
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

STARTED, INTERRUPTED, RESULT, BLOCKED = "started", "interrupted", "result", "blocked"
KINDS = (STARTED, INTERRUPTED, RESULT, BLOCKED)
ORDER, EARLY = "order.json", "early.json"
FOLDER_MODE, SECRET_MODE = 0o700, 0o600
_EVENT = re.compile(
    r"(?P<name>[A-Za-z0-9_-]+)\.(?P<job>[0-9]+)\.(?P<restart>[0-9]+)\.(?P<kind>" + "|".join(KINDS) + r")\.json\Z"
)
_counter = itertools.count()


class Fence(NamedTuple):
    """Whose word something is: an attempt by its name, a job, and how often SLURM had started that before."""

    name: str
    job: str
    restart: int = 0

    @property
    def text(self) -> str:
        """As claims hold it and files are named by."""
        return f"{self.name}.{self.job}.{self.restart}"


class Event(NamedTuple):
    """A file in ``results``, by its name alone."""

    fence: Fence
    kind: str

    @property
    def file_name(self) -> str:
        """Where it lies in ``results``."""
        return f"{self.fence.text}.{self.kind}.json"


class InsecureSecrets(Exception):
    """A file of secrets is not what it must be; the message says why."""


class Spool:
    """Paths below one folder; makes none of them unless it says so."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.results = root / "results"
        self.stale = root / "stale"
        """Events of attempts and jobs that no longer count, for a person to look at."""
        self.pilots = root / "pilots"
        self._prepared: set[str] = set()

    def prepare(self) -> None:
        """Make the folders that everybody needs; owner only, whatever the umask."""
        for folder in (self.root, self.bin, self.results, self.stale, self.pilots, self.root / "runs"):
            private_folder(folder)

    def run(self, run: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / run

    def prepare_run(self, run: str) -> None:
        """Make the folders of a run, once: the logs' one above all, without which SLURM fails a job without a word."""
        if run in self._prepared:
            return
        self._prepared.add(run)
        for name in ("", "logs", "attempts", "work"):
            private_folder(self.run(run) / name)

    def attempt(self, run: str, name: str) -> Path:
        """The folder of an attempt: what it is to do, who does it, whether it shall end."""
        return self.run(run) / "attempts" / name

    def job_log(self, run: str, name: str, stream: str) -> Path:
        """``out`` or ``err`` of the attempt's job."""
        return self.run(run) / "logs" / f"{name}.{stream}"


def private_folder(folder: Path) -> None:
    """Make the folder if it is not there, for its owner only."""
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except FileExistsError:
        if folder.stat().st_mode & 0o077:
            folder.chmod(FOLDER_MODE)


def write_whole(path: Path, data: bytes, mode: int = SECRET_MODE) -> None:
    """Write a file so that nobody ever sees a part of it."""
    part = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{next(_counter)}")
    descriptor = os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123
            file.write(data)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """The same for a value; variables are bytes, and need not be text."""
    write_whole(path, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))


def read_json(path: Path) -> Any:
    """A value; None if it is not there, or not whole: a network file system may show a file before its content."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def put_event(results: Path, fence: Fence, kind: str, data: dict[str, Any]) -> None:
    """Tell the dispatcher something; saying it again changes nothing."""
    write_json(results / Event(fence, kind).file_name, {**fence._asdict(), "kind": kind, **data})


def event_of(file_name: str) -> Event | None:
    """The event that a file in ``results`` is; None: it is none, or not yet."""
    match = _EVENT.match(file_name)
    if match is None:
        return None
    return Event(Fence(match["name"], match["job"], int(match["restart"])), match["kind"])


def events_in(folder: Path) -> list[Event]:
    """What is there to be taken, in an order that starts with the starts. The listing refreshes the cache of NFS."""
    found = [event for event in map(event_of, os.listdir(folder)) if event]  # noqa: PTH208 - names are enough
    return sorted(found, key=lambda event: (event.fence, KINDS.index(event.kind)))


def take_claim(attempt: Path, fence: Fence) -> bool:
    """Become the one job that does the attempt; False: another one is.

    The same job, started again by SLURM, takes over from its former self.
    """
    path = attempt / "claim"
    try:
        descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    except FileExistsError:
        holder = claim_of(attempt)
        if holder is None or holder.job != fence.job or holder.restart > fence.restart:
            return False
        write_whole(path, fence.text.encode())
        return True
    with open(descriptor, "wb") as file:  # noqa: PTH123
        file.write(fence.text.encode())
    return True


def claim_of(attempt: Path) -> Fence | None:
    """Who does the attempt; None: nobody yet, or it is being written just now."""
    try:
        parts = (attempt / "claim").read_text().split(".")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Fence(parts[0], parts[1], int(parts[2])) if len(parts) == 3 and parts[2].isdigit() else None


def write_secrets(path: Path, values: dict[str, str]) -> None:
    """Store secrets where only their owner can read them."""
    private_folder(path.parent)
    write_json(path, values)


def read_secrets(path: Path) -> dict[str, str]:
    """The secrets. Raises InsecureSecrets when anybody else could have written or read them."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise InsecureSecrets(f"the secrets cannot be opened: {error.strerror}") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if status.st_uid != os.getuid():
            raise InsecureSecrets("the file of secrets belongs to somebody else")
        if status.st_mode & 0o077:
            raise InsecureSecrets("the file of secrets can be read by others; it is not used")
        return {str(name): str(value) for name, value in json.loads(file.read()).items()}
