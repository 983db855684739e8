"""Nodes of a cluster that fail attempts of a run again and again, which the run therefore avoids.

Imports pto_proto and siblings only. Invariant: what is remembered is bounded, whatever a cluster's nodes are called.
"""

from pto_core.limits import MAX_AVOIDED, MAX_NODES_KNOWN, NODE_FAILURES
from pto_proto.ids import Lane


class Nodes:
    """What one run knows of the nodes in its lanes."""

    __slots__ = ("avoided", "failures")

    def __init__(self) -> None:
        self.failures: dict[Lane, dict[str, int]] = {}
        """Lane -> node -> attempts that its failures ended; the one that failed last is at the end."""
        self.avoided: dict[Lane, tuple[str, ...]] = {}
        """Lane -> nodes that failed too often."""

    def note(self, lane: Lane, node: str) -> None:
        """This node failed an attempt."""
        failures = self.failures.setdefault(lane, {})
        failures[node] = count = failures.pop(node, 0) + 1
        if count == NODE_FAILURES:
            self.avoided[lane] = (*self.avoided.get(lane, ()), node)[-MAX_AVOIDED:]
        if len(failures) > MAX_NODES_KNOWN:
            del failures[next(iter(failures))]
