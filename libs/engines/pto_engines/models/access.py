"""The door to the models: one object per process, one client and one limiter per model behind it.

Imports ports and siblings. Invariants: all callers of one model share its limiter; a question is asked again only
for faults that pass; what leaves is a Reply or an EngineError without secrets, with what was spent.
"""

import threading
from collections.abc import Callable

from pto_engines.models.background import Background
from pto_engines.models.client import Failed, ModelClient
from pto_engines.models.fault import Sorted, sort_fault
from pto_engines.models.limiter import ModelLimiter, OnPause, Overdue
from pto_engines.models.limits import TRIES, TRY_AGAIN_S
from pto_engines.models.prices import PriceTable, shipped_prices
from pto_engines.models.question import Question, Reply
from pto_engines.models.settings import ModelSettings
from pto_ports.clock import Clock
from pto_ports.engine import Cancel, EngineError, Spent

OpenClient = Callable[[ModelSettings], ModelClient]
Note = Callable[[str], None]


class Models:
    """All models of a process. Threads may use it at once; ``close`` ends every question."""

    def __init__(
        self,
        clock: Clock,
        *,
        prices: PriceTable | None = None,
        on_pause: OnPause | None = None,
        open_client: OpenClient = ModelClient,
    ) -> None:
        """``on_pause`` hears of every pause and its end, in another thread than the caller's."""
        self.prices = prices or shipped_prices()
        self.clock = clock
        self._on_pause = on_pause
        self._open_client = open_client
        self._background = Background(clock)
        self._lock = threading.Lock()
        self._clients: dict[ModelSettings, ModelClient] = {}
        self._limiters: dict[tuple[str, str, str], ModelLimiter] = {}

    def model(self, settings: ModelSettings) -> "Model":
        """One model with its settings; nothing is opened yet."""
        return Model(self, settings, self._background)

    def limiter(self, settings: ModelSettings) -> ModelLimiter:
        """The limiter of this model at this address; to be used in the loop's thread."""
        name = (settings.provider, settings.base_url or settings.region, settings.model)
        with self._lock:
            if name not in self._limiters:
                self._limiters[name] = ModelLimiter(settings.model, self.clock, settings.at_once, self._on_pause)
            return self._limiters[name]

    async def client(self, settings: ModelSettings) -> ModelClient:
        """The client with these settings; opening it imports a large package, once. Raises Failed."""
        if settings not in self._clients:
            self._clients[settings] = self._open_client(settings)
        return self._clients[settings]

    def close(self) -> None:
        """Give up all questions and close all connections."""
        self._background.close(self._close_clients)

    async def _close_clients(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


class Model:
    """One model that can be asked, from any thread but the loop's own."""

    def __init__(self, models: Models, settings: ModelSettings, background: Background) -> None:
        self.settings = settings
        self.prices = models.prices
        self._models = models
        self._background = background

    def ask(
        self,
        question: Question,
        *,
        cancel: Cancel | None = None,
        time_limit_s: float | None = None,
        note: Note | None = None,
    ) -> Reply:
        """The answer, however often that must be tried within the settings' patience. Blocks. Raises EngineError."""
        return self._background.run(lambda: self._ask(question, note or _nothing), cancel, time_limit_s)

    def wait_open(self, *, cancel: Cancel | None = None, time_limit_s: float | None = None) -> None:
        """Return when the model takes questions; for engines whose own program asks them. Raises EngineError."""

        async def wait() -> None:
            limiter = self._models.limiter(self.settings)
            await self._enter(limiter, self.settings.patience_s)
            limiter.leave()

        self._background.run(wait, cancel, time_limit_s)

    def report(self, fault: Sorted | None) -> None:
        """What such a program met at last (None: answers): the others must wait too, or may go on."""

        async def tell() -> None:
            limiter = self._models.limiter(self.settings)
            if fault is None:
                limiter.answered()
            elif fault.holds_all:
                limiter.pause(fault.reason, fault.retry_after_s)

        self._background.run(tell)

    def error(self, fault: Sorted, retry_after_s: float | None = None) -> EngineError:
        """The fault as the error that leaves the engine."""
        wait = fault.retry_after_s if retry_after_s is None else retry_after_s
        return EngineError(
            self.settings.redact(fault.reason),
            failure=fault.failure,
            hint=self.settings.redact(fault.hint),
            retry_after_s=wait or 0.0,
        )

    def spent(self, reply: Reply) -> Spent:
        """What the answer cost: by the model that was asked, whose price is the one that was agreed to."""
        return self.prices.spent(self.settings.model, reply.usage)

    async def _ask(self, question: Question, note: Note) -> Reply:
        limiter = self._models.limiter(self.settings)
        clock = self._models.clock
        give_up_at: float | None = None
        tries = 0
        while True:
            patience_s = self.settings.patience_s if give_up_at is None else give_up_at - clock.monotonic_s()
            await self._enter(limiter, patience_s)
            try:
                fault = await self._try(limiter, question)
            finally:
                limiter.leave()
            if isinstance(fault, Reply):
                return fault
            if fault.holds_all:
                wait = limiter.pause(fault.reason, fault.retry_after_s)
                give_up_at = clock.monotonic_s() + self.settings.patience_s if give_up_at is None else give_up_at
                is_enough = clock.monotonic_s() + wait > give_up_at
            else:
                wait = TRY_AGAIN_S * 2.0**tries
                tries += 1
                is_enough = not fault.is_passing or tries >= TRIES
            if is_enough:
                raise self.error(fault, wait if fault.failure == "capacity" else None)
            note(f"{self.settings.redact(fault.reason)}; the next try is in {wait:.1f} s")
            if not fault.holds_all:
                await clock.sleep(wait)

    async def _try(self, limiter: ModelLimiter, question: Question) -> Reply | Sorted:
        try:
            client = await self._models.client(self.settings)
            reply = await client.ask(question)
        except Failed as failed:
            if failed.fault.kind == "answer" and not sort_fault(failed.fault).is_passing:
                limiter.answered()
            return sort_fault(failed.fault)
        limiter.answered()
        return reply

    async def _enter(self, limiter: ModelLimiter, patience_s: float) -> None:
        try:
            await limiter.enter(patience_s)
        except Overdue as overdue:
            raise EngineError(
                f"model {limiter.model} takes no questions at present: {overdue}",
                failure="capacity",
                retry_after_s=overdue.retry_after_s,
            ) from overdue


def _nothing(line: str) -> None:
    """Nobody listens."""
