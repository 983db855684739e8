"""What the dispatcher knows about its attempts, on its own disk: what a restart, of it or of its machine, starts from.

Imports ports, proto and pto_slurm. Invariants: an intent is on the disk before its job is submitted; the end of an
attempt is on the disk before it is reported, and stays there until the log has it. A record that cannot be read is put
aside and never guessed.
"""

import os
from pathlib import Path

import msgspec

from pto_ports.backend import Order
from pto_proto.events import TaskFinished, TaskReady
from pto_proto.ids import RunId, TaskId
from pto_runtime.logs import get_logger
from pto_slurm.shape import JobShape

RECORD = ".json"


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One attempt."""

    run: RunId
    seq: int
    ready: TaskReady
    name: str
    shape: JobShape | None = None
    has_intent: bool = False
    """Whether sbatch may have been called."""
    is_unsure: bool = False
    """Whether sbatch's last answer may hide a job."""
    is_early: bool = False
    """Whether its job was submitted before its order, and may end without having begun."""
    after: dict[TaskId, str] = {}
    """Of a job to be submitted before its order: the tasks that it waits for, and their jobs."""
    void: tuple[str, ...] = ()
    """Jobs of its name that ended without having begun."""
    job: str = ""
    is_started: bool = False
    stop_reason: str | None = None
    """Why somebody wants its end; None: nobody does."""
    end: TaskFinished | None = None
    told_state: str = ""
    """The last state of its job that was reported."""

    @property
    def order(self) -> Order:
        """The order it came from."""
        return Order(self.run, self.seq, self.ready)


class Ledger:
    """A folder of records, one file each, by the attempt's name."""

    def __init__(self, folder: Path) -> None:
        self._attempts = folder / "attempts"
        self._broken = folder / "broken"
        for place in (self._attempts, self._broken):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logger = get_logger()

    def records(self) -> list[Record]:
        """All that is kept."""
        found = []
        for path in sorted(self._attempts.glob(f"*{RECORD}")):
            record = self._read(path)
            if record is not None:
                found.append(record)
        return found

    def find(self, name: str) -> Record | None:
        """The record of this attempt, if there is one."""
        return self._read(self._attempts / f"{name}{RECORD}")

    def keep(self, record: Record) -> None:
        """Write it, so that it outlives a crash of the machine."""
        write_durably(self._attempts / f"{record.name}{RECORD}", msgspec.json.encode(record))

    def drop(self, name: str) -> None:
        """Forget it."""
        (self._attempts / f"{name}{RECORD}").unlink(missing_ok=True)

    def _read(self, path: Path) -> Record | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            self._logger.exception("a record cannot be read and is put aside", file=str(path))
            path.replace(self._broken / path.name)
            return None


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file; when this returns, a crash of the machine does not undo it."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
