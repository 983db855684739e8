"""From what was typed to ``RunOptions``: every check that needs no file, no network and no service.

Imports the core's rules and siblings. Invariant: all that is wrong is said at once, one sentence each, without
repeating a secret; a ``RunOptions`` is something that can be asked for.
"""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_cli.backend_flags import LOCAL, BackendChoice, read_backend
from pto_cli.flags import FLAGS
from pto_cli.model_flags import SIMULATED, ModelChoice, read_models
from pto_core.limits import MAX_COST_USD, MAX_EXECUTORS, MAX_NAME_CHARS, MAX_REQUIREMENT_BYTES, MAX_RETRIES

_SUM = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
_MODEL = re.compile(r"[!-~]+")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What ``orchestrator run`` was asked for."""

    requirement: str = ""
    plan: Path | None = None
    output_dir: Path | None = None
    force: bool = False
    max_executors: int = 5
    max_retries: int = 3
    on_failure: str = "continue"
    on_conflict: str = "fail"
    sandbox: str = "agents"
    models: ModelChoice = SIMULATED
    backend: BackendChoice = LOCAL
    max_cost_usd: float | None = None
    dry_run: bool = False
    approve: bool = False
    reuse: bool = False
    detach: bool = False
    nats_url: str = ""
    json: bool = False
    verbose: bool = False
    quiet: bool = False


def read_options(typed: Namespace, environment: Mapping[str, str]) -> tuple[RunOptions | None, list[str]]:
    """The options, or None and everything that is wrong with them."""
    values = {flag.field: getattr(typed, flag.field) for flag in FLAGS}
    requirement = " ".join(typed.requirements)
    nats_url = environment.get("NATS_URL", "") if values["nats_url"] is None else values["nats_url"]
    models, wrong = read_models(values, environment, is_remote=bool(nats_url))
    backend, misplaced = read_backend(values, environment, is_remote=bool(nats_url))
    problems = [
        *_check_source(typed.requirements, values["plan"]),
        *_check_choices(values),
        *_check_model(values["model"], "--model"),
        *_check_model(values["docker_bedrock_model"], "--docker-bedrock-model"),
        *misplaced,
        *wrong,
        *_check_talk(values),
    ]
    executors = whole_number(values, "max_executors", 1, MAX_EXECUTORS, problems)
    retries = whole_number(values, "max_retries", 0, MAX_RETRIES, problems)
    max_cost = sum_of_money(values["max_cost"], "--max-cost", problems)
    if values["output_dir"] is not None and not values["output_dir"].strip():
        problems.append("--output-dir: is empty; name a folder")
    if problems:
        return None, problems
    options = RunOptions(
        requirement=requirement,
        plan=Path(values["plan"]) if values["plan"] else None,
        output_dir=Path(values["output_dir"]) if values["output_dir"] else None,
        force=values["force"],
        max_executors=executors,
        max_retries=retries,
        on_failure=_value(values, "on_failure"),
        on_conflict=_value(values, "on_conflict"),
        sandbox=_value(values, "sandbox"),
        models=models,
        backend=backend,
        max_cost_usd=max_cost,
        dry_run=values["dry_run"],
        approve=values["approve"],
        reuse=values["reuse"],
        detach=values["detach"],
        nats_url=nats_url,
        json=values["json"],
        verbose=values["verbose"],
        quiet=values["quiet"],
    )
    return options, []


_BY_FIELD = {flag.field: flag for flag in FLAGS}


def _value(values: Mapping[str, Any], field: str) -> str:
    return _BY_FIELD[field].default if values[field] is None else str(values[field])


def whole_number(values: Mapping[str, Any], field: str, low: int, high: int, problems: list[str]) -> int:
    """The number that was typed for the flag, or its default; what is none is added to ``problems``."""
    text = _value(values, field)
    number = int(text) if text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 18 else None
    if number is None or not low <= number <= high:
        problems.append(f"{_BY_FIELD[field].name}: must be a whole number from {low} to {high}, not {text!r}")
        return low
    return number


def sum_of_money(text: str | None, name: str, problems: list[str]) -> float | None:
    """The US dollars that were typed for the flag ``name``; what is no such sum is added to ``problems``."""
    if text is None:
        return None
    amount = float(text) if _SUM.fullmatch(text) else 0.0
    if not 0 < amount <= MAX_COST_USD:
        problems.append(f"{name}: must be a sum in US dollars such as 5 or 0.50, at most {MAX_COST_USD}, not {text!r}")
        return None
    return amount


def _check_model(model: str | None, flag: str) -> Iterator[str]:
    if model is not None and not model.strip():
        yield f"{flag}: is empty; name a model"
    elif model is not None and (len(model) > MAX_NAME_CHARS or not _MODEL.fullmatch(model)):
        yield f"{flag}: {model[:60]!r} is not the id of a model; ids have no blanks"


def _check_source(words: list[str], plan: str | None) -> Iterator[str]:
    requirement = " ".join(words)
    if plan is not None and words:
        yield f"{requirement[:60]!r} and --plan: give either REQUIREMENTS or a plan, not both"
    elif plan is not None:
        if not plan.strip():
            yield "--plan: is empty; name a YAML or JSON file"
    elif not requirement.strip():
        yield 'REQUIREMENTS: is empty; say what is to be built, such as orchestrator "Build a todo list"'
    elif len(words) > 1:
        yield f'REQUIREMENTS: put the text in quotes: orchestrator "{requirement[:60]}"'
    if len(requirement.encode(errors="replace")) > MAX_REQUIREMENT_BYTES:
        yield f"REQUIREMENTS: is longer than {MAX_REQUIREMENT_BYTES} bytes"


def _check_choices(values: Mapping[str, Any]) -> Iterator[str]:
    for flag in FLAGS:
        if flag.choices and values[flag.field] is not None and values[flag.field] not in flag.choices:
            yield f"{flag.name}: must be one of {', '.join(flag.choices)}, not {values[flag.field]!r}"


def _check_talk(values: Mapping[str, Any]) -> Iterator[str]:
    if values["verbose"] and values["quiet"]:
        yield "-v and -q: choose one"
    if values["dry_run"] and values["detach"]:
        yield "--dry-run and --detach: a dry run starts nothing that could be left alone"
