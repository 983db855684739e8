"""Writes a run's output folder from its events and blobs.

Imports core, ports, proto and siblings. Invariant: a projection: repeating it, also after a crash, gives the same
folder.
"""

import asyncio
import errno
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pto_client.log_lines import log_lines
from pto_client.output import RAW_PREFIX, SUMMARY, OutputNotWritable, OutputProblem, Staging, is_real_folder
from pto_client.summary import Summary, summarize
from pto_core.views import AttemptView, RunView
from pto_ports.blob_store import BlobMissing, BlobStore
from pto_ports.event_log import Recorded
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.ids import Digest
from pto_proto.manifests import Manifest, Tree


class _Place(NamedTuple):
    """Where a member of a bundle goes."""

    path: str
    below: str
    """Folder of the output folder that ``path`` is relative to; empty: the output folder."""
    mode: int


Wanted = dict[Digest, dict[str, list[_Place]]]
"""Bundle -> member -> its places."""


async def fetch(messages: Sequence[Recorded], blobs: BlobStore, folder: Path) -> Summary:
    """Write the folder of the run with these messages (all of them, in log order); returns its summary.

    It may be repeated at any time; after a failure the folder has no summary and can be fetched again. Raises
    OutputProblem (also for a run that has not ended), BlobMissing, BlobDamaged; ValueError for a run that was never
    accepted.
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
    if view.finished is None:
        raise OutputProblem(f"run {summary.run} has not ended, it is {summary.status}; fetch it when it has")
    try:
        with Staging(folder, summary.run) as staging:
            await _stage(view, blobs, staging)
            staging.write("events.jsonl", b"".join(message.data.replace(b"\n", b" ") + b"\n" for message in messages))
            staging.write("orchestrator.log", "".join(f"{line}\n" for line in log_lines(events)).encode())
            staging.write(SUMMARY, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
            await asyncio.to_thread(staging.move_in, SUMMARY)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full; free some space" if full else f"{error.strerror or error}; change that"
        raise OutputNotWritable(f"{folder}: {what}, then `orchestrator fetch {summary.run} -o DIR`") from error
    return summary


def raw_folder(attempt: AttemptView) -> str:
    """Where the attempt's raw outputs lie in the output folder; its log is beside it, with ``.log`` added."""
    return f"{RAW_PREFIX}{attempt.slot}/{attempt.label}"


async def _stage(view: RunView, blobs: BlobStore, staging: Staging) -> None:
    """The merged project, and the raw outputs and logs of every attempt unless they are there from a live run."""
    wanted: Wanted = defaultdict(lambda: defaultdict(list))
    if view.consolidated is not None:
        tree = msgspec.json.decode(await blobs.get(view.consolidated.manifest), type=Tree)
        for file in tree.files:
            wanted[file.bundle][file.member or file.path].append(_Place(file.path, "", file.mode))
    elif (plan := view.plan()) is not None:
        staging.write("execution_plan.json", msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    for attempt in _attempts(view):
        where = raw_folder(attempt)
        there = staging.folder / where
        if attempt.manifest and not (is_real_folder(there.parent) and is_real_folder(there)):
            manifest = msgspec.json.decode(await blobs.get(attempt.manifest), type=Manifest)
            for own in manifest.files:
                wanted[manifest.bundle][own.path].append(_Place(own.path, where, own.mode))
        if attempt.log and not (is_real_folder(there.parent) and there.with_name(f"{there.name}.log").is_file()):
            await _bring_log(attempt.log, f"{where}.log", blobs, staging)
    for digest, members in wanted.items():
        bundle = staging.scratch / digest
        await blobs.get_file(digest, bundle)
        await asyncio.to_thread(_extract, bundle, members, staging)
        bundle.unlink()


def _attempts(view: RunView) -> Iterable[AttemptView]:
    for task in view.run.tasks if view.run else ():
        yield from view.attempts.get(task.spec.id, ())


async def _bring_log(digest: Digest, path: str, blobs: BlobStore, staging: Staging) -> None:
    """Logs may be cleared away before outputs are; the folder is complete without them."""
    try:
        await blobs.get_file(digest, staging.target(path))
    except BlobMissing:
        return


def _extract(bundle: Path, members: dict[str, list[_Place]], staging: Staging) -> None:
    missing = set(members)
    with tarfile.open(bundle, "r:") as tar:
        for info in tar:
            if info.name not in missing or not info.isreg():
                continue
            missing.remove(info.name)
            for place in members[info.name]:
                source = tar.extractfile(info)
                target = staging.target(place.path, below=place.below)
                with target.open("wb") as file:
                    if source is not None:
                        shutil.copyfileobj(source, file)
                target.chmod(0o755 if place.mode & 0o100 else 0o644)
    if missing:
        raise OutputProblem(f"a bundle lacks {min(missing)!r}; the run's outputs are damaged")
