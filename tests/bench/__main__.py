"""``python -m tests.bench``: measures workloads, ours and then peers', says what it finds, and keeps it as JSON lines.

python -m tests.bench [--workloads W1,W4|all] [--json FILE] [--peers-dir DIR] [--peers taskiq-nats,ray|none]
python -m tests.bench --write-docs FILE      the tables and pictures of docs/performance.md from such a file
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rich.console import Console

from .asking import NotAsExpected
from .catalogue import APART, DEFAULT, NAMES, NoSuchWorkload, selected
from .documents import write_documents
from .meter import Record
from .options import SYNC, Options
from .origin import machine, product_version
from .peers.crashing import peer_restarts
from .peers.running import available, peer_records
from .report import line_of, show
from .warm import PEER, WORKLOADS, measure_all

PEERS_DIR = Path(".bench-peers")


async def measured(names: Sequence[str], peers: Sequence[str], folder: Path, options: Options) -> AsyncIterator[Record]:
    """All records, the machine's first."""
    yield machine(options)
    version = product_version()
    if warm := [name for name in names if name in WORKLOADS]:
        async for record in measure_all(warm, options):
            yield {**record, "version": version}
    for name in names:
        if name in APART:
            async for record in APART[name](options):
                yield {"peer": PEER, **record, "version": version}
    for peer in peers:
        for record in peer_records(peer, names, folder, options):
            yield record
        if any(name.startswith("W7") for name in names):
            async for record in peer_restarts(peer, folder, options):
                yield record


async def measure(typed: argparse.Namespace, console: Console) -> int:
    """Measure, keep, show. Exit code 1: something could not be measured."""
    options = Options(scale=typed.scale, repeats=typed.repeats, sync=typed.sync)
    names = selected(typed.workloads.split(",")) if typed.workloads else list(DEFAULT)
    peers = [
        name for name in available(typed.peers_dir) if typed.peers in ("", "all") or name in typed.peers.split(",")
    ]
    records = []
    async for record in measured(names, peers, typed.peers_dir, options):
        record["time"] = round(time.time(), 1)
        records.append(record)
        console.print(line_of(record), highlight=False, soft_wrap=True, markup=False)
        if typed.json:
            with typed.json.open("a") as file:
                file.write(json.dumps(record) + "\n")
    show(records, console)
    return 1 if any("error" in record for record in records) else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", default="", help=f"names or beginnings of: {', '.join(NAMES)}; or all")
    parser.add_argument("--json", type=Path, help="append the records to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies sizes and sleeps, to try the harness")
    parser.add_argument("--sync", choices=SYNC, default="always", help="how the broker syncs its log to the disk")
    parser.add_argument("--peers", default="", help="which peers (default: all whose environments are there; none)")
    parser.add_argument("--peers-dir", type=Path, default=PEERS_DIR, help="where make bench-peers has put them")
    parser.add_argument("--write-docs", type=Path, metavar="FILE", help="write docs/performance.md from this file")
    typed = parser.parse_args()
    console = Console()
    if typed.write_docs:
        write_documents(typed.write_docs, typed.peers_dir)
        return 0
    try:
        return asyncio.run(measure(typed, console))
    except NoSuchWorkload as error:
        parser.error(str(error))
    except NotAsExpected as error:
        console.print(f"bench: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
