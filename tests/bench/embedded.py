"""The command line with everything inside: from its start to the first result and to its end, and what it holds idle.

Invariant: the clock starts right before the process does; a result counts when its line has come out of the command.
"""

import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
from tests.chaos.processes import embedded_environment, start_command

from pto_proto.plans import Plan, TaskSpec

from .asking import NotAsExpected
from .machine import family, memory, program, used_s
from .meter import Meter, Record
from .options import Options
from .plans import name_of, sleeps
from .running import fresh_folder
from .shapes import bag
from .warm import described

EXECUTORS = 3
SETTLE_S = 1.0
IDLE_S = 3.0
"""How long an idle command is looked at."""
SLEEPER = "sleep"
END_S = 60.0


async def cold_sleeps(options: Options) -> AsyncIterator[Record]:
    """The whole command for six sleeps on three executors, start and output folder included."""
    for repeat in range(options.repeats):
        async with fresh_folder() as folder:
            plan = sleeps(bag(6), [options.scale] * 6)
            meter = Meter()
            meter.start()
            command = _start(folder, plan)
            known = list(_results(command))
            last_s = known[-1] - meter.began if known else 0.0
            code = command.wait(END_S)
            meter.stop()
            if code != 0 or len(known) != 6 or not (folder / "out/execution_summary.json").is_file():
                raise NotAsExpected(f"the command ended with {code} after {len(known)} of 6 results")
            lower_s = 2 * options.scale
            yield described("W5cold", EXECUTORS, options) | meter.record(6) | {
                "variant": "embedded", "rep": repeat, "last_result_s": round(last_s, 4), "lower": lower_s,
                "over_lower": round(meter.seconds / lower_s, 4),
            }  # fmt: skip


async def first_task(options: Options) -> AsyncIterator[Record]:
    """From the command's start to its first result, and what it holds and burns while it waits for a long task."""
    settle_s, idle_s = SETTLE_S * min(1, options.scale), IDLE_S * min(1, options.scale)
    plan = Plan(
        name="first",
        tasks=(
            TaskSpec(id=name_of(0), noop=True),
            TaskSpec(id=name_of(1), command=(f"/bin/{SLEEPER}", "600"), depends_on=(name_of(0),)),
        ),
    )
    for repeat in range(options.repeats):
        async with fresh_folder() as folder:
            meter = Meter()
            meter.start()
            command = _start(folder, plan)
            try:
                first = next(_results(command), None)
                if first is None:
                    raise NotAsExpected("the command ended before its first result")
                meter.stop()
                idle = _idle(command.pid, settle_s, idle_s)
            finally:
                _end(command)
            yield described("W6", EXECUTORS, options) | meter.record(1) | idle | {
                "variant": "embedded", "rep": repeat, "cold_s": round(first - meter.began, 4)
            }  # fmt: skip


def _start(folder: Path, plan: Plan) -> "subprocess.Popen[str]":
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    words = ("run", "--plan", "plan.json", "-m", str(EXECUTORS), "-o", "out", "--json")
    return start_command(folder, embedded_environment(folder), *words)


def _results(command: "subprocess.Popen[str]") -> Iterator[float]:
    """When each success of a task of the plan came out of the command."""
    assert command.stdout is not None
    for line in command.stdout:
        now = time.perf_counter()
        said = json.loads(line)
        if said.get("type", "").startswith("pto.TaskFinished."):
            for entry in said["data"]["entries"]:
                if entry["outcome"] == "succeeded" and not entry["task"].startswith("_"):
                    yield now


def _idle(pid: int, settle_s: float, seconds: float) -> Record:
    """Memory of the command and all below it but the task itself, and processor time over a while."""
    time.sleep(settle_s)
    before, began = used_s(family(pid)), time.perf_counter()
    time.sleep(seconds)
    used, took = used_s(family(pid)) - before, time.perf_counter() - began
    ours = [other for other in family(pid) if program(other) != SLEEPER]
    held = memory(ours)
    return {
        "procs": held.procs, "rss_mb": held.rss_mb, "pss_mb": held.pss_mb,
        "broker_pss_mb": memory(other for other in ours if program(other) == "nats-server").pss_mb,
        "idle_cpu_pct": round(used / took * 100, 1) if took else 0.0,
    }  # fmt: skip


def _end(command: "subprocess.Popen[str]") -> None:
    command.send_signal(signal.SIGINT)
    try:
        command.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        command.kill()
        command.communicate()
