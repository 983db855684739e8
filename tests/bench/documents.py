"""Writes the figures of a file of records into docs/performance.md, between its marks, and draws the pictures.

Invariant: what stands outside the marks is written by people and never touched.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .meter import Record
from .origin import ROOT
from .peers.catalogue import READY
from .tables import Table, tables

PAGE = ROOT / "docs/performance.md"
PICTURES = ROOT / "docs/pictures"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PLOTS = "plots"
"""Folder of the environment that draws, beside those of the peers."""


def write_documents(file: Path, environments: Path) -> None:
    """The page and its pictures, from this file of records."""
    records = read_records(file)
    PAGE.write_text(with_figures(PAGE.read_text(), records))
    python = environments.absolute() / PLOTS / "bin/python"
    if not (python.parent.parent / READY).exists():
        print(
            f"{PICTURES.relative_to(ROOT)} was left as it is: nothing to draw with; make bench-peers", file=sys.stderr
        )
        return
    PICTURES.mkdir(exist_ok=True)
    subprocess.run([python, "-m", f"{__package__}.plots", file.absolute(), PICTURES], cwd=ROOT, check=True)


def read_records(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def with_figures(page: str, records: list[Record]) -> str:
    """The page with these figures instead of those that it holds."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks its marks {BEGIN} and {END}")
    parts = [_origin(records), *(as_markdown(table) for table in tables(records))]
    return f"{before}{BEGIN}\n\n" + "\n\n".join(part for part in parts if part) + f"\n\n{END}{after}"


def as_markdown(table: Table) -> str:
    lines = [f"### {table.title}", "", _row(table.columns), _row(["---", *["---:"] * (len(table.columns) - 1)])]
    return "\n".join([*lines, *(_row(row) for row in table.rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(records: list[Record]) -> str:
    machines = [record for record in records if record["workload"] == "machine"]
    if not machines:
        return ""
    last = machines[-1]
    versions = {record["peer"]: record["version"] for record in records if "version" in record}
    others = ", ".join(f"{peer} {version}" for peer, version in versions.items())
    return (
        f"{last['processor']}, {last['cores']} cores, {last['memory_gb']} GB, {last['system']}; Python {last['python']},"
        f" nats-server {last['nats_server']}, sync {last['sync']}. Versions: {others}."
    )
