"""Engines in this process: whether the chosen one can be used, what is to be said about its model, one plan of it.

Part of the command line's wiring: names the adapter that offers engines. Invariants: before a run starts, all that is
missing is said at once; a simulated run reads nothing of what asks models.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pto_cli.model_flags import ModelChoice
from pto_cli.problems import Unavailable

if TYPE_CHECKING:
    from pto_engines.models.fault import Fault
    from pto_engines.models.prices import PriceTable
    from pto_engines.models.settings import ModelSettings
    from pto_engines.offer import Offer
    from pto_ports.engine import PlanDraft
    from pto_runtime.settings import Settings

PROBE = "Say yes."


def service_settings(choice: ModelChoice, environment: Mapping[str, str]) -> "Settings":
    """What services of this process are told about engines; the rest of it stands for nothing."""
    from pto_runtime.settings import Settings

    prices = environment.get("PTO_PRICES", "")
    return Settings(
        url="",
        user="",
        password="",
        instance="",
        engines=(choice.engine,),
        provider=choice.provider,
        model=choice.model or environment.get("PTO_MODEL", ""),
        claude_code=environment.get("PTO_CLAUDE_CODE", ""),
        prices=Path(prices) if prices else None,
    )


def get_ready(
    choice: ModelChoice, *, sandbox: str, max_cost_usd: float | None, is_here: bool = True
) -> tuple[ModelChoice, list[str]]:
    """(the choice with its model's name, what is to be said about it), when all is there that it needs. ``is_here``:
    the engine itself runs on this machine, too.

    What was typed is in this process's environment then. Raises Unavailable with all that is missing.
    """
    if not choice.asks_model:
        return choice, list(choice.notices)
    choice.apply(os.environ)
    offer = _offer(choice)
    settings = offer.settings()
    problems = [*(map(str, offer.missing.values()) if is_here else _keys_unset(settings)), *_sandbox_missing(sandbox)]
    if not problems:
        problems += _keys_missing(settings)
    notices = list(choice.notices)
    try:
        prices = _prices(os.environ)
    except Exception as error:
        problems.append(str(error))
    else:
        problems += _unpayable(settings.model, prices, max_cost_usd)
        notices += _notices(settings.model, prices)
    if problems:
        raise Unavailable("\n".join(dict.fromkeys(problems)))
    return replace(choice, model=settings.model), notices


def draft_plan(choice: ModelChoice, requirement: str, max_executors: int) -> "PlanDraft":
    """The plan that the chosen engine would make; a model is asked for it. Raises EngineError."""
    offer = _offer(choice)
    try:
        return offer.planners()[choice.engine].plan(requirement, max_executors, None, choice.model)
    finally:
        offer.close()


def checks(choice: ModelChoice) -> Iterator[tuple[str, str, str]]:
    """(``ok``, ``note`` or ``FAIL``, what, what is found) about the engine, its keys, region, model and program.

    It asks nobody but AWS's own sources of credentials. Raises EngineError.
    """
    choice.apply(os.environ)
    offer = _offer(choice)
    settings = offer.settings()
    missing = offer.missing.get(choice.engine)
    yield ("FAIL" if missing else "ok"), f"engine {choice.engine}", str(missing) if missing else "can be used"
    if missing is None:
        problems = _keys_missing(settings)
        found = problems[0] if problems else f"found for {_where(settings)}"
        yield ("FAIL" if problems else "ok"), "credentials", found
    if settings.provider == "bedrock":
        yield "ok", "region", settings.region
    notices = _notices(settings.model, _prices(os.environ))
    yield ("note" if notices else "ok"), "model", "; ".join(notices) or settings.model
    if choice.engine == "claude-code" and missing is None:
        from pto_engines.claude_code.program import find_program, program_version

        program = find_program(os.environ.get("PTO_CLAUDE_CODE", ""), os.environ.get("PATH"))
        yield "ok", "claude code", f"{program_version(program)} at {program}"


def probe(choice: ModelChoice) -> str:
    """Ask the model for one token. Raises EngineError with what to do."""
    from pto_engines.models.access import Models
    from pto_engines.models.question import Question
    from pto_runtime.clock import SystemClock

    settings = _offer(choice).settings()
    models = Models(SystemClock(), prices=_prices(os.environ))
    try:
        message = {"role": "user", "content": [{"type": "text", "text": PROBE}]}
        models.model(settings).ask(Question(system="", messages=[message], max_tokens=1), time_limit_s=30.0)
    finally:
        models.close()
    return f"{settings.model} answers at {_where(settings)}"


def _offer(choice: ModelChoice) -> "Offer":
    from pto_engines.offer import Offer
    from pto_runtime.clock import SystemClock

    return Offer(os.environ, SystemClock(), service_settings(choice, os.environ))


def _where(settings: "ModelSettings") -> str:
    if settings.provider == "bedrock":
        return settings.base_url or f"Bedrock in {settings.region}"
    return settings.base_url or "Anthropic"


def _prices(environment: Mapping[str, str]) -> "PriceTable":
    from pto_engines.models.prices import prices_with, shipped_prices

    path = environment.get("PTO_PRICES", "")
    return prices_with(Path(path)) if path else shipped_prices()


def _notices(model: str, prices: "PriceTable") -> list[str]:
    from pto_engines.models.prices import model_notice

    notice = model_notice(model, prices)
    return [notice] if notice else []


def _unpayable(model: str, prices: "PriceTable", max_cost_usd: float | None) -> Iterator[str]:
    from pto_proto.results import Usage

    if max_cost_usd is not None and prices.cost_usd(model, Usage()) is None:
        yield (
            f"--max-cost: the price of model {model} is unknown, so the limit cannot be kept; "
            "put the model into a price file (PTO_PRICES), or leave the limit out"
        )


def _sandbox_missing(wish: str) -> Iterator[str]:
    from pto_attempts.confinement import NotConfined
    from pto_cli.access import confinement

    if wish != "none":
        try:
            confinement()
        except NotConfined as error:
            yield str(error)


def _keys_unset(settings: "ModelSettings") -> list[str]:
    """What engines in containers and on nodes need of this machine: nothing but what they ask their model with."""
    from pto_engines.models.credentials import check_credentials

    fault = check_credentials(settings)
    return [] if fault is None else [_what_to_do(fault)]


def _keys_missing(settings: "ModelSettings") -> list[str]:
    """What AWS's own ways of finding credentials say: a profile may have ended, and a role may not be there."""
    if settings.provider != "bedrock" or settings.api_key or settings.aws_access_key_id:
        return []
    from pto_engines.models.credentials import NoCredentials, resolve_keys

    try:
        resolve_keys(settings)
    except NoCredentials as error:
        return [_what_to_do(error.fault)]
    return []


def _what_to_do(fault: "Fault") -> str:
    from pto_engines.models.fault import sort_fault

    found = sort_fault(fault)
    return f"{found.reason}. {found.hint}" if found.hint not in found.reason else found.reason
