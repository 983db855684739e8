"""The observer port: what a service shows of itself to whoever operates it.

Invariant: observing changes nothing of what a service does, and may lose what it saw.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from pto_core.state import State
from pto_ports.event_log import EventLog


class Look(NamedTuple):
    """A scheduler's state just now, to look at and never to touch."""

    state: State
    role: Literal["leading", "standby"]
    trouble: str = ""
    """Why no scheduler can lead, as far as this one sees."""


class Observer(Protocol):
    """Of one service in one process."""

    def watch_log(self, log: EventLog) -> EventLog:
        """The same log, watched: what is read from it and written to it."""

    def watch_state(self, look: Callable[[], Look]) -> None:
        """``look`` is called whenever somebody wants to know, in the service's own event loop."""

    def ticked(self, seconds: float) -> None:
        """The service took this long for one round of reading, deciding and writing."""


class Unobserved:
    """Nobody looks."""

    def watch_log(self, log: EventLog) -> EventLog:
        """The log itself."""
        return log

    def watch_state(self, look: Callable[[], Look]) -> None:
        """Not looked at."""

    def ticked(self, seconds: float) -> None:
        """Not counted."""


UNOBSERVED = Unobserved()
