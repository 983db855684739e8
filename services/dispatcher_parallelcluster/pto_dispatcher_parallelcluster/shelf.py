"""What of a run is to be in the bucket, on the shared file system first: definitions of tasks, and results.

Imports ports, proto, pto_s3 and pto_slurm_lane.

    <root>/<run>/tasks/      definitions, one per attempt
    <root>/<run>/told/       results whose outputs are not in the bucket yet
    <root>/<run>/results/    results whose outputs are
    <root>/<run>/settled     everything is in the bucket

Invariants: each file is written once, and whole; a result is on the disk before its end is told.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pto_ports.backend import Order
from pto_proto.events import TaskFinished
from pto_proto.ids import Digest, RunId, is_run_id
from pto_proto.plans import TaskSpec
from pto_s3 import Area
from pto_slurm_lane.ledger import Record, write_durably


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task as it was handed out."""

    run: RunId
    attempt: int
    round: int
    spec: TaskSpec
    engine: str = ""
    model: str = ""
    version: int = 1


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt ended. The digests name blobs of the same bucket."""

    run: RunId
    task: str
    attempt: int
    round: int
    outcome: str
    job: str = ""
    node: str = ""
    failure: str | None = None
    reason: str = ""
    hint: str = ""
    tail: tuple[str, ...] = ()
    exit_code: int | None = None
    duration_s: float = 0.0
    files: int = 0
    manifest: Digest = Digest("")
    tree: Digest = Digest("")
    log: Digest = Digest("")
    version: int = 1


class Shelf:
    """Of one lane; ``root`` is on the shared file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, run: RunId, area: Area) -> Path:
        """Where the bucket's files of a run lie here."""
        return self.root / run / area

    def runs(self) -> Iterator[RunId]:
        """All that something was kept of and that is not settled."""
        for path in sorted(self.root.glob("*/")) if self.root.is_dir() else ():
            if is_run_id(path.name) and not (path / "settled").exists():
                yield RunId(path.name)

    def define(self, order: Order) -> str:
        """Keep the definition of an attempt; returns its file."""
        ready = order.ready
        definition = Definition(
            run=order.run,
            attempt=ready.attempt,
            round=ready.round,
            spec=ready.spec,
            engine=ready.engine,
            model=ready.model,
        )
        name = f"{_stem(ready.task, ready.attempt, ready.round)}.json"
        _write_once(self.folder(order.run, Area.TASKS) / name, definition)
        return name

    def tell(self, record: Record, end: TaskFinished) -> None:
        """Keep how an attempt ended, unless that was kept before."""
        ready = record.ready
        result = Result(
            run=record.run, task=ready.task, attempt=ready.attempt, round=ready.round, outcome=end.outcome,
            job=record.job, node=end.node, failure=end.failure, reason=end.reason, hint=end.hint, tail=end.tail,
            exit_code=end.exit_code, duration_s=end.duration_s, files=end.files, manifest=end.manifest, tree=end.tree,
            log=end.log,
        )  # fmt: skip
        name = f"{_stem(ready.task, ready.attempt, ready.round)}.{record.job or 'none'}.json"
        if not (self.folder(record.run, Area.RESULTS) / name).exists():
            _write_once(self.root / record.run / "told" / name, result)

    def told(self, run: RunId) -> list[Path]:
        """Results whose outputs are not in the bucket yet."""
        return sorted(path for path in (self.root / run / "told").glob("*.json") if not path.name.startswith("."))

    def read(self, path: Path) -> Result:
        """A result that was told."""
        return msgspec.json.decode(path.read_bytes(), type=Result)

    def ready(self, run: RunId, path: Path) -> str:
        """Its outputs are in the bucket, and it may follow; returns its file."""
        target = self.folder(run, Area.RESULTS) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        return path.name

    def settle(self, run: RunId, *, is_settled: bool) -> None:
        """Note whether everything of the run is in the bucket."""
        mark = self.root / run / "settled"
        if is_settled:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def sweep(self, before_s: float) -> None:
        """Remove runs that were settled before this moment (Unix seconds): the bucket has them."""
        for mark in self.root.glob("*/settled"):
            if mark.stat().st_mtime < before_s:
                shutil.rmtree(mark.parent, ignore_errors=True)


def _stem(task: str, attempt: int, round_: int) -> str:
    return f"{task}.{attempt}" + (f".r{round_}" if round_ else "")


def _write_once(path: Path, content: msgspec.Struct) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(content))
