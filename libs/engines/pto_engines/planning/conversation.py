"""The conversation that leads to a plan: one question, and at most two corrections with the exact problems.

Imports ports, proto and siblings. Invariant: what is returned has no problems, or an EngineError names those that
were left; both carry what all answers cost.
"""

from collections.abc import Callable

import msgspec

from pto_engines.planning.limits import MAX_PROBLEMS_SHOWN, MAX_REPAIRS
from pto_engines.planning.reading import ReadPlan, read_answer
from pto_engines.prompts import PLANNER, digest_of_prompts, fill
from pto_ports.engine import EngineError, PlanDraft, Spent
from pto_proto.plans import Problem


class Exchange(msgspec.Struct, frozen=True):
    """An answer that was refused, and what the model is told about it."""

    answer: str
    complaint: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    text: str
    spent: Spent
    is_cut: bool = False
    """It ended at the limit of output."""


Ask = Callable[[str, list[Exchange]], Answer]
"""Asks with the request and the exchanges so far. Raises EngineError."""


def converse(ask: Ask, requirement: str, max_executors: int, model: str) -> PlanDraft:
    """A plan without problems. Raises EngineError."""
    request = fill("plan_request.md", requirement=requirement, max_executors=str(max_executors))
    spent = Spent()
    exchanges: list[Exchange] = []
    while True:
        try:
            answer = ask(request, exchanges)
        except EngineError as error:
            error.spent = spent + error.spent
            raise
        spent += answer.spent
        read = _read(answer)
        if read.plan is not None and not read.problems:
            return PlanDraft(
                plan=read.plan,
                complexity=read.complexity,
                rationale=read.rationale,
                usage=spent.usage,
                cost_usd=spent.cost_usd,
                model=model,
                prompt_digest=digest_of_prompts(PLANNER),
                repairs=len(exchanges),
            )
        if len(exchanges) == MAX_REPAIRS:
            raise EngineError(
                f"{model} made no valid plan in {MAX_REPAIRS + 1} answers; in the last one: "
                f"{'; '.join(_lines(read.problems))}",
                hint="Say the requirement in more detail, choose another model, or bring a plan (--plan FILE).",
                spent=spent,
            )
        problems = "\n".join(f"- {line}" for line in _lines(read.problems))
        exchanges.append(Exchange(answer.text, fill("plan_repair.md", problems=problems)))


def _read(answer: Answer) -> ReadPlan:
    if answer.is_cut:
        what = "the answer was cut off at the limit of output; plan fewer tasks, with shorter instructions"
        return ReadPlan(problems=(Problem(where="", what=what),))
    return read_answer(answer.text)


def _lines(problems: tuple[Problem, ...]) -> list[str]:
    more = len(problems) - MAX_PROBLEMS_SHOWN
    return [*map(str, problems[:MAX_PROBLEMS_SHOWN]), *([f"and {more} more"] if more > 0 else [])]
