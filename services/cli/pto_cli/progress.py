"""Shows a run while it goes on: a live picture on a terminal, one line per change without, JSON lines, or nothing.

Imports render and siblings; rich only for the live picture. Invariant: showing never ends a run; when nobody reads any
more, the run goes on quietly.
"""

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from pto_cli.event_lines import event_lines
from pto_cli.render import clean, counts_line, duration, is_simulated, money_line, slot_rows, state_of, waiting_lines
from pto_client.follower import Seen
from pto_core.transitions import ENDED_STATES
from pto_core.views import RunView
from pto_proto import events as ev

if TYPE_CHECKING:
    from rich.console import RenderableType

REDRAW_S = 0.1
"""Shortest time between two pictures; more often costs more than it shows."""
MAX_SLOTS_SHOWN = 12
"""Executors shown one by one."""
MAX_NEWS_LINES = 200
"""Lines of news about one batch on a terminal, so that a flood of tiny tasks stays readable."""
_LOUD = (ev.TaskFinished, ev.TaskRetryScheduled, ev.RunPaused, ev.AttemptLost, ev.LanePaused, ev.RunCancelling)


class Progress(Protocol):
    """A way of showing a run."""

    def take(self, view: RunView, seen: Seen) -> None:
        """Called with each event, right after the view has taken it in."""

    def say(self, line: str) -> None:
        """A line that belongs to no event."""

    def show(self, view: RunView) -> None:
        """Called after each batch of events, and a few times a second without."""

    def close(self) -> None:
        """The run is not shown for now; ``show`` goes on with it."""


def make_progress(*, json: bool = False, quiet: bool = False, verbose: bool = False) -> Progress:
    """What fits these wishes and standard output."""
    if json:
        return JsonLines()
    if quiet:
        return Quiet()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not verbose:
        return LivePicture()
    return PlainLines()


class Quiet:
    """Shows nothing."""

    def take(self, view: RunView, seen: Seen) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def show(self, view: RunView) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing to end."""


class _Lines:
    """Collects lines event by event and writes them batch by batch."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def take(self, view: RunView, seen: Seen) -> None:
        """Collect the lines of this event."""
        self._lines += self._lines_of(view, seen)

    def say(self, line: str) -> None:
        """Nothing: what is written is the log's."""

    def show(self, view: RunView) -> None:
        """Write what was collected."""
        lines, self._lines = self._lines, []
        write_lines(lines)

    def close(self) -> None:
        """Write what is left."""
        write_lines(self._lines)
        self._lines = []

    def _lines_of(self, view: RunView, seen: Seen) -> Iterable[str]:
        raise NotImplementedError


class PlainLines(_Lines):
    """One line per change, as it comes."""

    def _lines_of(self, view: RunView, seen: Seen) -> Iterable[str]:
        return event_lines(view, seen.event) if seen.event is not None else ()

    def say(self, line: str) -> None:
        """Keep it for the next batch."""
        self._lines.append(line)


class JsonLines(_Lines):
    """The envelopes as they are in the log, one per line."""

    def _lines_of(self, view: RunView, seen: Seen) -> Iterable[str]:
        return (seen.recorded.data.decode(),)


def write_lines(lines: list[str]) -> None:
    """Write to standard output; when its reader has gone, nobody is disturbed."""
    if not lines:
        return
    try:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LivePicture:
    """What runs in which slot, what waits for what, and how much is done; failures stay above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._drawn = 0.0
        self._loud: list[str] = []

    def take(self, view: RunView, seen: Seen) -> None:
        """Keep what must not get lost."""
        if seen.event is not None and seen.event.kind in _LOUD:
            self._loud += [line for line in event_lines(view, seen.event) if " succeeded after " not in line]

    def say(self, line: str) -> None:
        """Keep it for the next picture."""
        self._loud.append(line)

    def show(self, view: RunView) -> None:
        """Print what must not get lost, then draw."""
        self._live.start()
        for line in self._loud[:MAX_NEWS_LINES]:
            self._console.print(line, markup=False)
        self._loud.clear()
        now = time.monotonic()
        if now - self._drawn >= REDRAW_S or view.finished is not None:
            self._drawn = now
            self._live.update(picture(view, time.time_ns() // 1_000_000), refresh=True)

    def close(self) -> None:
        """Clear the picture."""
        self._live.stop()


def picture(view: RunView, now: int) -> "RenderableType":
    """The picture of one moment."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    run = view.run
    if run is None:
        return Text("asking ...")
    head = Text(clean(run.request.name or run.request.requirement, 60), style="bold")
    head.append(f"  {run.id}  {state_of(view)}  {duration((now - run.accepted_at) / 1000)}", style="not bold")
    if is_simulated(view):
        head.append("  SIMULATED", style="bold yellow")
    parts: list[Any] = [head]
    slots = Table.grid(padding=(0, 2))
    busy = {slot: (what, time) for slot, what, time in slot_rows(view, now)}
    if -1 in busy:
        slots.add_row("", *busy.pop(-1))
    for slot in range(min(run.max_executors, MAX_SLOTS_SHOWN) if run.settled else 0):
        what, since = busy.get(slot, ("-", ""))
        slots.add_row(Text(f"executor {slot}", style="cyan"), Text(what, style="" if slot in busy else "dim"), since)
    more = sum(slot >= MAX_SLOTS_SHOWN for slot in busy)
    if more:
        slots.add_row("", f"and {more} more busy", "")
    parts.append(slots)
    parts += [Text(f"  {line}", style="dim") for line in waiting_lines(view, now)]
    if run.tasks:
        parts.append(_bar(sum(run.counts.get(state, 0) for state in ENDED_STATES), len(run.tasks), counts_line(run)))
    if money := money_line(view):
        parts.append(Text(money))
    return Group(*parts)


def _bar(done: int, total: int, text: str) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    row = Table.grid(padding=(0, 2))
    row.add_row(ProgressBar(total=total, completed=done, width=30), text)
    return row
