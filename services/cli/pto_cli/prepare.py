"""From what was typed to a run that may be asked for: options, plan file and output folder, checked together.

Imports siblings, client and proto. Invariant: nothing is written, and everything that is wrong is said at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pto_cli.flags import FLAGS, Misused, run_parser
from pto_cli.naming import new_run_id, short_name
from pto_cli.options import RunOptions, read_options
from pto_cli.output_dir import check_output_dir
from pto_cli.problems import WrongUse

if TYPE_CHECKING:
    from pto_cli.registry import Dispatchers
    from pto_client.plan_file import LoadedPlan
    from pto_proto.plans import Plan
    from pto_proto.requests import RunRequested


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that may be asked for."""

    options: RunOptions
    name: str
    loaded: "LoadedPlan | None" = None
    again: "RunRequested | None" = None
    """What an earlier run was asked for with, to be asked for again; its inputs are stored."""
    plan: "Plan | None" = None
    """The plan of that run."""

    def sources(self) -> "tuple[Plan | None, tuple[tuple[str, Path], ...]]":
        """Plan and input files that must be stored before the request is sent."""
        return (self.loaded.plan, self.loaded.inputs) if self.loaded is not None else (self.plan, ())

    def dispatchers(self) -> "Dispatchers":
        """Those that it needs when it is hosted on this machine."""
        from pto_cli.dispatchers import needed

        return needed(self.options.backend, self.expanded)

    @property
    def plans_here(self) -> bool:
        """Whether an engine of this process makes the plan."""
        return self.expanded is None and not self.options.backend.planner_backend

    @property
    def expanded(self) -> "Plan | None":
        """The plan that is there already, with its matrices written out."""
        return self.loaded.expanded if self.loaded is not None else self.plan

    def request(self) -> "RunRequested":
        """The request, under a new run id, without what must be stored first."""
        import msgspec

        from pto_proto.ids import RunId
        from pto_proto.requests import RunRequested

        options = self.options
        if self.again is not None:
            return msgspec.structs.replace(self.again, run=RunId(new_run_id(self.name)))
        return RunRequested(
            run=RunId(new_run_id(self.name)),
            name=self.name,
            requirement=options.requirement,
            max_executors=options.max_executors,
            max_retries=options.max_retries,
            backend=options.backend.lane,
            planner_backend=options.backend.planner_backend,
            resources=options.backend.resources,
            slurm=options.backend.slurm,
            gpu_partition=options.backend.gpu_partition,
            docker=options.backend.docker,
            model=options.models.model,
            max_cost_usd=options.max_cost_usd,
            engine=options.models.engine,  # type: ignore[arg-type]  # read_options has checked the words
            on_failure=options.on_failure,  # type: ignore[arg-type]
            on_conflict=options.on_conflict,  # type: ignore[arg-type]
            sandbox=options.sandbox,  # type: ignore[arg-type]
            reuse=options.reuse and bool(options.nats_url),
            approve=options.approve,
        )


def prepare(words: list[str]) -> Prepared | None:
    """Everything that was typed and written, checked. None: help was asked for. Raises WrongUse with all problems."""
    try:
        typed, unknown = run_parser().parse_known_args(words)
    except Misused as error:
        raise WrongUse(str(error)) from error
    if typed.help:
        return None
    problems = [_unknown_flag(word) for word in unknown if word.startswith("-")]
    if problems:
        typed.requirements = typed.requirements[:1]  # the others may be values of what is not known
    options, wrong = read_options(typed, os.environ)
    problems += wrong
    loaded = _read_plan(typed.plan, problems)
    if typed.output_dir:
        keep = (Path(typed.plan),) if typed.plan else ()
        problems += check_output_dir(Path(typed.output_dir), force=typed.force, keep=keep)
    if problems or options is None:
        raise WrongUse(*problems)
    name = (loaded.plan.name or options.plan.stem) if loaded and options.plan else short_name(options.requirement)
    return Prepared(options=options, name=name, loaded=loaded)


def _read_plan(path: str | None, problems: list[str]) -> "LoadedPlan | None":
    if not path:
        return None
    from pto_client.plan_file import PlanFileError, read_plan_file

    try:
        return read_plan_file(Path(path))
    except PlanFileError as error:
        problems += [str(problem) for problem in error.problems]
        return None


def _unknown_flag(word: str) -> str:
    from difflib import get_close_matches

    name = word.partition("=")[0]
    near = get_close_matches(name, [flag.name for flag in FLAGS], n=1)
    return f"{name}: there is no such flag" + (f"; did you mean {near[0]}?" if near else "")
