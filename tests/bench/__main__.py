"""``python -m tests.bench``: measures workloads, prints what it finds, and appends it to a file of JSON lines."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from .meter import Record
from .options import SYNC, Options
from .warm import WORKLOADS, measure_all


async def records(names: Sequence[str], options: Options) -> AsyncIterator[Record]:
    async for record in measure_all([name for name in names if name in WORKLOADS], options):
        yield record


async def main(typed: argparse.Namespace) -> None:
    options = Options(scale=typed.scale, repeats=typed.repeats, sync=typed.sync)
    names = typed.workloads.split(",")
    async for record in records(names, options):
        record["time"] = round(time.time(), 1)
        print(
            f"{record['workload']:<4} {record['peer']:<14} n={record['n']:<7} {record['seconds']:9.3f} s"
            f" {record['rate']:10,.0f} /s {record['ms_per_task']:9.3f} ms/task {record['cpu_us_per_task']:8.1f} us CPU"
            f"  calib {record['calib_s'] * 1000:.0f} ms  others {record['other_cores']:.2f}",
            flush=True,
        )
        if typed.json:
            with typed.json.open("a") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--workloads", default="W1,W2,W3,W4")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--sync", choices=SYNC, default="always")
    sys.exit(asyncio.run(main(parser.parse_args())))
