"""One run of the program at one place, with its credentials, its private home and its limits.

Imports ports and siblings. Invariant: the others who ask the same model learn what this run met, and this run waits
when they do.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pto_engines.claude_code.invocation import Call, arguments, environment, permissions
from pto_engines.claude_code.transcript import Outcome, Transcript
from pto_engines.models.access import Model
from pto_engines.models.credentials import NoCredentials, check_credentials, resolve_keys
from pto_engines.models.fault import sort_fault
from pto_ports.engine import Cancel, Ended, EngineError

Launch = Callable[[Sequence[str], Mapping[str, str], bytes, Callable[[str, bytes], None]], Ended]
"""Runs an argument vector with an environment and standard input; output goes to the last one."""


class Session:
    """Calls of the program that share a folder outside of the workspace."""

    def __init__(self, program: Path, model: Model, host: Mapping[str, str], folder: Path) -> None:
        self._program = program
        self._model = model
        self._host = host
        self._home = folder / "claude"
        self._settings_file = folder / "claude-settings.json"

    def run(
        self,
        call: Call,
        prompt: str,
        *,
        writes: Sequence[str],
        launch: Launch,
        cancel: Cancel | None,
        time_limit_s: float,
        note: Callable[[str], None],
    ) -> Outcome:
        """One run to its end. Raises EngineError when it cannot even start."""
        settings = self._model.settings
        fault = check_credentials(settings)
        if fault is not None:
            raise self._model.error(sort_fault(fault))
        self._model.wait_open(cancel=cancel, time_limit_s=time_limit_s)
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings_file.write_text(permissions(writes), encoding="utf-8")
        transcript = Transcript(lambda line: note(settings.redact(line)))
        argv = arguments(self._program, call, self._settings_file)
        try:
            ended = launch(argv, self._environment(), prompt.encode(errors="replace"), transcript.feed)
        except OSError as error:
            raise EngineError(f"Claude Code cannot be started: {error}", failure="config") from error
        outcome = transcript.outcome(ended, self._model.prices, settings.model)
        if outcome.error is None:
            self._model.report(None)
            return outcome
        if outcome.fault is not None:
            self._model.report(outcome.fault)
        return msgspec.structs.replace(outcome, error=self._redacted(outcome.error))

    def _environment(self) -> dict[str, str]:
        settings = self._model.settings
        if settings.provider == "anthropic" or settings.api_key:
            return environment(settings, self._host, self._home)
        try:
            return environment(settings, self._host, self._home, resolve_keys(settings))
        except NoCredentials as missing:
            raise self._model.error(sort_fault(missing.fault)) from missing

    def _redacted(self, error: EngineError) -> EngineError:
        redact = self._model.settings.redact
        return EngineError(
            redact(str(error)), failure=error.failure, hint=redact(error.hint), retry_after_s=error.retry_after_s
        )
