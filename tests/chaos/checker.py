"""Judges a log by the promises alone: reads the raw envelopes, knows nothing of the product's own fold.

Each problem is a sentence with sequences, runs and tasks in it. The file that commands append to is judged with it.
"""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pto_bus.connect import Connection, connect
from pto_bus.direct import get_batch
from pto_bus.limits import DIRECT_BATCH
from pto_ports.event_log import LogUnavailable, Recorded
from pto_proto.subjects import LOG_STREAM

from .sites import PASSWORD, Site

MAX_PROBLEMS = 50
"""Problems kept; the rest is counted."""
Attempt = tuple[str, int, int]
"""Task, round, attempt."""
LANE_KINDS = ("TaskStarted", "TaskFinished", "JobStateChanged", "DispatcherUp", "DispatcherDraining")


@dataclass
class RunFacts:
    """What the log says about one run."""

    executors: int
    tasks: int
    out: set[Attempt] = field(default_factory=set)
    ended: set[Attempt] = field(default_factory=set)
    current: dict[str, Attempt] = field(default_factory=dict)
    """Task -> its latest attempt."""
    applied: dict[str, Attempt] = field(default_factory=dict)
    """Task -> the attempt whose success counts."""
    reused: set[str] = field(default_factory=set)
    """Tasks that need not run."""
    lost: set[Attempt] = field(default_factory=set)
    most_out: int = 0
    status: str = ""
    outcome_digest: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class Checker:
    """Takes the log's messages in order."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.more_problems = 0
        self.runs: dict[str, RunFacts] = {}
        self.figures: Counter[str] = Counter()
        self.seq = 0
        self._epoch = 0
        self._capacity: dict[str, int] = {}
        self._out: defaultdict[str, set[tuple[str, Attempt]]] = defaultdict(set)
        """Dispatcher instance -> attempts that are out in it."""

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        else:
            self.more_problems += 1

    def take(self, message: Recorded) -> None:
        """The next message of the log."""
        if message.seq != self.seq + 1:
            self.problem(f"sequence {message.seq} follows {self.seq}")
        self.seq = message.seq
        event = msgspec.json.decode(message.data)
        kind = event["type"].split(".")[1]
        data = event["data"]
        self.figures["events"] += 1
        self.figures[kind] += len(data["entries"])
        self._check_fence(kind, event)
        handle = getattr(self, f"_on_{kind}", None)
        if handle is not None:
            for entry in data["entries"]:
                handle(data.get("run", ""), entry)

    def _check_fence(self, kind: str, event: dict[str, Any]) -> None:
        """Nothing of an older leader is stored behind the epoch of a newer one."""
        if not event["source"].startswith("scheduler/"):
            return
        epoch = int(event["id"].split(".")[0])
        if kind == "SchedulerEpochStarted":
            if epoch != self._epoch + 1:
                self.problem(f"sequence {self.seq}: epoch {epoch} follows {self._epoch}")
            self._epoch = epoch
        elif epoch != self._epoch:
            self.problem(f"sequence {self.seq}: {kind} of epoch {epoch} was stored in epoch {self._epoch}")

    # --- what the log says ---

    def _on_RunAccepted(self, run: str, entry: dict[str, Any]) -> None:
        if run in self.runs:
            self.problem(f"{self.seq}: run {run} was accepted twice")
            return
        self.runs[run] = RunFacts(entry["request"].get("max_executors", 5), entry.get("task_count", 0))

    def _on_BudgetChanged(self, run: str, entry: dict[str, Any]) -> None:
        self.runs[run].executors = max(self.runs[run].executors, entry["max_executors"])

    def _on_DispatcherUp(self, _: str, entry: dict[str, Any]) -> None:
        self._capacity[entry["instance"]] = entry["capacity"]

    def _on_TaskReady(self, run: str, entry: dict[str, Any]) -> None:
        facts, task, attempt = self.runs[run], entry["task"], attempt_of(entry)
        if task in facts.applied:
            self.problem(f"{self.seq}: {run}/{task} was handed out as {attempt} after {facts.applied[task]} succeeded")
        if task in facts.current and attempt <= facts.current[task]:
            self.problem(f"{self.seq}: {run}: {attempt} was handed out behind {facts.current[task]}")
            return
        if facts.status:
            self.problem(f"{self.seq}: {run}/{task} was handed out after the run's end")
        missing = [
            name
            for name in entry["spec"].get("depends_on", ())
            if name not in facts.applied and name not in facts.reused
        ]
        if missing:
            self.problem(f"{self.seq}: {run}/{task} was handed out before {missing} had succeeded")
        facts.current[task] = attempt
        facts.out.add(attempt)
        if not task.startswith("_"):
            self._check_room(run, facts, entry["instance"], attempt)

    def _check_room(self, run: str, facts: RunFacts, instance: str, attempt: Attempt) -> None:
        facts.most_out = max(facts.most_out, len(facts.out))
        if len(facts.out) > facts.executors:
            self.problem(f"{self.seq}: {run}: {len(facts.out)} attempts are out, {facts.executors} are allowed")
        self._out[instance].add((run, attempt))
        if len(self._out[instance]) > self._capacity.get(instance, 0):
            self.problem(
                f"{self.seq}: {instance} has more attempts than its capacity of {self._capacity.get(instance)}"
            )

    def _on_TaskReused(self, run: str, entry: dict[str, Any]) -> None:
        self.runs[run].reused.add(entry["task"])

    def _on_TaskFinished(self, run: str, entry: dict[str, Any]) -> None:
        facts, task, attempt = self.runs[run], entry["task"], attempt_of(entry)
        if entry["outcome"] != "succeeded":
            self.figures[f"attempts ended as {entry.get('failure') or entry['outcome']}"] += 1
        if attempt not in facts.out:
            self.figures["late or repeated results"] += 1
            if attempt not in facts.ended:
                self.problem(f"{self.seq}: {run}: {attempt} ended, which was never handed out")
            return
        self._close(run, facts, attempt, entry["instance"])
        if entry["outcome"] != "succeeded":
            return
        if task in facts.applied:
            self.problem(f"{self.seq}: {run}/{task}: {attempt} succeeded after {facts.applied[task]} had")
        facts.applied[task] = attempt
        self.figures["tasks succeeded"] += not task.startswith("_")

    def _on_AttemptLost(self, run: str, entry: dict[str, Any]) -> None:
        facts, attempt = self.runs[run], attempt_of(entry)
        if attempt in facts.out:
            self._close(run, facts, attempt, entry["instance"])
            facts.lost.add(attempt)

    def _close(self, run: str, facts: RunFacts, attempt: Attempt, instance: str) -> None:
        facts.out.discard(attempt)
        facts.ended.add(attempt)
        self._out[instance].discard((run, attempt))

    def _on_RunFinished(self, run: str, entry: dict[str, Any]) -> None:
        facts = self.runs[run]
        if facts.status:
            self.problem(f"{self.seq}: run {run} finished twice")
            return
        facts.status, facts.outcome_digest, facts.counts = entry["status"], entry["outcome_digest"], entry["tasks"]
        if facts.out:
            self.problem(f"{self.seq}: run {run} finished with {len(facts.out)} attempts out")

    # --- verdicts ---

    def check_succeeded(self, run: str, tasks: int, outcome_digest: str) -> None:
        """The run ended with every task succeeded exactly once, and as the undisturbed one did."""
        facts = self.runs.get(run)
        if facts is None:
            self.problem(f"run {run} was never accepted")
            return
        done = sum(not task.startswith("_") for task in facts.applied)
        if facts.status != "succeeded" or done != tasks or facts.counts != {"succeeded": tasks}:
            self.problem(f"run {run} ended as {facts.status or 'nothing'} with {done} of {tasks} tasks: {facts.counts}")
        if facts.outcome_digest != outcome_digest:
            self.problem(f"run {run}: outcome {facts.outcome_digest[:12]} is not the undisturbed {outcome_digest[:12]}")

    def check_trace(self, path: Path, runs: list[str]) -> None:
        """The file that commands append to against the log: no attempt ran twice, each success ran."""
        seen: Counter[tuple[str, Attempt]] = Counter()
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) != 4:
                self.problem(f"a damaged line in the trace: {line!r}")
                continue
            seen[words[0], (words[1], 0, int(words[2]))] += 1
        self.figures["lines in the trace"] = seen.total()
        for (run, attempt), times in seen.items():
            facts = self.runs.get(run)
            if facts is None or attempt not in facts.ended | facts.out:
                self.problem(f"{run}: {attempt} left a trace, but was never handed out")
            elif times > 1 and attempt not in facts.lost:
                self.problem(f"{run}: {attempt} was started {times} times")
        for run in runs:
            facts = self.runs.get(run)
            for task, attempt in facts.applied.items() if facts is not None else ():
                if not task.startswith("_") and not seen[run, attempt]:
                    self.problem(f"{run}: {attempt} succeeded without a trace")
        tasks = Counter((run, attempt[0]) for run, attempt in seen)
        self.figures["commands started again"] = sum(times > 1 for times in tasks.values())

    def verdict(self) -> str:
        """All problems in one text; empty: none."""
        more = [f"and {self.more_problems} more"] if self.more_problems else []
        return "\n".join([*self.problems, *more])


def attempt_of(entry: dict[str, Any]) -> Attempt:
    return entry["task"], entry.get("round", 0), entry["attempt"]


async def read_log(site: Site) -> list[Recorded]:
    """Every message of the log, straight from the stream, up to the end that it names itself."""
    connection = await connect(site.url, user="archiver", password=PASSWORD)
    try:
        last = await _last(connection)
        found: list[Recorded] = []
        while not found or found[-1].seq < last:
            start = found[-1].seq + 1 if found else 1
            page = await get_batch(connection, LOG_STREAM, {"seq": start, "batch": DIRECT_BATCH, "next_by_subj": ">"})
            found += page.messages
            if not page.messages:  # a mirror that is behind may have answered
                await asyncio.sleep(0.1)
        return found
    finally:
        await connection.close()


async def _last(connection: Connection) -> int:
    while True:
        try:
            return int((await connection.api(f"STREAM.INFO.{LOG_STREAM}"))["state"]["last_seq"])
        except LogUnavailable:
            await asyncio.sleep(0.2)


async def check_log(site: Site) -> Checker:
    """A checker that has taken the whole log."""
    checker = Checker()
    for message in await read_log(site):
        checker.take(message)
    return checker
