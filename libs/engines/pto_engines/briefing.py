"""What an agent is told about its task, for every engine the same.

Imports ports and siblings. Invariant: the text depends on the task and the workspace alone.
"""

from collections.abc import Sequence

from pto_engines.prompts import fill
from pto_ports.engine import AgentTask, EngineError, Spent
from pto_proto.results import Usage

MAX_FILES_SHOWN = 200
MAX_COMPLAINT_CHARS = 12_000
"""Of what a check found: its beginning and its end."""


def briefing(task: AgentTask, files: Sequence[str]) -> str:
    """The first message to the agent."""
    spec = task.spec
    more = [f"... and {len(files) - MAX_FILES_SHOWN} more"] if len(files) > MAX_FILES_SHOWN else []
    return fill(
        "task.md",
        id=spec.id,
        title=spec.title or spec.id,
        instructions=spec.agent,
        requirement=task.requirement,
        writes=_listed(spec.writes) or "any path of the project",
        outputs=_listed(spec.outputs),
        checks=_listed(spec.checks),
        files="\n".join([*files[:MAX_FILES_SHOWN], *more]) or "none yet",
        notes=task.notes,
        evidence=shortened(task.evidence),
    )


def feedback(complaint: str) -> str:
    """The message after a check that failed."""
    return fill("feedback.md", complaint=shortened(complaint))


def shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    half = MAX_COMPLAINT_CHARS // 2
    return text if len(text) <= MAX_COMPLAINT_CHARS else f"{text[:half]}\n[...]\n{text[-half:]}"


def all_tokens(usage: Usage) -> int:
    """Tokens of every kind."""
    return usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens


def check_budget(task: AgentTask, spent: Spent, model: str) -> None:
    """Raise EngineError when the attempt may not go on, by turns, tokens or money."""
    limits = task.limits
    if limits.cost_usd is not None and spent.cost_usd is None:
        raise EngineError(
            f"the price of model {model} is unknown, so a limit of cost cannot be kept",
            failure="config",
            hint="Put the model into a price file, choose another model, or leave the limit out.",
        )
    if limits.cost_usd is not None and (spent.cost_usd or 0.0) >= limits.cost_usd:
        raise EngineError(f"the attempt's limit of {limits.cost_usd:g} USD is reached", failure="budget")
    if all_tokens(spent.usage) >= limits.tokens:
        raise EngineError(f"the attempt's limit of {limits.tokens} tokens is reached", failure="budget")
    if spent.turns >= limits.turns:
        raise EngineError(
            f"the agent was not done after {limits.turns} turns",
            hint="Split the task, or raise the limit of turns.",
        )


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"- `{text}`" for text in texts)
