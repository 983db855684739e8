"""Nodes that failed under jobs, and which of them to keep away from.

Imports ports and siblings. Invariant: a node is avoided only after it failed more than once, and not for ever.
"""

from pathlib import Path

import msgspec

from pto_ports.clock import Clock
from pto_slurm_lane.ledger import write_durably

FORGIVEN_S = 3600.0
OFFENCES = 2
MAX_AVOIDED = 8
"""More than these are no bad nodes but a bad day."""


class Offenders:
    """Kept in a file, so that a restart does not send jobs back to them."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        try:
            self._failures = msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
        except (OSError, msgspec.MsgspecError):
            self._failures = {}

    def note(self, nodes: str) -> None:
        """A job ended badly on it; lists of several nodes blame nobody."""
        if not nodes or "," in nodes or "[" in nodes:
            return
        self._failures.setdefault(nodes, []).append(self._clock.now_ms())
        self._forgive()
        write_durably(self._path, msgspec.json.encode(self._failures))

    def avoided(self) -> tuple[str, ...]:
        """The worst first, and only a few."""
        self._forgive()
        bad = [(len(times), node) for node, times in self._failures.items() if len(times) >= OFFENCES]
        return tuple(node for _, node in sorted(bad, reverse=True)[:MAX_AVOIDED])

    def _forgive(self) -> None:
        since = self._clock.now_ms() - FORGIVEN_S * 1000
        kept = {node: [at for at in times if at > since] for node, times in self._failures.items()}
        self._failures = {node: times for node, times in kept.items() if times}
