"""In-memory twins of the ports, for simulations and tests of services. Imports ports only.

Invariant: whatever the conformance suite asks of a real adapter holds for its twin too; a twin does nothing by chance.
"""

from pto_memory.blob_store import MemoryBlobStore
from pto_memory.clock import VirtualClock
from pto_memory.event_log import MemoryEventLog, MemoryReader
from pto_memory.lease import MemoryLease, MemoryLeases
from pto_memory.live import MemoryLiveChannel
from pto_memory.snapshots import MemorySnapshotStore

__all__ = [
    "MemoryBlobStore",
    "MemoryEventLog",
    "MemoryLease",
    "MemoryLeases",
    "MemoryLiveChannel",
    "MemoryReader",
    "MemorySnapshotStore",
    "VirtualClock",
]
