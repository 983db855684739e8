"""A scheduler's side of an audit: says what its state is, so that it can be compared with the log.

Imports core, ports and proto. Invariant: it looks and never touches; asked however often, it takes a small share of its
service's time.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from pto_core.snapshot import FOLD_VERSION, digests
from pto_ports.clock import Clock
from pto_ports.live import LiveChannel
from pto_ports.observer import Look
from pto_proto.ids import Digest, InstanceId, RunId
from pto_proto.live import StateShown
from pto_proto.subjects import AUDIT_SUBJECT, STATE_SUBJECT
from pto_runtime.logs import get_logger

PAUSE_S = 1.0
"""Between two answers."""
SHARE = 20
"""An answer that took long is followed by a pause this many times as long."""
MAX_RUNS = 4000
"""Runs that are named in an answer: more would not fit into a message of the broker."""


class AuditAnswers:
    """Answers while it is open. ``look`` is called between two events, when the state is whole."""

    def __init__(
        self, channel: LiveChannel, clock: Clock, look: Callable[[], Look], *, instance: InstanceId, incarnation: str
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._look = look
        self._instance = instance
        self._incarnation = incarnation
        self._asked = asyncio.Event()
        self._stop_listening: Callable[[], Awaitable[None]] | None = None
        self._answering: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen and answer from now on."""
        self._stop_listening = await self._channel.listen(AUDIT_SUBJECT, lambda subject, data: self._asked.set())
        self._answering = asyncio.create_task(self._answer())

    async def close(self) -> None:
        """Answer no more; harmless when it was never opened."""
        if self._stop_listening is not None:
            await self._stop_listening()
            self._stop_listening = None
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
            self._answering = None

    async def _answer(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            start = self._clock.monotonic_s()
            try:
                await self._channel.send(STATE_SUBJECT, msgspec.json.encode(self._show()))
            except Exception:  # an audit must not end what it looks at
                get_logger().exception("an audit was not answered")
            took = self._clock.monotonic_s() - start
            await self._clock.sleep(max(PAUSE_S, SHARE * took))

    def _show(self) -> StateShown:
        state, role, _ = self._look()
        found = digests(state)
        latest: dict[RunId, Digest] = dict(list(found.runs.items())[-MAX_RUNS:])
        return StateShown(
            instance=self._instance,
            incarnation=self._incarnation,
            role=role,
            seq=state.seq,
            digest=found.state,
            fold_version=FOLD_VERSION,
            runs=latest,
        )
