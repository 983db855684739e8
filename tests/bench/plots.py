"""``python -m tests.bench.plots RECORDS FOLDER``: the pictures of docs/performance.md, in the environment that can draw.

Standard library and matplotlib only. Invariant: the same records give the same bytes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from .figures import Figure, figures

OURS = "orchestrator"
OUR_COLOUR, SECOND_COLOUR = "#c2410c", "#0f766e"
KEEPING_COLOUR, FORGETTING_COLOUR = "#475569", "#cbd5e1"
LEGEND = {
    OUR_COLOUR: "orchestrator",
    KEEPING_COLOUR: "keeps its queue or its steps over a kill -9",
    FORGETTING_COLOUR: "keeps nothing",
}
PANELS = (
    ("W1", "ms_per_task", "W1 bag: ms per task"),
    ("W2", "ms_per_task", "W2 chain: ms per hop"),
    ("W3", "ms_per_task", "W3 layers: ms per task"),
    ("W4", "ms_per_task", "W4 processes: ms per task"),
    ("W6", "cold_s", "W6 first task: s"),
    ("W6", "pss_mb", "W6 idle: MB (PSS)"),
)
COLUMNS = 3


def against_peers(found: Sequence[Figure], file: Path) -> None:
    """A panel per workload, a bar per system, the best on top; shorter is better everywhere."""
    rows = -(-len(PANELS) // COLUMNS)
    keeping = {figure.peer for figure in found if figure.records[0].get("durable", "no") != "no"}
    picture, panels = pyplot.subplots(rows, COLUMNS, figsize=(11, 2.9 * rows), layout="constrained")
    for panel, (workload, field, title) in zip(panels.flat, PANELS, strict=True):
        values: dict[str, float] = {}
        for figure in found:
            value = figure.median(field)
            if figure.workload == workload and value:
                values.setdefault(figure.peer, value)
        bars(panel, values, title, keeping)
    picture.legend(
        handles=[Patch(color=colour, label=label) for colour, label in LEGEND.items()],
        loc="outside lower center", ncols=len(LEGEND), frameon=False, fontsize=8,
    )  # fmt: skip
    picture.suptitle("Shorter is better; logarithmic", fontsize=9, x=0.01, ha="left")
    save(picture, file)


def bars(panel: Axes, values: dict[str, float], title: str, keeping: set[str]) -> None:
    names = sorted(values, key=lambda name: values[name], reverse=True)
    colours = [
        OUR_COLOUR if name == OURS else KEEPING_COLOUR if name in keeping else FORGETTING_COLOUR for name in names
    ]
    drawn = panel.barh(names, [values[name] for name in names], color=colours)
    panel.bar_label(drawn, labels=[f"{values[name]:.3g}" for name in names], padding=3, fontsize=8)
    panel.set_title(title, fontsize=10, loc="left")
    if values:
        panel.set_xscale("log")
        panel.set_xlim(min(values.values()) / 2, max(values.values()) * 4)
    panel.get_xaxis().set_visible(False)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right", "bottom"]].set_visible(False)


def cost_by_size(found: Sequence[Figure], file: Path) -> None:
    """What a task costs in ever longer runs (S1)."""
    picture, panels = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for panel, field, title in (
        (panels[0], "ms_per_task", "ms per task"),
        (panels[1], "cpu_us_per_task", "CPU µs per task, all processes"),
    ):
        for variant, colour in (("bag", OUR_COLOUR), ("layers", SECOND_COLOUR)):
            points = sorted(
                (figure.n, spread)
                for figure in found
                if figure.workload == "S1" and figure.variant == variant and (spread := figure.spread(field))
            )
            sizes, spreads = [n for n, _ in points], [spread for _, spread in points]
            panel.plot(sizes, [spread.median for spread in spreads], marker="o", color=colour, label=variant)
            panel.fill_between(
                sizes, [spread.low for spread in spreads], [spread.high for spread in spreads], color=colour, alpha=0.15
            )
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_xlabel("tasks of the run", fontsize=9)
        panel.set_title(title, fontsize=10, loc="left")
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    save(picture, file)


def save(picture: pyplot.Figure, file: Path) -> None:
    picture.savefig(file, metadata={"Date": None, "Creator": None})
    pyplot.close(picture)
    print(file.name)


def main(records: Path, folder: Path) -> None:
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif"})
    found = figures(json.loads(line) for line in records.read_text().splitlines() if line)
    if any(figure.peer != OURS for figure in found):
        against_peers(found, folder / "performance-peers.svg")
    if any(figure.workload == "S1" for figure in found):
        cost_by_size(found, folder / "performance-size.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
