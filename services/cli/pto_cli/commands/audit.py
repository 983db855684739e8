"""``orchestrator audit``: the log of a run, or of a whole broker, folded from zero and held against its promises.

Imports siblings. Invariant: it changes nothing; exit 0 means that nothing was found, 1 that something was.
"""

import asyncio
import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any, NamedTuple

from pto_cli.arguments import command_parser, parse, reach
from pto_cli.problems import EXIT_NOT_SUCCEEDED, EXIT_OK, WrongUse

if TYPE_CHECKING:
    from pto_client.auditor import Auditor, Compared

MAX_SHOWN = 10
"""Findings of one check that are written out; ``--json`` has all."""
_MARKS = {True: "ok", False: "FAILED", None: "-"}


class Line(NamedTuple):
    """One check: what came of it (None: it could not be made), its figures, and what was found."""

    check: str
    ok: bool | None
    what: str
    findings: tuple[dict[str, Any], ...] = ()


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser(
        "audit",
        "Fold the log of RUN, or with --nats-url the broker's whole log, from zero: compare with what a live scheduler "
        "knows, and check what was promised.",
    )
    parser.add_argument("run", metavar="RUN", nargs="?", default=None, help="a run on this machine")
    parser.add_argument("--blobs", action="store_true", help="also look for every blob that a success names")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    if typed.run is None and not typed.nats_url:
        raise WrongUse("audit: name a RUN of this machine, or a broker with --nats-url; `orchestrator list` shows runs")
    if typed.run is not None and typed.nats_url:
        raise WrongUse("audit: a broker's log is checked as a whole: leave out RUN, or --nats-url (env NATS_URL)")
    return asyncio.run(_audit(typed))


async def _audit(typed: Namespace) -> int:
    from pto_cli.progress import write_lines
    from pto_client.auditor import Auditor, missing_blobs
    from pto_runtime.clock import SystemClock

    async with reach(typed) as access:
        auditor = Auditor(access.session.view, SystemClock())
        if access.host is None:  # else the broker was started just now, and nothing on it
            await auditor.ask(access.session.live)
        await auditor.fold()
        if typed.run is not None and typed.run not in auditor.audit.books:
            raise WrongUse(f"the log knows no run {typed.run!r}")
        missing = await missing_blobs(access.blobs, auditor.audit.blobs()) if typed.blobs else None
    lines = [*_promises(auditor), _blobs(auditor, missing), *_live(auditor)]
    ok = all(line.ok is not False for line in lines)
    if typed.json:
        write_lines([json.dumps(_as_json(auditor, lines, ok))])
    else:
        write_lines(_as_text(lines, ok))
    return EXIT_OK if ok else EXIT_NOT_SUCCEEDED


# --- what was found --------------------------------------------------------------------------------------------------


def _promises(auditor: "Auditor") -> list[Line]:
    from pto_core.audit import CHECKS

    audit = auditor.audit
    lines = []
    for check, promise in CHECKS.items():
        found = tuple(
            {"sequence": finding.seq, "run": finding.run, "what": finding.what}
            for finding in audit.findings
            if finding.check == check
        )
        lines.append(Line(check, not found, promise if found else _figures(auditor, check), found))
    return lines


def _figures(auditor: "Auditor", check: str) -> str:
    audit = auditor.audit
    books = audit.books.values()
    ended = [book for book in books if book.finished is not None]
    if check == "sequences":
        return f"{audit.first_seq:,} to {audit.seq:,} without a gap"
    if check == "events":
        return f"{audit.entries:,} entries in {audit.events:,} events, all readable and fitting"
    if check == "epochs":
        return f"{audit.epochs} in order, nothing of an older one after a newer one"
    if check == "executors":
        most = max(books, key=lambda book: book.most_out, default=None)
        at_most = f"at most {most.most_out} attempts out, {most.executors} allowed" if most is not None else "no run"
        return at_most if len(books) < 2 else f"{at_most} in the busiest of {len(books)} runs"
    if check == "hand-outs":
        return f"{audit.attempts:,} attempts, none twice, none after its run's end; {audit.repeats} repeated entries"
    if check == "results":
        return f"{sum(len(book.done) for book in books):,} successes, each applied once; {audit.late} late ends ignored"
    if check == "outcomes":
        only = ended[0].finished if len(ended) == 1 else None
        digest = f", {only.outcome_digest[:12]}" if only is not None and only.outcome_digest else ""
        return f"{len(ended)} of {len(books)} runs ended, with the outcome of their tasks{digest}"
    return "what each attempt depends on had succeeded before it"


def _blobs(auditor: "Auditor", missing: list[str] | None) -> Line:
    count = len(auditor.audit.blobs())
    if missing is None:
        return Line("blobs", None, f"{count:,} are named by successes; --blobs looks for them")
    if not missing:
        return Line("blobs", True, f"all {count:,} that successes name are there, as they were stored")
    return Line(
        "blobs", False, f"{len(missing):,} of {count:,} are missing", tuple({"what": sentence} for sentence in missing)
    )


def _live(auditor: "Auditor") -> list[Line]:
    if not auditor.compared:
        return [Line("live", None, f"no live scheduler to compare with; from zero: {_state(auditor)}")]
    return [_compared(item) for item in auditor.compared]


def _compared(item: "Compared") -> Line:
    who = f"scheduler {item.shown.instance} ({item.shown.role})"
    if item.problem:
        return Line("live", None, f"{who} could not be compared: {item.problem}")
    place = f"at sequence {item.shown.seq:,}"
    if item.agrees:
        return Line("live", True, f"{who} knows the same {place}: {item.digest[:12]}")
    found = [{"run": run, "what": "differs"} for run in item.differing] or [{"what": "what differs is in no run"}]
    what = f"{who} has {item.shown.digest[:12]} {place}, from zero it is {item.digest[:12]}"
    return Line("live", False, what, tuple(found))


def _state(auditor: "Auditor") -> str:
    from pto_core.snapshot import digest

    return f"{digest(auditor.audit.state)[:12]} at sequence {auditor.audit.seq:,}"


# --- how it is said --------------------------------------------------------------------------------------------------


def _as_text(lines: list[Line], ok: bool) -> list[str]:
    from pto_cli.render import clean

    shown = []
    for line in lines:
        shown.append(f"{_MARKS[line.ok]:<8}{line.check:<14}{clean(line.what)}")
        for found in line.findings[:MAX_SHOWN]:
            place = [f"sequence {found['sequence']:,}"] if "sequence" in found else []
            place += [f"run {found['run']}"] if found.get("run") else []
            shown.append(" " * 22 + clean(": ".join(filter(None, [", ".join(place), found["what"]]))))
        if len(line.findings) > MAX_SHOWN:
            shown.append(" " * 22 + f"and {len(line.findings) - MAX_SHOWN:,} more; --json shows all")
    return [*shown, "all is well" if ok else "promises are broken: see what failed above"]


def _as_json(auditor: "Auditor", lines: list[Line], ok: bool) -> dict[str, Any]:
    from pto_core.snapshot import digests

    audit = auditor.audit
    found = digests(audit.state)
    return {
        "ok": ok,
        "sequence": audit.seq,
        "events": audit.events,
        "entries": audit.entries,
        "attempts": audit.attempts,
        "repeats": audit.repeats,
        "late": audit.late,
        "digest": found.state,
        "runs": found.runs,
        "checks": [line._asdict() for line in lines],
        "live": [
            {
                "instance": item.shown.instance,
                "role": item.shown.role,
                "sequence": item.shown.seq,
                "digest": item.shown.digest,
                "from_zero": item.digest,
                "agrees": item.agrees,
                "differing": item.differing,
                "problem": item.problem,
            }
            for item in auditor.compared
        ],
    }
