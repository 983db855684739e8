"""Writes a run's output folder from its events and blobs.

Imports core, ports, proto and siblings. Invariant: a projection: repeating it, also after a crash, gives the same
folder.
"""

import asyncio
import errno
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pto_client.log_lines import log_lines
from pto_client.output import SUMMARY, OutputNotWritable, OutputProblem, Staging
from pto_client.summary import Summary, summarize
from pto_core.views import AttemptView, RunView
from pto_ports.blob_store import BlobStore
from pto_ports.event_log import Recorded
from pto_proto.envelope import Event, ProtocolError, decode_event
from pto_proto.ids import Digest
from pto_proto.manifests import Manifest, Tree

Wanted = dict[Digest, list[tuple[str, str, int]]]
"""Bundle -> (member, path in the output folder, mode)."""


async def fetch(messages: Sequence[Recorded], blobs: BlobStore, folder: Path) -> Summary:
    """Write the folder of the run with these messages (all of them, in log order); returns its summary.

    Raises OutputProblem, BlobMissing, BlobDamaged; ValueError for a run that was never accepted.
    """
    view, events = RunView(), []
    for recorded in messages:
        try:
            event = decode_event(recorded.data)
        except ProtocolError:
            continue
        view.apply(recorded.seq, event)
        events.append((recorded.seq, event))
    summary = summarize(view)
    try:
        await _write(messages, events, view, summary, blobs, folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full; free some space" if full else f"{error.strerror or error}; change that"
        raise OutputNotWritable(f"{folder}: {what}, then `orchestrator fetch {summary.run} -o DIR`") from error
    return summary


async def _write(
    messages: Sequence[Recorded],
    events: Sequence[tuple[int, Event]],
    view: RunView,
    summary: Summary,
    blobs: BlobStore,
    folder: Path,
) -> None:
    staging = Staging(folder)
    wanted: Wanted = defaultdict(list)
    if view.consolidated is not None:
        tree = msgspec.json.decode(await blobs.get(view.consolidated.manifest), type=Tree)
        for file in tree.files:
            wanted[file.bundle].append((file.member or file.path, file.path, file.mode))
    elif (plan := view.plan()) is not None:
        staging.write("execution_plan.json", msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    await _want_raw(view, blobs, folder, wanted)
    for digest, members in wanted.items():
        await _unpack(digest, members, blobs, staging)
    staging.write("events.jsonl", b"".join(message.data + b"\n" for message in messages))
    staging.write("orchestrator.log", "".join(f"{line}\n" for line in log_lines(events)).encode())
    staging.write(SUMMARY, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    await asyncio.to_thread(staging.move_in, SUMMARY)


async def _want_raw(view: RunView, blobs: BlobStore, folder: Path, wanted: Wanted) -> None:
    """The raw outputs of every attempt that has some and whose workspace is not there from a live run."""
    for attempt in _attempts(view):
        where = raw_folder(attempt)
        if not attempt.manifest or (folder / where).is_dir():
            continue
        manifest = msgspec.json.decode(await blobs.get(attempt.manifest), type=Manifest)
        for file in manifest.files:
            wanted[manifest.bundle].append((file.path, f"{where}/{file.path}", file.mode))


def raw_folder(attempt: AttemptView) -> str:
    """Where the attempt's raw outputs lie in the output folder."""
    suffix = f".r{attempt.round}" if attempt.round else ""
    return f"executor_{attempt.slot}/{attempt.task}.{attempt.attempt}{suffix}"


def _attempts(view: RunView) -> Iterable[AttemptView]:
    for task in view.run.tasks if view.run else ():
        yield from view.attempts.get(task.spec.id, ())


async def _unpack(digest: Digest, members: list[tuple[str, str, int]], blobs: BlobStore, staging: Staging) -> None:
    with tempfile.TemporaryDirectory(prefix="pto-fetch-") as folder:
        bundle = Path(folder) / digest
        await blobs.get_file(digest, bundle)
        await asyncio.to_thread(_extract, bundle, members, staging)


def _extract(bundle: Path, members: list[tuple[str, str, int]], staging: Staging) -> None:
    wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for member, path, mode in members:
        wanted[member].append((path, mode))
    with tarfile.open(bundle, "r:") as tar:
        for info in tar:
            places = wanted.pop(info.name, ())
            source = tar.extractfile(info) if places and info.isreg() else None
            data = source.read() if source is not None else b""
            for path, mode in places if source is not None else ():
                staging.write(path, data)
                staging.target(path).chmod(0o755 if mode & 0o100 else 0o644)
    if wanted:
        raise OutputProblem(f"a bundle lacks {sorted(wanted)[0]!r}; the run's outputs are damaged")
