"""How long a start takes: a long log folded from zero, and the snapshot of its state loaded. No test, no assertion.

    python -m tests.core.rebuild_bench [--entries 1000000] [--runs 4] [--per-event 100] [--open] [--profile]

Prints seconds, entries per second and memory. ``--open`` leaves out the ends of the runs, so that nothing rests.
"""

import argparse
import cProfile
import gc
import hashlib
import pstats
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pto_core.fold import evolve
from pto_core.snapshot import Sealed, digest, seal, unseal
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.gc_pause import gc_paused

Batch = tuple[Lane | None, RunId | None, Sequence[ev.Entry]]
T = TypeVar("T")
HOST = InstanceId("local-1")
PART = 500
AT = 1_700_000_000_000


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def identity(spec: TaskSpec) -> dict[str, object]:
    return {"at": AT, "cause": 17, "task": spec.id, "attempt": 1, "instance": HOST}


def run_story(run: RunId, tasks: int, per_event: int, *, ends: bool) -> Iterator[Batch]:
    """A run of tasks without dependencies that all succeed."""
    specs = [TaskSpec(id=TaskId(f"task-{at:06d}"), title=f"Task number {at}", noop=True) for at in range(tasks)]
    plan, merge = {"at": AT, "task": TaskId("_plan"), "attempt": 1}, {"at": AT, "task": TaskId("_merge"), "attempt": 1}
    request = RunRequested(run=run, name="bench", max_executors=1000)
    yield None, run, [ev.RunAccepted(at=AT, content_digest=Digest("c"), request=request)]
    planner, local, consolidator = Lane("planner"), Lane("local"), Lane("consolidator")
    yield planner, run, [ev.TaskReady(**plan, instance=InstanceId("planner-1"), spec=TaskSpec(id=TaskId("_plan")))]
    parts = list(batches(specs, PART))
    for at, part in enumerate(parts):
        digest_ = Digest("d" * 64)
        yield planner, run, [ev.TaskPlanned(at=AT, plan_digest=digest_, part=at, parts=len(parts), tasks=tuple(part))]
    finished = ev.PlanFinished(**plan, plan_digest=digest_, name="bench", parts=len(parts), task_count=tasks)
    yield planner, run, [finished]
    yield planner, run, [ev.TaskFinished(**plan, instance=InstanceId("planner-1"), outcome="succeeded")]
    yield None, run, [ev.PlanSettled(at=AT, plan_digest=digest_)]
    for batch in batches(specs, per_event):
        keys = [Digest(hashlib.sha256(spec.id.encode()).hexdigest()) for spec in batch]
        pairs = zip(batch, keys, strict=True)
        yield (
            local,
            run,
            [
                ev.TaskReady(**identity(spec), slot=at % 1000, spec=spec, key=key)
                for at, (spec, key) in enumerate(pairs)
            ],
        )
        yield local, run, [ev.TaskStarted(**identity(spec), job=f"{at}") for at, spec in enumerate(batch)]
        yield local, run, [ev.TaskFinished(**identity(spec), outcome="succeeded", duration_s=0.25) for spec in batch]
    if ends:
        yield None, run, [ev.RunExecuted(at=AT)]
        yield consolidator, run, [ev.TaskReady(**merge, instance=InstanceId("c-1"), spec=TaskSpec(id=TaskId("_merge")))]
        yield consolidator, run, [ev.TaskFinished(**merge, instance=InstanceId("c-1"), outcome="succeeded")]
        yield None, run, [ev.RunFinished(at=AT, status="succeeded", tasks={"succeeded": tasks})]


def write_log(entries: int, runs: int, per_event: int, *, ends: bool) -> tuple[list[bytes], int]:
    log: list[bytes] = []
    total = 0
    for at in range(runs):
        for lane, run, batch in run_story(RunId(f"run-{at:03d}"), -(-entries // (3 * runs)), per_event, ends=ends):
            event = Event(
                id=f"1.{len(log)}", source="bench", kind=type(batch[0]), lane=lane, run=run, entries=tuple(batch)
            )
            log.append(encode_event(event))
            total += len(batch)
    return log, total


def fold(log: Sequence[bytes]) -> State:
    state = State()
    for seq, data in enumerate(log, 1):
        evolve(state, seq, decode_event(data))
    return state


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def timed(what: str, count: int, work: Callable[[], T]) -> T:
    before, start, cpu = resident_mib(), time.perf_counter(), time.process_time()
    result = work()
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:<28} {took:7.2f} s {cpu:7.2f} s CPU {count / took:12,.0f} /s {resident_mib() - before:+8.0f} MiB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--per-event", type=int, default=100)
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--profile", action="store_true")
    typed = parser.parse_args()
    log, entries = write_log(typed.entries, typed.runs, typed.per_event, ends=not typed.open)
    gc.collect()
    gc.freeze()
    print(f"{entries:,} entries in {len(log):,} events, {sum(map(len, log)) / 2**20:,.0f} MiB")
    if typed.profile:
        profile = cProfile.Profile()
        profile.runcall(fold, log)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    timed("decode alone", entries, lambda: [None for data in log if not decode_event(data)])
    with gc_paused():
        state = timed("fold from zero", entries, lambda: fold(log))
    data = timed("write the snapshot", entries, lambda: seal(state, "PTO", "1.1"))
    print(f"{'snapshot':<28} {len(data) / 2**20:7.1f} MiB")
    before = timed("digest", entries, lambda: digest(state))
    state = State()
    gc.collect()
    with gc_paused():
        loaded = timed("load the snapshot", entries, lambda: unseal(data, "PTO"))
        assert isinstance(loaded, Sealed)
        timed("ask every run for its tasks", entries, lambda: [len(run.tasks) for run in loaded.state.runs.values()])
    print(f"digests agree: {digest(loaded.state) == before}")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
