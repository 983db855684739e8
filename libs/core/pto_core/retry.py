"""How long to wait before the next attempt.

Imports siblings only. Invariant: the same run and task give the same delays for ever (the jitter comes from the run's
id).
"""

import hashlib

from pto_core.limits import BACKOFF_BASE_MS, BACKOFF_CAP_MS
from pto_proto.ids import RunId, TaskId


def backoff_ms(run: RunId, task: TaskId, failures: int) -> int:
    """Delay after the ``failures``-th failure (from 1): 5 s x 2^(n-1), capped, less up to 20 % jitter."""
    full = min(BACKOFF_CAP_MS, BACKOFF_BASE_MS << max(0, min(failures, 30) - 1))
    draw = hashlib.sha256(f"{run}/{task}/{failures}".encode()).digest()[0]
    return full - full * draw // (5 * 256)
