"""What a measurement says on the terminal: a line per record, tables at the end."""

from collections.abc import Sequence

import rich.box
import rich.table
from rich.console import Console

from .meter import Record
from .tables import Table, tables

LEAST_WIDTH = 170
"""Columns of the widest table; a narrower terminal wraps its lines."""


def line_of(record: Record) -> str:
    """One record in one line."""
    if record["workload"] == "machine":
        what = ("product", "nats_server", "python", "processor", "cores", "sync", "scale")
        return ", ".join(f"{name} {record[name]}" for name in what)
    head = f"{record['workload']:<8} {record['peer']:<14}"
    if "error" in record:
        return f"{head} {record['error']}: {record.get('said', '')[-300:]}"
    parts = [f"n={record['n']:<7}"]
    if "seconds" in record:
        parts.append(
            f"{record['seconds']:9.3f} s {record['rate']:10,.0f} /s {record['ms_per_task']:9.3f} ms/task"
            f" {record['cpu_us_per_task']:9.1f} us CPU  loop {record['calib_s'] * 1000:.0f} ms  others {record['other_cores']:.2f}"
        )
    for name, text in (
        ("over_lower", "{:.3f} of the bound"), ("cold_s", "first task {:.2f} s"), ("pss_mb", "{:.0f} MB"),
        ("first_new_s", "first new task {:.2f} s"), ("lost", "{} lost"), ("repeated", "{} repeated"),
    ):  # fmt: skip
        if name in record and (name not in ("cold_s", "pss_mb") or record["workload"] == "W6"):
            parts.append(text.format(record[name]))
    return f"{head} {'  '.join(parts)}  {record.get('variant', '')}"


def show(records: Sequence[Record], console: Console) -> None:
    """All tables, as wide as they are."""
    wide = Console(width=max(console.width, LEAST_WIDTH))
    for table in tables(records):
        wide.print()
        wide.print(as_rich(table))


def as_rich(table: Table) -> rich.table.Table:
    made = rich.table.Table(title=table.title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for at, column in enumerate(table.columns):
        made.add_column(column, justify="left" if at == 0 else "right")
    for row in table.rows:
        made.add_row(*row)
    return made
