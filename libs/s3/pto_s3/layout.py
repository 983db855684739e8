"""Where things lie in a bucket: pure names. Imports proto only.

    parallel-orchestrator/<run>/state/<file>      whole files, replaced; one writer, the head node
    parallel-orchestrator/<run>/tasks/<file>      definitions of tasks, written once
    parallel-orchestrator/<run>/results/<file>    results, written once: the first one wins
    parallel-orchestrator/_blobs/<2 hex>/<digest> bytes by digest, for all runs

Invariant: no run's objects lie under another run's prefix; ``_blobs`` can be no run, for those never begin with ``_``.
"""

from enum import StrEnum

from pto_proto.ids import Digest, RunId

ROOT = "parallel-orchestrator/"
MAX_NAME_BYTES = 255
"""Of a file, on all file systems that are in use; a key may be longer."""
BLOBS = f"{ROOT}_blobs/"


class Area(StrEnum):
    """The parts of a run."""

    STATE = "state"
    TASKS = "tasks"
    RESULTS = "results"

    @property
    def is_replaced(self) -> bool:
        """Whether its files change; files of the other areas are written once."""
        return self is Area.STATE


AREAS = (Area.TASKS, Area.RESULTS, Area.STATE)
"""In the order in which they are brought up: state, which speaks of the others, comes last."""


def run_prefix(run: RunId, area: Area | None = None) -> str:
    """What the keys of a run, or of one of its areas, begin with."""
    return f"{ROOT}{run}/" if area is None else f"{ROOT}{run}/{area}/"


def blob_key(digest: Digest) -> str:
    """The key of a blob; two hex digits first, so that requests spread over S3's partitions."""
    return f"{BLOBS}{digest[:2]}/{digest}"


def is_plain_name(name: str) -> bool:
    """Whether this file may lie in a folder of a run: nothing hidden, unfinished, too long, or with a way out."""
    is_visible = bool(name) and not name.startswith((".", "~")) and not name.endswith(".tmp")
    return is_visible and "/" not in name and len(name.encode()) <= MAX_NAME_BYTES
