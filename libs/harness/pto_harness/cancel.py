"""The request to end a running task, from any thread.

Imports the standard library only. Invariant: a request is never lost: whoever starts to listen after it was made is
called at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Cancel:
    """One task's switch; it can be thrown once and stays so."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler may ask while the same thread listens.
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._reason: str | None = None

    @property
    def requested(self) -> bool:
        """Whether the task shall end."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why, in the words of who asked."""
        return self._reason or ""

    def request(self, reason: str = "") -> None:
        """Ask the task to end; returns at once. Further requests change nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            for listener in tuple(self._listeners):
                listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on a request, in the requester's thread; at once if it was already made."""
        with self._lock:
            self._listeners.append(listener)
            if self._reason is not None:
                listener()

    def unlisten(self, listener: Callable[[], None]) -> None:
        """When this returns, the listener is not running and will not be called again."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
