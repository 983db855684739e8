"""The tables of a measurement, as text in rows; terminal and page show the same ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .figures import Figure, Spread, figures, first
from .meter import Record
from .warm import PEER

NOTHING = "-"
DISTURBED = " ~"
"""Behind a figure whose repeats were all disturbed by others."""


@dataclass(frozen=True)
class Table:
    """One table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Measure:
    """What a column says about a system."""

    name: str
    unit: str
    workload: str
    field: str
    is_more_better: bool = False

    @property
    def head(self) -> str:
        return f"{self.name} {self.unit}".strip()


COMPARED = (
    Measure("W1", "tasks/s", "W1", "rate", is_more_better=True),
    Measure("W2", "ms per hop", "W2", "ms_per_task"),
    Measure("W3", "tasks/s", "W3", "rate", is_more_better=True),
    Measure("W4", "processes/s", "W4", "rate", is_more_better=True),
    Measure("W5a", "/ bound", "W5a", "over_lower"),
    Measure("W5b", "/ bound", "W5b", "over_lower"),
    Measure("W5 cold", "s", "W5cold", "seconds"),
    Measure("first task", "s", "W6", "cold_s"),
    Measure("idle", "PSS MB", "W6", "pss_mb"),
)
SCALES = ("S1", "S2", "S3", "S4", "S5", "rebuild")


def tables(records: Iterable[Record]) -> list[Table]:
    """All that these records have something to say about."""
    found = figures(records)
    ours = [figure for figure in found if figure.peer == PEER]
    made = [
        _detail(
            "Ours",
            [figure for figure in ours if figure.workload != "W7" and figure.workload not in SCALES],
        ),
        _restarts([figure for figure in found if figure.workload == "W7"]),
        _detail("Scale", [figure for figure in ours if figure.workload in SCALES]),
    ]
    if any(_value(found, peer, measure) is not None for peer in _peers(found) if peer != PEER for measure in COMPARED):
        made = [_beside(found), _ratios(found), *made]
    return [table for table in made if table.rows]


def _beside(found: list[Figure]) -> Table:
    rows = []
    for peer in _peers(found):
        said = (figure.records[0].get("durable") for figure in found if figure.peer == peer)
        durable = next(filter(None, said), NOTHING)
        rows.append([peer, durable, *(_cell(found, peer, measure) for measure in COMPARED)])
    return Table("Beside other systems", ["system", "survives kill -9", *(measure.head for measure in COMPARED)], rows)


def _ratios(found: list[Figure]) -> Table:
    rows = []
    for peer in _peers(found):
        if peer == PEER:
            continue
        cells = []
        for measure in COMPARED:
            own, other = _value(found, PEER, measure), _value(found, peer, measure)
            ratio = None if own is None or other is None or not own or not other else other / own
            if ratio is not None and measure.is_more_better:
                ratio = 1 / ratio
            cells.append(NOTHING if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}")
        rows.append([peer, *cells])
    return Table(
        "How many times better than (below 1: worse)",
        ["system", *(measure.name for measure in COMPARED)],
        rows,
    )


def _detail(title: str, found: Sequence[Figure]) -> Table:
    columns = [
        "workload",
        "variant",
        "n",
        "M",
        "repeats",
        "seconds",
        "per second",
        "ms per task",
        "CPU µs per task",
        "loop ms",
        "others",
    ]
    rows = []
    for figure in found:
        rate, per_task, used = (figure.spread(field) for field in ("rate", "ms_per_task", "cpu_us_per_task"))
        loop, others = figure.median("calib_s"), figure.median("other_cores")
        rows.append([
            figure.workload, figure.variant, f"{figure.n:,}", f"{figure.workers:,}", str(len(figure.records)),
            _shown(figure.spread("seconds")) + (DISTURBED if figure.is_disturbed else ""), _median(rate), _median(per_task),
            _median(used), f"{(loop or 0) * 1000:.0f}", f"{others or 0:.2f}",
        ])  # fmt: skip
    return Table(title, columns, rows)


def _restarts(found: Sequence[Figure]) -> Table:
    columns = ["system", "W7", "n", "repeats", "first new task s", "all done s", "lost", "repeated"]
    rows = []
    for figure in found:
        worst = {field: max(int(record[field]) for record in figure.records) for field in ("lost", "repeated")}
        rows.append([
            figure.peer, figure.variant, f"{figure.n:,}", str(len(figure.records)),
            _shown(figure.spread("first_new_s")), _shown(figure.spread("done_after_restart_s")), str(worst["lost"]), str(worst["repeated"]),
        ])  # fmt: skip
    return Table("Killed half-way and started again", columns, rows)


def _peers(found: Iterable[Figure]) -> list[str]:
    return list(dict.fromkeys(figure.peer for figure in found))


def _figure(found: Iterable[Figure], peer: str, measure: Measure) -> Figure | None:
    return first(found, lambda figure: figure.peer == peer and figure.workload == measure.workload)


def _value(found: Iterable[Figure], peer: str, measure: Measure) -> float | None:
    figure = _figure(found, peer, measure)
    return None if figure is None else figure.median(measure.field)


def _cell(found: Iterable[Figure], peer: str, measure: Measure) -> str:
    figure = _figure(found, peer, measure)
    if figure is None:
        return NOTHING
    return _median(figure.spread(measure.field)) + (DISTURBED if figure.is_disturbed else "")


def _shown(spread: Spread | None) -> str:
    return NOTHING if spread is None else spread.shown()


def _median(spread: Spread | None) -> str:
    return NOTHING if spread is None else Spread(spread.median, spread.median, spread.median).shown()
