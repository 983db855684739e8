"""The workloads on services that are up: W1 to W5. Each is a plan and a budget of executors."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pto_proto.plans import Plan

from .asking import Client, Story
from .meter import Meter, Record
from .options import Options
from .plans import noops, processes, sleeps
from .running import running
from .shapes import LAYERS, bag, chain, layered, lower_bound, straggler

PEER = "orchestrator"
DURABLE = "all of it"


@dataclass(frozen=True)
class Workload:
    """One plan at one budget."""

    name: str
    title: str
    executors: int
    plan: Callable[[Options], Plan]
    lower_s: Callable[[Options], float] | None = None
    """What no schedule can beat, where that is the point."""


def _sleeps(options: Options) -> Plan:
    return sleeps(bag(6), [options.scale] * 6)


def _straggler(options: Options) -> Plan:
    dependencies, durations = straggler()
    return sleeps(dependencies, [duration * options.scale for duration in durations])


def _straggler_bound(options: Options) -> float:
    return lower_bound(*straggler(), executors=3) * options.scale


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "bag of null tasks", 1000, lambda options: noops(bag(options.size(100_000)))),
        Workload("W2", "chain of null tasks", 1, lambda options: noops(chain(options.size(500)))),
        Workload("W3", "layered DAG", 100, lambda options: noops(layered(options.size(2_000 // LAYERS)))),
        Workload("W4", "processes (/bin/true)", 16, lambda options: processes(options.size(1_000))),
        Workload("W5a", "six sleeps of 1 s", 3, _sleeps, lambda options: 2 * options.scale),
        Workload("W5b", "straggler DAG", 3, _straggler, _straggler_bound),
    )
}


async def measure_all(names: Sequence[str], options: Options) -> AsyncIterator[Record]:
    """The records of these workloads, one after the other on the same services."""
    async with running(options) as system:
        for name in names:
            for repeat in range(options.repeats):
                record = await measure(WORKLOADS[name], system.client, options)
                yield {**record, "rep": repeat, "cold_s": round(system.cold_s, 4)}


async def measure(workload: Workload, client: Client, options: Options) -> Record:
    plan = workload.plan(options)
    meter = Meter()
    story = await client.measure(plan, executors=workload.executors, meter=meter)
    record = described(workload.name, workload.executors, options) | meter.record(story.n) | moments(story)
    if workload.lower_s is not None:
        lower_s = workload.lower_s(options)
        record |= {"lower": round(lower_s, 5), "over_lower": round(meter.seconds / lower_s, 4)}
    return record


def described(name: str, executors: int, options: Options) -> Record:
    """The fields that say what was measured."""
    return {
        "workload": name, "peer": PEER, "variant": f"sync {options.sync}", "durable": DURABLE, "workers": executors,
        "scale": options.scale,
    }  # fmt: skip


def moments(story: Story) -> Record:
    """When things were known, in seconds from the start."""
    first = {kind: story.first.get(kind, 0.0) for kind in ("run-accepted", "plan-settled", "task-started")}
    return {
        "submitted_s": round(story.submitted_s, 4),
        "accepted_s": round(first["run-accepted"], 4),
        "settled_s": round(first["plan-settled"], 4),
        "run_finished_s": round(story.finished_s, 4),
    }
