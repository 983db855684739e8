"""What can go wrong with the broker and the connection to it. Imports nothing.

Invariant: each class says whose fault it is and whether trying again can help; each message is one or two sentences for
the person who started the program.
"""


class BusError(Exception):
    """Base of this package's errors. The log's own errors (NotSettled, LogCorrupt, LogUnavailable) are in the ports."""


class BrokerNotFound(BusError):
    """There is no ``nats-server`` program. The installation's fault."""


class BrokerFailed(BusError):
    """The broker ended or did not become ready; the message ends with its last words. Trying again may help."""


class StoreInUse(BusError):
    """Another process runs a broker on this store. Two brokers on one store lose data; use or end the other one."""

    def __init__(self, message: str, holder: int | None) -> None:
        super().__init__(message)
        self.holder = holder
        """Process id of the one that holds the store's lock, if it could be read."""


class StoreNotWritable(BusError):
    """The store's folder cannot be made or written. A matter of rights or of a read-only disk."""


class StoreCorrupt(BusError):
    """A stream that was in this store could not be loaded. Nothing was changed; restore the store from a copy."""


class NoRoom(BusError):
    """The disk of the store has no room. Free some, then try again."""


class WrongThread(BusError):
    """The broker was started outside the main thread, with whose end it would be killed. The caller's fault."""


class CannotConnect(BusError):
    """Nobody answered at this address in time. Trying again may help."""


class AccessRefused(BusError):
    """The broker refused this user's name, password or certificate. Trying again will not help."""


class NotAllowed(BusError):
    """This user did what its account may not do. A fault of the program or of its account; it must stop."""


class TopologyDrift(BusError):
    """A stream exists with settings other than this version's. Nothing was changed; a person must decide."""


class BadAccounts(BusError):
    """A folder of accounts cannot be read, or what is asked of it does not fit it. The caller's to change."""
