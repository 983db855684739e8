"""The planning half of the api engine.

Imports ports and siblings. Invariant: the model's answer is bound to the schema by the API, and checked here all the
same.
"""

import json

from pto_engines.models.access import Model
from pto_engines.models.question import Message, Question
from pto_engines.planning.conversation import Answer, Exchange, converse
from pto_engines.planning.limits import MAX_OUTPUT_TOKENS
from pto_engines.prompts import text_of
from pto_ports.engine import Cancel, EngineError, PlanDraft

REFUSED = "the model refuses to plan this"


class ApiPlanner:
    """A PlanEngine that asks a model."""

    name = "api"

    def __init__(self, model: Model) -> None:
        self._model = model

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None) -> PlanDraft:
        """A valid plan. Raises EngineError."""

        def ask(request: str, exchanges: list[Exchange]) -> Answer:
            question = Question(
                system=text_of("planner.md"),
                messages=conversation(request, exchanges),
                max_tokens=MAX_OUTPUT_TOKENS,
                schema=json.loads(text_of("plan_schema.json")),
            )
            reply = self._model.ask(question, cancel=cancel)
            spent = self._model.spent(reply)
            if reply.stop_reason == "refusal":
                said = " ".join(reply.text.split())[:300]
                hint = "Say the requirement in other words."
                raise EngineError(f"{REFUSED}: {said}" if said else REFUSED, hint=hint, spent=spent)
            return Answer(text=reply.text, spent=spent, is_cut=reply.stop_reason == "max_tokens")

        return converse(ask, requirement, max_executors, self._model.settings.model)


def conversation(request: str, exchanges: list[Exchange]) -> list[Message]:
    """The request, then each refused answer and what is wrong with it."""
    texts = [("user", request)]
    for exchange in exchanges:
        texts += [("assistant", exchange.answer.strip() or "(no answer)"), ("user", exchange.complaint)]
    return [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in texts]
