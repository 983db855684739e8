"""The executing half of the api engine: the loop of one agent with its tools.

Imports ports and siblings. Invariants: every tool call is answered in the next message; nothing is kept between
attempts but files and notes; the loop ends by a finished task that the bench accepts, or by an EngineError with what
was spent.
"""

from pto_engines.api.limits import MAX_CUTS, MAX_NOTES_CHARS, MAX_NUDGES, MAX_OUTPUT_TOKENS, MAX_SAID_CHARS
from pto_engines.api.tools import FINISH, TOOLS, Done, Toolbox
from pto_engines.briefing import briefing, check_budget, feedback
from pto_engines.models.access import Model
from pto_engines.models.question import Block, Message, Question, Reply, ToolCall
from pto_engines.prompts import EXECUTOR, digest_of_prompts, text_of
from pto_ports.engine import AgentTask, AttemptDone, EngineError, Spent, Workbench
from pto_proto.results import Usage

CUT = "The answer was cut off at the limit of output and this call was not run. Write smaller files, one per answer."
NUDGE = "Go on with the task, or call finish if everything is done."


class ApiExecutor:
    """A TaskEngine that asks a model and carries out what it wants."""

    name = "api"

    def __init__(self, model: Model) -> None:
        self._model = model

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        """Work until the bench accepts the result. Raises EngineError."""
        attempt = _Attempt(self._model, task, bench)
        try:
            return attempt.run()
        except EngineError as error:
            error.spent = attempt.spent
            raise
        except OSError as error:
            reason = f"the workspace cannot be used: {error}"
            raise EngineError(reason, failure="infra", spent=attempt.spent) from error


class _Attempt:
    def __init__(self, model: Model, task: AgentTask, bench: Workbench) -> None:
        price = model.prices.cost_usd(model.settings.model, Usage())
        self.spent = Spent(cost_usd=price)
        self._model = model
        self._task = task
        self._bench = bench
        self._until_s = bench.now_s() + task.limits.time_s
        self._tools = Toolbox(bench, task.limits.command_s, self._until_s)
        self._messages: list[Message] = []
        self._refusals = self._nudges = self._cuts = 0

    def run(self) -> AttemptDone:
        text = briefing(self._task, self._tools.files.listing())
        self._messages.append({"role": "user", "content": [{"type": "text", "text": text}]})
        while True:
            reply = self._ask()
            blocks = reply.blocks or [{"type": "text", "text": "(nothing)"}]
            self._messages.append({"role": "assistant", "content": blocks})
            answers, done = self._answer(reply)
            self._keep_notes(reply)
            if done is not None:
                return done
            self._messages.append({"role": "user", "content": answers})

    def _ask(self) -> Reply:
        limits = self._task.limits
        if self._bench.cancel.requested:
            raise EngineError(self._bench.cancel.reason or "cancelled", failure="cancelled")
        check_budget(self._task, self.spent, self._model.settings.model)
        left = self._until_s - self._bench.now_s()
        if left <= 0:
            raise EngineError(f"the agent was not done after {limits.time_s:g} s", failure="timeout")
        question = Question(
            system=text_of("executor.md"), messages=self._messages, max_tokens=MAX_OUTPUT_TOKENS, tools=TOOLS
        )
        reply = self._model.ask(question, cancel=self._bench.cancel, time_limit_s=left, note=self._bench.note)
        self.spent += self._model.spent(reply)
        self._bench.spent(self.spent)
        if said := _short(reply.text):
            self._bench.note(f"agent: {said}")
        return reply

    def _answer(self, reply: Reply) -> tuple[list[Block], AttemptDone | None]:
        """(the next message of the user, or the end)."""
        if reply.stop_reason in ("refusal", "model_context_window_exceeded"):
            raise _impossible(reply)
        if reply.stop_reason == "max_tokens":
            return self._cut(reply.calls), None
        self._cuts = 0
        if not reply.calls:
            return self._stopped(reply)
        answers = []
        for call in reply.calls:
            if call.name != FINISH:
                answers.append(_result(call, self._use(call)))
        ends = [call for call in reply.calls if call.name == FINISH]
        if ends:
            summary = str(ends[0].input.get("summary", "")) if isinstance(ends[0].input, dict) else ""
            complaint = self._complaint()
            if not complaint:
                return [], self._done(summary)
            answers += [_result(call, Done(complaint, is_error=True)) for call in ends]
        return answers, None

    def _use(self, call: ToolCall) -> Done:
        done = self._tools.use(call.name, call.input)
        self._bench.note(f"agent {done.line}")
        return done

    def _cut(self, calls: list[ToolCall]) -> list[Block]:
        self._cuts += 1
        if self._cuts >= MAX_CUTS:
            reason = f"{self._cuts} answers in a row were cut off at the limit of output"
            raise EngineError(reason, hint="Split the task into smaller ones.")
        cut = [_result(call, Done(CUT, is_error=True)) for call in calls]
        return cut or [{"type": "text", "text": CUT}]

    def _stopped(self, reply: Reply) -> tuple[list[Block], AttemptDone | None]:
        """It stopped without a call: it is asked to go on, and at last taken at its word, which the bench judges."""
        if self._nudges < MAX_NUDGES:
            self._nudges += 1
            return [{"type": "text", "text": NUDGE}], None
        complaint = self._complaint()
        return ([{"type": "text", "text": complaint}], None) if complaint else ([], self._done(reply.text))

    def _complaint(self) -> str:
        """What the bench finds wrong, as the agent's next message. Raises EngineError when that was said often
        enough.
        """
        found = self._bench.judge()
        if not found:
            return ""
        self._bench.note(f"not accepted: {_short(found)}")
        if self._refusals == self._task.limits.feedback_turns:
            raise EngineError(f"after {self._refusals} corrections the work is still not accepted: {_short(found)}")
        self._refusals += 1
        return feedback(found)

    def _done(self, summary: str) -> AttemptDone:
        return AttemptDone(
            spent=self.spent,
            summary=_short(summary),
            model=self._model.settings.model,
            prompt_digest=digest_of_prompts(EXECUTOR),
        )

    def _keep_notes(self, reply: Reply) -> None:
        lines = [
            f"After turn {self.spent.turns}.",
            f"Written so far: {', '.join(self._tools.written) or 'nothing'}.",
            *(f"Ran: {line}" for line in self._tools.commands[-5:]),
            *([f"Last words: {said}"] if (said := _short(reply.text)) else []),
        ]
        self._bench.keep_notes("\n".join(lines)[:MAX_NOTES_CHARS])


def _result(call: ToolCall, done: Done) -> Block:
    found: Block = {"type": "tool_result", "tool_use_id": call.id, "content": done.text or "(no output)"}
    return found | ({"is_error": True} if done.is_error else {})


def _impossible(reply: Reply) -> EngineError:
    if reply.stop_reason == "refusal":
        said = _short(reply.text)
        reason = "the model refuses to do this task" + (f": {said}" if said else "")
        return EngineError(reason, hint="Say the task in other words, or choose another model.")
    return EngineError("the conversation is too long for the model", hint="Split the task into smaller ones.")


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_SAID_CHARS]
