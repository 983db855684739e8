"""``orchestrator run``: checks everything, then hosts the run here or asks for it at a broker.

Imports siblings; what runs is imported when it runs. Invariant: nothing is written before all that was typed and
written is found right.
"""

import json
import sys

from pto_cli.flags import run_parser
from pto_cli.prepare import Prepared, prepare
from pto_cli.problems import EXIT_OK


def main(words: list[str]) -> int:
    """The command."""
    prepared = prepare(words)
    if prepared is None:
        sys.stdout.write(run_parser().format_help())
        return EXIT_OK
    if prepared.options.dry_run:
        return _dry_run(prepared)
    return start(prepared)


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

    from pto_cli.progress import write_lines
    from pto_cli.render import count, plan_lines

    if prepared.loaded is not None:
        plan = prepared.loaded.expanded
        notes = [f"inputs: {count(len(prepared.loaded.inputs), 'file')}"]
    else:
        from pto_cli.host import draft_plan

        draft = draft_plan(prepared.options.requirement, prepared.options.max_executors)
        plan = draft.plan
        notes = [f"SIMULATED; complexity {draft.complexity} of 100: {draft.rationale}"]
    write_lines([json.dumps(msgspec.to_builtins(plan))] if prepared.options.json else plan_lines(plan, notes))
    return EXIT_OK
