"""``python -m tests.bench.peers.process PEER W1,W2``: one system in its environment; a record per line, marked.

W6 is its memory and processor time while it waits; ``cold_s`` in every record is from the process's start to the end of
a first null task. W5cold is that plus the first W5a.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..machine import age_s, family, memory, mentioning, used_s
from ..meter import Meter, Record
from ..shapes import LAYERS, bag, chain, layered, lower_bound, straggler
from .catalogue import PEERS, Known
from .peer import Peer

MARK = "RECORD "
IDLE_S = 3.0
SLEEPS = 6


class Bench:
    """One peer that is up."""

    def __init__(self, known: Known, peer: Peer, workers: int, scale: float, others: list[int]) -> None:
        self._known, self._peer, self._workers, self._scale, self._others = known, peer, workers, scale, others

    def run(self, workload: str) -> Record:
        if workload == "W6":
            return self._idle()
        n, work = self._work(workload)
        meter = Meter(*self._others)
        meter.start()
        work()
        meter.stop()
        record = meter.record(n)
        if workload.startswith("W5"):
            lower_s = self._scale * (2.0 if workload == "W5a" else lower_bound(*straggler(), executors=self._workers))
            record |= {"lower": round(lower_s, 5), "over_lower": round(meter.seconds / lower_s, 4)}
        return record

    def _work(self, workload: str) -> tuple[int, Callable[[], None]]:
        """(tasks, what to time)."""
        n = max(2, round(self._known.sizes[workload] * self._scale))
        if workload == "W1":
            return n, lambda: self._peer.bag(n)
        if workload == "W4":
            return n, lambda: self._peer.processes(n)
        if workload == "W5a":
            dependencies, durations = bag(SLEEPS), [self._scale] * SLEEPS
        elif workload == "W5b":
            dependencies, durations = straggler()
            durations = [duration * self._scale for duration in durations]
        else:
            dependencies = chain(n) if workload == "W2" else layered(max(2, n // LAYERS))
            durations = [0.0] * len(dependencies)
        return len(dependencies), lambda: self._peer.graph(dependencies, durations)

    def _idle(self) -> Record:
        seconds = IDLE_S * min(1.0, self._scale)
        pids = family(os.getpid(), *self._others)
        before = used_s(pids)
        time.sleep(seconds)
        held, used = memory(pids), used_s(pids) - before
        return {
            "n": 1, "procs": held.procs, "rss_mb": held.rss_mb, "pss_mb": held.pss_mb,
            "idle_cpu_pct": round(used / seconds * 100, 1),
        }  # fmt: skip


def with_start(record: Record) -> Record:
    """The record as if the clock had started with the process."""
    seconds = record["seconds"] + record["cold_s"]
    return {
        **record, "workload": "W5cold", "seconds": round(seconds, 5), "rate": round(record["n"] / seconds, 2),
        "ms_per_task": round(seconds / record["n"] * 1e3, 3), "over_lower": round(seconds / record["lower"], 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("workloads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, required=True)
    typed = parser.parse_args()
    known = PEERS[typed.peer]
    peer = known.make()
    peer.start(typed.workers, typed.state)
    peer.bag(1)
    cold_s = age_s()
    ours = set(family(os.getpid()))
    bench = Bench(known, peer, typed.workers, typed.scale, [p for p in mentioning(str(typed.state)) if p not in ours])
    about = {
        "peer": typed.peer, "durable": peer.durable, "workers": typed.workers, "scale": typed.scale,
        "cold_s": round(cold_s, 3), "version": known.version(),
    }  # fmt: skip
    for workload in typed.workloads.split(","):
        for repeat in range(1 if workload == "W6" else typed.repeats):
            record = {"workload": workload, **about} | bench.run(workload) | {"rep": repeat}
            print(MARK + json.dumps(record), flush=True)
            if workload == "W5a" and repeat == 0:
                print(MARK + json.dumps(with_start(record)), flush=True)
    try:
        peer.stop()
    finally:
        sys.stdout.flush()
        os._exit(0)  # some systems wait for minutes for what they have left running


if __name__ == "__main__":
    main()
