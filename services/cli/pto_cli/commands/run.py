"""``orchestrator run``: checks everything, then hosts the run here or asks for it at a broker.

Imports siblings; what runs is imported when it runs. Invariant: nothing is written before all that was typed and
written is found right.
"""

import json
import sys
from dataclasses import replace

from pto_cli.flags import run_parser
from pto_cli.prepare import Prepared, prepare
from pto_cli.problems import EXIT_OK, Unavailable, complain
from pto_cli.registry import LOCAL_ONLY
from pto_proto.ids import LANE_LOCAL


def main(words: list[str]) -> int:
    """The command."""
    prepared = prepare(words)
    if prepared is None:
        sys.stdout.write(run_parser().format_help())
        return EXIT_OK
    prepared = with_models(prepared)
    check_backends(prepared)
    if prepared.options.dry_run:
        return _dry_run(prepared)
    return start(prepared)


def with_models(prepared: Prepared) -> Prepared:
    """The same with its model's name, when all is there that its engine needs; the services of a broker check that
    themselves. Raises Unavailable.
    """
    options = prepared.options
    notices, models = list(options.models.notices), options.models
    if models.asks_model and (not options.nats_url or options.dry_run):
        from pto_cli.engines import get_ready

        # Whoever runs agents elsewhere confines them there.
        runs_here = LANE_LOCAL in prepared.dispatchers().lanes
        sandbox = options.sandbox if runs_here else "none"
        models, notices = get_ready(
            models, sandbox=sandbox, max_cost_usd=options.max_cost_usd, is_here=runs_here or prepared.plans_here
        )
    if not options.quiet:
        complain(notices)
    return replace(prepared, options=replace(options, models=models))


def check_backends(prepared: Prepared) -> None:
    """Ask the backends of this machine whether they can take the tasks; a broker's dispatchers are asked by nobody.

    Raises WrongUse, Unavailable, BadSettings.
    """
    options = prepared.options
    notices = list(options.backend.notices)
    if not options.nats_url and prepared.dispatchers() != LOCAL_ONLY:
        from pto_cli import preflight

        try:
            notices += preflight.check_backends(prepared)
        except Unavailable as error:
            if not options.dry_run:
                raise
            notices += str(error).splitlines()
    if not options.quiet:
        complain(notices)


def start(prepared: Prepared) -> int:
    """Run it: at a broker, in the background, or here."""
    if prepared.options.nats_url:
        from pto_cli.loop import run_loop
        from pto_cli.remote import run_there

        return run_loop(lambda stop: run_there(prepared, stop))
    if prepared.options.detach:
        from pto_cli.background import start_in_background

        return start_in_background(prepared)
    from pto_cli.embedded import run_here

    return run_here(prepared)


def _dry_run(prepared: Prepared) -> int:
    """Show the plan; nothing is started, nothing written."""
    import msgspec

    from pto_cli.dispatchers import needed
    from pto_cli.naming import new_run_id
    from pto_cli.progress import write_lines
    from pto_cli.render import count, plan_lines

    if prepared.loaded is not None:
        plan = prepared.loaded.expanded
        notes = [f"inputs: {count(len(prepared.loaded.inputs), 'file')}"]
    else:
        from pto_cli.engines import draft_plan

        options = prepared.options
        draft = draft_plan(options.models, options.requirement, options.max_executors)
        plan = draft.plan
        by = f"made by {draft.model}{_cost(draft.cost_usd)}" if draft.model else "SIMULATED"
        notes = [f"{by}; complexity {draft.complexity} of 100: {draft.rationale}"]
    if prepared.options.json:
        write_lines([json.dumps(msgspec.to_builtins(plan))])
        return EXIT_OK
    write_lines(plan_lines(plan, notes))
    if not prepared.options.nats_url and needed(prepared.options.backend, plan) != LOCAL_ONLY:
        from pto_cli.preflight import dry_run_lines
        from pto_proto.ids import RunId

        write_lines(dry_run_lines(prepared.options.backend, plan, RunId(new_run_id(prepared.name))))
    return EXIT_OK


def _cost(usd: float | None) -> str:
    return " at an unknown cost" if usd is None else f" for ${usd:.2f}"
