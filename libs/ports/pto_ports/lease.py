"""The lease port: who of several may lead just now.

Invariant: a lease only saves two leaders from working against each other; what makes a second leader harmless is the
fence of the epoch. So a lease may be lost at any moment, and losing it loses nothing.
"""

from typing import Protocol

LEASE_S = 5.0
"""A lease that was not renewed for this long is free: longer than any pause of a healthy process, short for users."""
RENEW_S = 1.0
"""Between two renewals: four of five may fail."""
CLAIM_S = 0.25
"""Between two tries of a standby: it leads well below a second after the lease ended."""


class Lease(Protocol):
    """One lease, for one incarnation of one instance."""

    async def take(self, *, may_claim: bool = False) -> bool:
        """Take the lease if it is free, renew it if it is ours. True: it is ours for ``LEASE_S`` from now.

        ``may_claim`` also takes it from an earlier incarnation of the same instance, as after a restart. Raises
        LogUnavailable.
        """

    async def release(self) -> None:
        """Give it up, so that a standby leads at once; does nothing if it is not ours or cannot be reached."""
