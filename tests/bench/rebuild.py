"""How long a scheduler's start takes: a long log folded from zero, and the snapshot of its state loaded.

    python -m tests.bench.rebuild [--entries 1000000] [--runs 4] [--profile]

Prints a record per line, in a process of its own so that nothing else lies in its memory. The log is bytes in memory:
the broker's part of a start is measured by S5.
"""

import argparse
import cProfile
import gc
import json
import pstats
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pto_core.fold import evolve
from pto_core.snapshot import Sealed, digest, seal, unseal
from pto_core.state import State
from pto_proto.envelope import decode_event
from pto_runtime.gc_pause import gc_paused

from .history import history
from .meter import Meter

T = TypeVar("T")
ENTRIES = 1_000_000


def fold(log: Sequence[bytes]) -> State:
    """What a scheduler knows after reading this log."""
    state = State()
    for seq, data in enumerate(log, 1):
        evolve(state, seq, decode_event(data))
    return state


def recalled(data: bytes) -> State:
    """The state of a snapshot, with what it keeps packed unpacked."""
    loaded = unseal(data, "PTO")
    if not isinstance(loaded, Sealed):
        sys.exit(f"the snapshot cannot be loaded: {loaded}")
    for run in loaded.state.runs.values():
        len(run.tasks)
    return loaded.state


def timed(what: str, entries: int, work: Callable[[], T], **more: object) -> T:
    meter = Meter()
    with gc_paused():
        meter.start()
        result = work()
        meter.stop()
    print(json.dumps({"workload": "rebuild", "variant": what, "workers": 1} | meter.record(entries) | more), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rebuild", description=__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--profile", action="store_true", help="show where the fold spends its time, and nothing else")
    typed = parser.parse_args()
    written = list(history(typed.entries, typed.runs))
    log, entries = [event.data for event in written], sum(event.entries for event in written)
    del written
    gc.collect()
    gc.freeze()
    if typed.profile:
        profile = cProfile.Profile()
        profile.runcall(fold, log)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    sizes = {"events": len(log), "log_mb": round(sum(map(len, log)) / 2**20, 1)}
    state = timed("fold from zero", entries, lambda: fold(log), **sizes)
    data, before = seal(state, "PTO", "1.1"), digest(state)
    state = State()
    gc.collect()
    state = timed("load the snapshot", entries, lambda: recalled(data), snapshot_mb=round(len(data) / 2**20, 1))
    if digest(state) != before:
        sys.exit("the snapshot does not give back the state that was folded")


if __name__ == "__main__":
    main()
