"""Runs seeds in this process or in several, and says how to replay what failed."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from .mutants import MUTANTS
from .simulation import Verdict, simulate

HASH_SEED = "0"
"""Python orders sets of strings by this; without it, a seed would not mean the same twice."""


def main() -> int:
    """The exit code: 0 if every promise held."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", __package__, *sys.argv[1:]])
    arguments = _arguments()
    if arguments.mutant:
        MUTANTS[arguments.mutant]()
    if arguments.seed is not None:
        return _replay(arguments.seed)
    return _run(_range(arguments.seeds), arguments.jobs, arguments.most)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Deterministic simulation of the system.")
    parser.add_argument("--seeds", default="0:1000", help="FROM:TO, or single seeds with commas")
    parser.add_argument("--seed", type=int, help="replay this seed and show what happens")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--most", type=int, default=10, help="stop after this many failed seeds")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="put this bug into the product first")
    return parser.parse_args()


def _range(text: str) -> list[int]:
    if ":" in text:
        first, _, end = text.partition(":")
        return list(range(int(first or 0), int(end)))
    return [int(part) for part in text.split(",")]


def _replay(seed: int) -> int:
    verdict = simulate(seed, trace=print)
    print(f"seed {seed}: {verdict.events} events, {verdict.virtual_s:.0f} s of virtual time, log {verdict.digest}")
    for violation in verdict.violations:
        print(f"  BROKEN {violation}")
    return 1 if verdict.violations else 0


def _verdicts(seeds: list[int], jobs: int) -> Iterator[Verdict]:
    if jobs <= 1:
        yield from map(simulate, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=8)


def _run(seeds: list[int], jobs: int, most: int) -> int:
    began = shown = time.monotonic()
    failed: list[int] = []
    done = events = 0
    virtual_s = 0.0
    for verdict in _verdicts(seeds, jobs):
        done, events, virtual_s = done + 1, events + verdict.events, virtual_s + verdict.virtual_s
        if verdict.violations:
            failed.append(verdict.seed)
            print(f"seed {verdict.seed}: {len(verdict.violations)} broken promises")
            for violation in verdict.violations[:5]:
                print(f"  {violation}")
            print(f"  replay: make sim SEED={verdict.seed}", flush=True)
        now = time.monotonic()
        if now - shown >= 10:
            shown = now
            print(f"{done}/{len(seeds)} seeds, {done * 60 / (now - began):.0f} per minute", flush=True)
        if len(failed) >= most:
            break
    took = time.monotonic() - began
    used = sum(os.times()[:4])
    print(
        f"{done} seeds, {len(failed)} failed; {events} events, {virtual_s / 3600:.1f} h of virtual time in {took:.0f} s;"
        f" {done * 60 / took:.0f} seeds per minute with {jobs} {'process' if jobs == 1 else 'processes'},"
        f" {done * 60 / used:.0f} per minute of processor time"
    )
    return 1 if failed else 0
