"""The planning half of the claude-code engine: the program answers by the plan's schema, and it is checked here.

Imports ports, the standard library and siblings. Invariant: the program has no tools but the answer, and an empty
folder to stand in.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pto_engines.claude_code.invocation import Call
from pto_engines.claude_code.program import find_program
from pto_engines.claude_code.session import Session
from pto_engines.models.access import Model
from pto_engines.planning.conversation import Answer, Exchange, converse
from pto_engines.prompts import text_of
from pto_ports.engine import Cancel, Ended, PlanDraft

TIME_LIMIT_S = 900.0
"""For one answer: a large plan takes minutes."""
MAX_TURNS = 6
"""The answer, and the program's own corrections of its form."""
CUT_MARKS = ("max_output_tokens", "output token maximum", "max_tokens")
READ_BYTES = 65536


class ClaudeCodePlanner:
    """A PlanEngine that runs the Claude Code command line."""

    name = "claude-code"

    def __init__(self, model: Model, host: Mapping[str, str], program: str = "") -> None:
        """See ClaudeCodeExecutor."""
        self._model = model
        self._host = host
        self._program = program

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None) -> PlanDraft:
        """A valid plan. Raises EngineError."""
        program = find_program(self._program, self._host.get("PATH"))
        with tempfile.TemporaryDirectory(prefix="pto-plan-") as name:
            folder = Path(name)
            session = Session(program, self._model, self._host, folder / "private")
            (folder / "empty").mkdir()

            def ask(request: str, exchanges: list[Exchange]) -> Answer:
                return _ask(session, folder / "empty", request, exchanges, cancel)

            return converse(ask, requirement, max_executors, self._model.settings.model)


def _ask(session: Session, place: Path, request: str, exchanges: list[Exchange], cancel: Cancel | None) -> Answer:
    def launch(
        argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, feed: Callable[[str, bytes], None]
    ) -> Ended:
        return _run(argv, environment, stdin, feed, place, cancel)

    outcome = session.run(
        Call(system=text_of("planner.md"), max_turns=MAX_TURNS, tools="", schema=text_of("plan_schema.json")),
        _prompt(request, exchanges),
        writes=("nothing",),
        launch=launch,
        cancel=cancel,
        time_limit_s=TIME_LIMIT_S,
        note=lambda line: None,
    )
    if outcome.error is not None:
        if outcome.error.failure == "task" and any(mark in str(outcome.error) for mark in CUT_MARKS):
            return Answer(text="", spent=outcome.spent, is_cut=True)
        outcome.error.spent = outcome.spent
        raise outcome.error
    found = outcome.structured
    return Answer(text=outcome.text if found is None else json.dumps(found, ensure_ascii=False), spent=outcome.spent)


def _prompt(request: str, exchanges: list[Exchange]) -> str:
    """The whole conversation in one text: the program remembers nothing."""
    parts = [request]
    for exchange in exchanges:
        parts += [f"Your last answer was:\n\n{exchange.answer}", exchange.complaint]
    return "\n\n".join(parts[:1] + parts[-2:] if len(parts) > 1 else parts)


def _run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    feed: Callable[[str, bytes], None],
    place: Path,
    cancel: Cancel | None,
) -> Ended:
    """The program as a process group that ends with a cancel or the time limit."""
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            list(argv),
            cwd=place,
            env=dict(environment),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    why: list[str] = []

    def end(reason: str) -> None:
        why.append(reason)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(TIME_LIMIT_S, end, ["timeout"])
    timer.start()
    cancelled = lambda: end("cancelled")  # noqa: E731
    if cancel is not None:
        cancel.listen(cancelled)
    try:
        assert process.stdout is not None  # noqa: S101
        while data := process.stdout.read1(READ_BYTES):  # type: ignore[attr-defined]
            feed("stdout", data)
    finally:
        timer.cancel()
        if cancel is not None:
            cancel.unlisten(cancelled)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return Ended(code if code >= 0 else 128 - code, why[0] if why else "exited")  # type: ignore[arg-type]
