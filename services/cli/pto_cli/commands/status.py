"""``orchestrator status RUN``: the state of a run and of its tasks, now.

Imports siblings. Invariant: it changes nothing.
"""

import asyncio
import json
from argparse import Namespace
from typing import TYPE_CHECKING

from pto_cli.arguments import command_parser, parse, reach_view
from pto_cli.problems import EXIT_OK

if TYPE_CHECKING:
    from pto_core.spending import Spending


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("status", "Show the state of a run and its tasks.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    typed = parse(parser, words)
    return EXIT_OK if typed is None else asyncio.run(_status(typed))


async def _status(typed: Namespace) -> int:
    from pto_cli.absent import absent_lanes, lane_lines, look
    from pto_cli.conduct import now_ms
    from pto_cli.progress import write_lines
    from pto_cli.render import state_of, status_lines
    from pto_cli.review import awaits_review, how_to_answer
    from pto_core.money import dollars
    from pto_core.spending import of_attempts, of_run

    async with reach_view(typed) as (access, follower):
        view = follower.view
        is_idle = access.host is not None and view.run is not None and not view.run.ended
        waited_for = {} if is_idle else await look(access, view, now_ms())
        if not typed.json:
            lines = status_lines(view, now_ms())
            if awaits_review(view):
                lines.append(how_to_answer(typed.run, is_remote=bool(typed.nats_url)))
            elif is_idle:
                lines.append(f"nobody hosts this run; `orchestrator resume {typed.run}` picks it up")
            write_lines([*lines, *lane_lines(waited_for, now_ms()).values()])
            return EXIT_OK
        reused = view.run.reused if view.run is not None else {}
        tasks = [
            {
                "id": task.spec.id,
                "state": task.state.value,
                "attempts": len(view.attempts.get(task.spec.id, ())),
                "round": task.round,
                "reason": task.reason,
                **_spent(of_attempts(view.attempts.get(task.spec.id, ()))),
                "reused_from": reused[task.spec.id].source_run if task.spec.id in reused else "",
            }
            for task in (view.run.tasks if view.run is not None else ())
        ]
        limit = view.run.money.limit if view.run is not None else None
        money = {**_spent(of_run(view)), "max_cost_usd": None if limit is None else dollars(limit)}
        found = {
            "run": typed.run,
            "state": state_of(view),
            "absent_lanes": absent_lanes(waited_for),
            **money,
            "tasks": tasks,
        }
        if awaits_review(view) and view.run is not None and view.run.plan is not None:
            found["plan_digest"] = view.run.plan.plan_digest
        write_lines([json.dumps(found)])
    return EXIT_OK


def _spent(spent: "Spending") -> dict[str, object]:
    from pto_core.spending import tokens

    return {
        "cost_usd": spent.cost_usd,
        "known_cost_usd": spent.known_usd,
        "unknown_costs": spent.unknown,
        "reserved_usd": spent.reserved_usd,
        "tokens": tokens(spent.usage),
    }
