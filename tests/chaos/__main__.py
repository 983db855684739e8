"""``python -m tests.chaos``: the big storm, with its progress on the terminal and its figures in a file.

At least 200 kills over 100,000 noops and 5,000 commands. Exit code 1: a promise was broken.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from .campaign import Campaign, Scale, write_report
from .sites import CONSOLIDATOR, DISPATCHER, PLANNER, SCHEDULER, SECOND_DISPATCHER, STANDBY, Site
from .storm import Pace

CAPACITY = 600
ENSEMBLE = (
    SCHEDULER, STANDBY, PLANNER, replace(DISPATCHER, capacity=CAPACITY), replace(SECOND_DISPATCHER, capacity=CAPACITY),
    CONSOLIDATOR,
)  # fmt: skip
NOOPS = 5_000
COMMANDS = 250


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: a new one, printed")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=30)
    parser.add_argument("--noops", type=int, default=100_000)
    parser.add_argument("--commands", type=int, default=5_000)
    parser.add_argument("--keep", action="store_true", help="keep the folder even if all went well")
    typed = parser.parse_args()
    scale = Scale(
        pace=Pace(kills=typed.kills, freezes=typed.stops), noop_runs=max(1, typed.noops // NOOPS), noops=NOOPS, layers=4,
        executors=1000, command_runs=max(1, typed.commands // COMMANDS), commands=COMMANDS, sleep_s=0.2, outlasts=True,
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="pto-chaos-"))
    print(f"seed {typed.seed}, folder {folder}", flush=True)
    began = time.monotonic()
    site = Site(folder)
    try:
        report = asyncio.run(_storm(site, scale, typed.seed))
    finally:
        site.close()
    write_report(report, folder)
    print(f"{report}\n{time.monotonic() - began:.0f} s in all", flush=True)
    if not report.problems and not typed.keep:
        shutil.rmtree(folder)
    return 1 if report.problems else 0


async def _storm(site: Site, scale: Scale, seed: int):  # type: ignore[no-untyped-def]
    await site.set_up()
    return await Campaign(site, ENSEMBLE, scale, seed).run()


if __name__ == "__main__":
    sys.exit(main())
