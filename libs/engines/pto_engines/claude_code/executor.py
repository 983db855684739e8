"""The executing half of the claude-code engine: one run of the program, and one more for each correction.

Imports ports and siblings. Invariants: the files are the only memory between runs; the bench judges, whatever the
program says.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pto_engines.briefing import briefing, check_budget, feedback, shortened
from pto_engines.claude_code.invocation import Call
from pto_engines.claude_code.program import find_program
from pto_engines.claude_code.session import Session
from pto_engines.claude_code.transcript import Outcome
from pto_engines.models.access import Model
from pto_engines.prompts import CODER, digest_of_prompts, text_of
from pto_ports.engine import AgentTask, AttemptDone, Ended, EngineError, Spent, Workbench
from pto_proto.results import Usage

MAX_LISTED = 500


class ClaudeCodeExecutor:
    """A TaskEngine that runs the Claude Code command line."""

    name = "claude-code"

    def __init__(self, model: Model, host: Mapping[str, str], program: str = "") -> None:
        """``program``: where it is; empty: it is looked for. ``host``: the environment that some names are taken
        from.
        """
        self._model = model
        self._host = host
        self._program = program

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        """Work until the bench accepts the result. Raises EngineError."""
        attempt = _Attempt(self._model, task, bench)
        try:
            program = find_program(self._program, self._host.get("PATH"))
            return attempt.run(Session(program, self._model, self._host, bench.scratch))
        except EngineError as error:
            error.spent = attempt.spent
            raise


class _Attempt:
    def __init__(self, model: Model, task: AgentTask, bench: Workbench) -> None:
        self.spent = Spent(cost_usd=model.prices.cost_usd(model.settings.model, Usage()))
        self._model = model
        self._task = task
        self._bench = bench
        self._until_s = bench.now_s() + task.limits.time_s

    def run(self, session: Session) -> AttemptDone:
        first = briefing(self._task, _files(self._bench.workspace))
        prompt = first
        refusals = 0
        while True:
            outcome = self._run(session, prompt)
            denied = sorted(set(outcome.denied))
            self._bench.keep_notes(shortened(f"Claude Code said: {outcome.text}"))
            found = self._bench.judge()
            if not found:
                return self._done(outcome)
            if denied:
                found += f"\nCalls of {', '.join(denied)} were refused: only the paths of the task may be written."
            self._bench.note("not accepted: " + " ".join(found.split())[:600])
            if refusals == self._task.limits.feedback_turns:
                reason = f"after {refusals} corrections the work is still not accepted: {' '.join(found.split())[:600]}"
                raise EngineError(reason)
            refusals += 1
            prompt = f"{first}\n{feedback(found)}"

    def _run(self, session: Session, prompt: str) -> Outcome:
        limits, bench = self._task.limits, self._bench
        if bench.cancel.requested:
            raise EngineError(bench.cancel.reason or "cancelled", failure="cancelled")
        check_budget(self._task, self.spent, self._model.settings.model)
        left = self._until_s - self._bench.now_s()
        if left <= 0:
            raise EngineError(f"the agent was not done after {limits.time_s:g} s", failure="timeout")
        cost_left = None if limits.cost_usd is None else limits.cost_usd - (self.spent.cost_usd or 0.0)

        def launch(
            argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, feed: Callable[[str, bytes], None]
        ) -> Ended:
            return bench.run(argv, feed=feed, time_limit_s=left, environment=environment, stdin=stdin)

        outcome = session.run(
            Call(system=text_of("coder.md"), max_turns=limits.turns - self.spent.turns, max_cost_usd=cost_left),
            prompt,
            writes=self._task.spec.writes,
            launch=launch,
            cancel=bench.cancel,
            time_limit_s=left,
            note=bench.note,
        )
        self.spent += outcome.spent
        if outcome.error is not None:
            raise outcome.error
        bench.spent(self.spent)
        return outcome

    def _done(self, outcome: Outcome) -> AttemptDone:
        return AttemptDone(
            spent=self.spent,
            summary=" ".join(outcome.text.split())[:600],
            model=self._model.settings.model,
            prompt_digest=digest_of_prompts(CODER),
        )


def _files(workspace: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(workspace):
        folders.sort()
        found += [Path(folder, name).relative_to(workspace).as_posix() for name in sorted(names)]
        if len(found) > MAX_LISTED:
            break
    return found[:MAX_LISTED]
