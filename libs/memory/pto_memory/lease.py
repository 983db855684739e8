"""The Lease port in memory. Imports ports only.

Invariant: as the broker's: a lease ends by its age, whatever its holder believes.
"""

from pto_ports.clock import Clock
from pto_ports.lease import LEASE_S


class MemoryLeases:
    """What the broker keeps: the holder of one lease. ``clock`` says when it ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holder: tuple[str, str] | None = None
        self._until = 0.0

    def lease(self, instance: str, incarnation: str) -> "MemoryLease":
        """The lease as this incarnation of an instance sees it."""
        return MemoryLease(self, instance, incarnation)

    def _take(self, me: tuple[str, str], may_claim: bool) -> bool:
        now = self._clock.monotonic_s()
        held = self._holder if now < self._until else None
        if held is not None and held != me and not (may_claim and held[0] == me[0]):
            return False
        self._holder, self._until = me, now + LEASE_S
        return True

    def _release(self, me: tuple[str, str]) -> None:
        if self._holder == me:
            self._holder = None


class MemoryLease:
    """One holder's view of it."""

    def __init__(self, leases: MemoryLeases, instance: str, incarnation: str) -> None:
        self._leases = leases
        self._me = (instance, incarnation)

    async def take(self, *, may_claim: bool = False) -> bool:
        """As the port says."""
        return self._leases._take(self._me, may_claim)

    async def release(self) -> None:
        """As the port says."""
        self._leases._release(self._me)
