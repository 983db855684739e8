"""What a cluster of 10,000 nodes would do to the system: measured costs, a model, and what the model says.

    python -m tests.bench.scaling [--write-docs] [--json FILE]

Takes about a minute. ``--write-docs`` puts the tables between the markers of ``docs/scaling.md``; ``--json`` keeps the
costs. The costs and the real runs are of this machine and move with it; the model itself is exact and tested.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import scaling_broker, scaling_costs
from .quality import between
from .scaling_model import Cost, Found, Measured, Rest, Site, simulate

DOCS = Path(__file__).resolve().parents[2] / "docs"
POINTS = ((1_000, 20_000), (100, 10_000), (16, 4_000))
"""Executors and tasks of the real runs; the first also gives the rest of each process."""
CORES = 2
NODES = 10_000
LENGTHS_S = (0.0, 1.0, 10.0, 60.0)
ROUNDS = 4
"""Tasks per node in the model, after which it is steady."""
SITES = {
    "one lane, one server": Site(NODES),
    "one lane, 3 servers": Site(NODES, replicas=3),
    "20 lanes of 500 nodes, 3 servers": Site(NODES, lanes=20, replicas=3),
    "200 lanes of 50 nodes, 3 servers": Site(NODES, lanes=200, replicas=3),
    "20 lanes, 3 servers, reports collected for 50 ms": Site(NODES, lanes=20, replicas=3, collect_s=0.05),
    "one lane shared by 20 dispatchers, 3 servers": Site(NODES, per_lane=20, replicas=3),
    "4 logs with 5 lanes each, 3 servers": Site(NODES, lanes=20, replicas=3, logs=4),
}


class Checked(NamedTuple):
    """A real run and what the model says about it."""

    real: Measured
    found: Found


def measure_cost() -> tuple[Cost, list[Checked]]:
    """Costs of the pieces, the real runs, and from the first of them the rest of each process."""
    # Only here, because it starts services like the chaos tests do, and the model's own tests need none.
    from . import scaling_measured

    cost = Cost(scaling_costs.measure(), asyncio.run(scaling_broker.measure()))
    runs = asyncio.run(scaling_measured.measure(POINTS))
    cost = cost._replace(rest=rest_of(cost, runs[0]))
    return cost, [Checked(run, simulate(_site_of(run), cost, 0.0, run.tasks)) for run in runs]


def rest_of(cost: Cost, run: Measured) -> Rest:
    """What the whole processes took per task in this run beyond what the model knows of."""
    known = simulate(_site_of(run), cost, 0.0, run.tasks)
    micros = known.seconds / run.tasks * 1e6
    return Rest(
        max(0.0, run.scheduler_us - known.scheduler * micros),
        max(0.0, run.broker_us - known.broker * micros),
        max(0.0, run.dispatcher_us - known.dispatcher * micros),
    )


def _site_of(run: Measured) -> Site:
    return Site(run.executors, cores=CORES, is_one_run=True, others_us=run.others_us)


def costs_table(cost: Cost, run: Measured) -> list[str]:
    pure, bus, rest = cost.pure, cost.bus, cost.rest
    stages = ", ".join(f"{name} {value:.1f}" for name, value in pure.stages._asdict().items())
    rows = [
        ("scheduler, per tick", f"{pure.scheduler.batch_us:.0f} us"),
        ("scheduler, per task (three entries)", f"{pure.scheduler.item_us:.1f} us: {stages}"),
        ("scheduler, per tick and attempt that is out", f"{pure.open_us:.3f} us"),
        ("dispatcher, per batch of orders", f"{pure.dispatcher.batch_us:.0f} us"),
        ("dispatcher, per task (read, start, report, read back)", f"{pure.dispatcher.item_us:.1f} us"),
        ("dispatcher, per task of another one in its lane", f"{pure.foreign.item_us:.1f} us"),
        ("broker, per append", f"{bus.server.append_us:.0f} us"),
        ("broker, more if the append is an atomic batch", f"{bus.server.batch_us:,.0f} us"),
        ("broker, per message with mirror and two readers", f"{bus.server.message_us:.0f} us"),
        ("broker, per kB", f"{bus.server.kilobyte_us:.1f} us"),
        ("client of the broker, per append and per message", f"{bus.client.append_us:.0f}, {bus.client.message_us:.0f} us"),
        ("time until an append is acknowledged (synced)", f"{bus.wait.append_us:.0f} us, a batch {bus.wait.batch_us:,.0f} us more"),
        ("rest of whole processes per task: scheduler, broker, dispatcher", f"{rest.scheduler_us:.0f}, {rest.broker_us:.0f}, {rest.dispatcher_us:.0f} us"),
        ("log per task, 100 tasks to an event and one", f"{pure.task_bytes:.0f}, {pure.single_bytes:.0f} bytes"),
        ("log and its growth on disk per task, in the first real run", f"{run.task_bytes:.0f}, {run.disk_bytes:.0f} bytes"),
        ("scheduler's memory per finished task of an open run", f"{pure.memory_bytes:.0f} bytes"),
    ]  # fmt: skip
    return ["| Cost (CPU, unless said) | Measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def checks_table(checks: Sequence[Checked]) -> list[str]:
    lines = [
        "| Executors | Tasks | Real tasks/s | Model tasks/s | Model / real | Strangers' cores meanwhile |",
        "|---|---|---|---|---|---|",
    ]
    for real, found in checks:
        ratio = found.rate / real.rate
        lines.append(
            f"| {real.executors:,} | {real.tasks:,} | {real.rate:,.0f} | {found.rate:,.0f} | {ratio:.2f} | {real.other_cores:.1f} |"
        )
    return lines


def sites_table(cost: Cost) -> list[str]:
    lines = [
        "| Site | Task length | Tasks/s | Nodes busy | Scheduler | Broker | Busiest dispatcher | Tasks per tick |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, site in SITES.items():
        for length_s in LENGTHS_S:
            found = simulate(site, cost, length_s, ROUNDS * NODES // site.logs)
            busy = f"{found.busy:.1%}" if length_s else "-"
            lines.append(
                f"| {name} | {f'{length_s:g} s' if length_s else 'null'} | {found.rate:,.0f} | {busy} | {found.scheduler:.0%} | "
                f"{found.broker:.0%} | {found.dispatcher:.0%} | {found.tasks_per_tick:,.0f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write-docs", action="store_true", help="refresh the tables of docs/scaling.md")
    parser.add_argument("--json", type=Path, help="write the costs and the real runs there")
    typed = parser.parse_args()
    cost, checks = measure_cost()
    sections = {"costs": costs_table(cost, checks[0].real), "checks": checks_table(checks), "sites": sites_table(cost)}
    for lines in sections.values():
        print("\n".join([*lines, ""]))
    if typed.json:
        typed.json.write_text(json.dumps({"cost": cost, "checks": checks}, indent=1))
    if typed.write_docs:
        page = DOCS / "scaling.md"
        text = page.read_text()
        for name, lines in sections.items():
            text = between(text, f"<!-- {name}:begin -->", f"<!-- {name}:end -->", "\n".join(lines))
        page.write_text(text)


if __name__ == "__main__":
    main()
