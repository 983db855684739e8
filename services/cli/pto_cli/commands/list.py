"""``orchestrator list``: the embedded runs of this machine, or those in a broker's log.

Imports siblings. Invariant: a folder that cannot be read hides no other run.
"""

import asyncio
import json
import os

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_OK
from pto_cli.progress import write_lines
from pto_cli.render import clean, table

KEYS = ("run", "state", "created", "name", "output_dir")


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("list", "List runs, the oldest first.")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    rows = asyncio.run(_remote(typed.nats_url)) if typed.nats_url else _embedded()
    if typed.json:
        write_lines([json.dumps(row) for row in rows])
    elif rows:
        write_lines(table(KEYS, [tuple(clean(row[key], 60) for key in KEYS) for row in rows]))
    else:
        write_lines(['there are no runs; orchestrator "Build a todo list" starts one'])
    return EXIT_OK


def _embedded() -> list[dict[str, str]]:
    from pto_cli.registry import all_runs

    notes = [note for folder in all_runs() if (note := folder.read_note()) is not None]
    return [
        {
            "run": note.run,
            "name": note.name,
            "state": note.state,
            "created": note.created,
            "output_dir": note.output_dir,
        }
        for note in notes
    ]


async def _remote(url: str) -> list[dict[str, str]]:
    from pto_cli.access import open_remote
    from pto_cli.registry import AWAITING
    from pto_proto import events as ev
    from pto_proto.envelope import ProtocolError, decode_event, rfc3339
    from pto_proto.subjects import kind_filter

    access = await open_remote(url, os.environ)
    rows: dict[str, dict[str, str]] = {}
    reviewed: set[str] = set()
    states: dict[type[ev.Entry], str] = {
        ev.RunAccepted: "planning", ev.PlanFinished: AWAITING, ev.PlanSettled: "running",
        ev.RunExecuted: "consolidating", ev.RunCancelling: "cancelling", ev.RunFinished: "",
    }  # fmt: skip
    try:
        for kind, state in states.items():
            for recorded in await access.session.view.read_run(kind_filter(kind)):
                try:
                    event = decode_event(recorded.data)
                except ProtocolError:
                    continue
                for entry in event.entries:
                    if isinstance(entry, ev.RunAccepted):
                        name = entry.request.name or entry.request.requirement
                        created = rfc3339(entry.at)
                        run = str(event.run)
                        if entry.request.approve:
                            reviewed.add(run)
                        rows[run] = {"run": run, "name": name, "state": state, "created": created, "output_dir": ""}
                    elif event.run in rows and (state != AWAITING or event.run in reviewed):
                        rows[event.run]["state"] = getattr(entry, "status", state)
    finally:
        await access.close()
    return list(rows.values())
