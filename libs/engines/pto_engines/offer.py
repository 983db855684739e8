"""The engines that one process offers, made from its environment: which are usable, which are not and why.

Imports ports and siblings; what asks models is imported when a model is first asked. Invariants: one
``Models`` for the whole process, closed with the offer; nothing that is said holds a secret; looking whether an engine
is usable asks nobody.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pto_engines.simulated import SimulatedExecutor, SimulatedPlanner
from pto_ports.clock import Clock
from pto_ports.engine import (
    AgentTask,
    AttemptDone,
    Cancel,
    EngineError,
    PlanDraft,
    PlanEngine,
    TaskEngine,
    Workbench,
)

if TYPE_CHECKING:
    from pto_engines.models.access import Model, Models
    from pto_engines.models.limiter import Pause
    from pto_engines.models.settings import ModelSettings, Provider

SIMULATED = "simulated"
API = "api"
CLAUDE_CODE = "claude-code"
EXTRA = "anthropic"
INSTALL = f"pip install 'parallel-task-orchestrator[{EXTRA}]'"


class EngineSettings(Protocol):
    """What a process was told, beside what the usual variables (ANTHROPIC_*, AWS_*) say."""

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines to offer."""

    @property
    def provider(self) -> str:
        """``anthropic`` or ``bedrock``."""

    @property
    def model(self) -> str:
        """For runs that name none; empty: the provider's default."""

    @property
    def claude_code(self) -> str:
        """Where Claude Code's program is; empty: it is looked for."""

    @property
    def prices(self) -> Path | None:
        """A file that replaces list prices."""


class Missing(NamedTuple):
    """Why an engine cannot be used here, and what to do about it."""

    reason: str
    hint: str = ""

    def __str__(self) -> str:
        """In one sentence or two."""
        return f"{self.reason}. {self.hint}" if self.hint and self.hint not in self.reason else self.reason


class Offer:
    """Engines by name. Cheap to make: nothing is opened before an engine works."""

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: Clock,
        settings: EngineSettings,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``say`` hears, from any thread, which engines cannot be used and when a model pauses."""
        self._environment = dict(environment)
        self._clock = clock
        self._settings = settings
        self._say = say
        self._models: Models | None = None
        self._lock = threading.Lock()
        self.missing: dict[str, Missing] = {}
        """The engines that were to be offered and cannot be used here."""
        for name in settings.engines:
            found = self._missing(name)
            if found is not None:
                self.missing[name] = found
                say(f"engine {name} cannot be used here: {found}")
        self._usable = [name for name in settings.engines if name not in self.missing]

    def planners(self) -> dict[str, PlanEngine]:
        """The usable engines that plan."""
        real: dict[str, PlanEngine] = {name: _Planner(name, self) for name in self._usable if name != SIMULATED}
        return {SIMULATED: SimulatedPlanner(), **real} if SIMULATED in self._usable else real

    def executors(self) -> dict[str, TaskEngine]:
        """The usable engines that do agents' tasks."""
        real: dict[str, TaskEngine] = {name: _Executor(name, self) for name in self._usable if name != SIMULATED}
        return {SIMULATED: SimulatedExecutor(), **real} if SIMULATED in self._usable else real

    def settings(self, model: str = "") -> "ModelSettings":
        """The settings for this model, or for the default one."""
        from pto_engines.models.settings import settings_from

        provider: Provider = "bedrock" if self._settings.provider == "bedrock" else "anthropic"
        return settings_from(self._environment, provider=provider, model=model or self._settings.model)

    def close(self) -> None:
        """End all questions and close all connections. Blocks for a moment."""
        with self._lock:
            models, self._models = self._models, None
        if models is not None:
            models.close()

    def _missing(self, name: str) -> Missing | None:
        """All that is missing, in one."""
        found = [] if name == SIMULATED else list(self._all_missing(name))
        return (
            found[0]
            if len(found) == 1
            else Missing(" ".join(f"{str(one).rstrip('.')}." for one in found))
            if found
            else None
        )

    def _all_missing(self, name: str) -> Iterator[Missing]:
        if name == API or self._settings.provider == "bedrock":
            # Claude Code gets its keys of Bedrock resolved by the same package's dependencies.
            needed = EXTRA if name == API else "boto3"
            if find_spec(needed) is None:
                yield Missing(f"engine {name} needs the extra '{EXTRA}', which is not installed", f"{INSTALL}.")
        settings = self.settings()
        if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
            variable = "ANTHROPIC_BEDROCK_BASE_URL" if settings.provider == "bedrock" else "ANTHROPIC_BASE_URL"
            yield Missing(f"{variable} must begin with http:// or https://, and is {settings.base_url!r}")
        yield from _credentials_missing(settings)
        if name == CLAUDE_CODE:
            yield from self._program_missing()

    def _program_missing(self) -> Iterator[Missing]:
        from pto_engines.claude_code.program import find_program

        try:
            find_program(self._settings.claude_code, self._environment.get("PATH"))
        except EngineError as error:
            yield Missing(str(error), error.hint)

    def planner(self, name: str, model: str) -> PlanEngine:
        """The engine that plans with this model. Raises EngineError."""
        if name == API:
            from pto_engines.api import ApiPlanner

            return ApiPlanner(self._model(model))
        from pto_engines.claude_code import ClaudeCodePlanner

        return ClaudeCodePlanner(self._model(model), self._environment, self._settings.claude_code)

    def executor(self, name: str, model: str) -> TaskEngine:
        """The engine that does tasks with this model. Raises EngineError."""
        if name == API:
            from pto_engines.api import ApiExecutor

            return ApiExecutor(self._model(model))
        from pto_engines.claude_code import ClaudeCodeExecutor

        return ClaudeCodeExecutor(self._model(model), self._environment, self._settings.claude_code)

    def _model(self, name: str) -> "Model":
        from pto_engines.models.access import Models
        from pto_engines.models.prices import PricesUnreadable, prices_with, shipped_prices

        with self._lock:
            if self._models is None:
                try:
                    prices = prices_with(self._settings.prices) if self._settings.prices else shipped_prices()
                except PricesUnreadable as error:
                    raise EngineError(str(error), failure="config", hint="Mend the file of PTO_PRICES.") from error
                self._models = Models(self._clock, prices=prices, on_pause=self._say_pause)
            return self._models.model(self.settings(name))

    def _say_pause(self, pause: "Pause") -> None:
        waits = f"takes no questions: {pause.reason}" if pause.until_ms else "answers again"
        self._say(f"model {pause.model} {waits}")


def _credentials_missing(settings: "ModelSettings") -> Iterator[Missing]:
    from pto_engines.models.credentials import check_credentials
    from pto_engines.models.fault import sort_fault

    fault = check_credentials(settings)
    if fault is not None:
        found = sort_fault(fault)
        yield Missing(settings.redact(found.reason), settings.redact(found.hint))


class _Planner:
    """Asks the model that each run names."""

    def __init__(self, name: str, offer: Offer) -> None:
        self.name = name
        self._offer = offer

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None, model: str = "") -> PlanDraft:
        """See ``PlanEngine``."""
        return self._offer.planner(self.name, model).plan(requirement, max_executors, cancel)


class _Executor:
    """Works with the model that each task names."""

    def __init__(self, name: str, offer: Offer) -> None:
        self.name = name
        self._offer = offer

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        """See ``TaskEngine``."""
        return self._offer.executor(self.name, task.model).execute(task, bench)
