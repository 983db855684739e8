"""What embedded runs left behind for later ones: ``finished.json`` in each run's folder, and the list made of them.

Imports core, ports, proto and siblings. Invariant: a cache, never the truth: what is missing or cannot be read is done
again, and nothing else follows from it.
"""

import msgspec

from pto_cli.registry import RunFolder, all_runs
from pto_core.limits import MAX_TASKS
from pto_core.reuse import left_behind
from pto_core.views import RunView
from pto_ports.blob_store import BlobStore
from pto_proto.ids import Digest
from pto_proto.reuse import Reusable
from pto_runtime.logs import get_logger

FILE = "finished.json"
MAX_RUNS = 200
"""Earlier runs looked at, newest first: reading their lists stays below a second."""


def write_finished(folder: RunFolder, view: RunView) -> None:
    """Keep what other runs may take over; a folder that cannot be written does not matter to the run."""
    if view.run is None or not view.run.ended:
        return
    part = folder.path / f"{FILE}.part"
    try:
        part.write_bytes(msgspec.json.encode(left_behind(view.run, only_crossing=True)))
        part.replace(folder.path / FILE)
    except OSError as error:
        get_logger().warning("what the run left behind cannot be kept", reason=str(error))


def collect_finished() -> list[Reusable]:
    """What the latest runs left behind, newest first, one for each key."""
    found: dict[Digest, Reusable] = {}
    for folder in reversed(all_runs()[-MAX_RUNS:]):
        for known in _read(folder):
            found.setdefault(known.key, known)
        if len(found) >= MAX_TASKS:
            break
    return list(found.values())[:MAX_TASKS]


async def store_list(blobs: BlobStore, listed: list[Reusable]) -> Digest:
    """Store the list for a request's ``reuse_digest``. Raises StoreFull, LogUnavailable."""
    return await blobs.put(msgspec.json.encode(listed))


def _read(folder: RunFolder) -> list[Reusable]:
    try:
        return msgspec.json.decode((folder.path / FILE).read_bytes(), type=list[Reusable])
    except (OSError, msgspec.MsgspecError):
        return []
