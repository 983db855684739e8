"""Many runs under a storm, judged by the independent checker: the same for the small and the big one.

Each plan is first run undisturbed on the same site; its outcome digest is what every other run of it must have.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from .asking import Epoch, Requester, Watcher
from .checker import Checker, check_log
from .plans import TRACE, command_plan, noop_plan
from .sites import Service, Site
from .storm import BROKER, Disturbance, Pace, Storm

LAST_KILLS = 3
"""The last runs are asked for this many kills before the end, so that there is work to disturb until then."""
STALL_S = 120.0
"""Without any news for so long after the storm, something is stuck."""
LEASE_S = 5.0


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    pace: Pace
    noop_runs: int
    noops: int
    """In each of those runs."""
    layers: int
    executors: int
    command_runs: int
    commands: int
    command_executors: tuple[int, ...] = (8, 12, 16)
    sleep_s: float = 0.0
    """How long a command takes, besides its start."""
    outlasts: bool = False
    """Whether work must be left at the last kill; too little of it for that on a fast machine is no fault."""


@dataclass
class Report:
    """What came of it."""

    checker: Checker
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*self.lines, *(f"PROBLEM: {problem}" for problem in self.problems)])


class Campaign:
    """One storm over many runs."""

    def __init__(self, site: Site, services: tuple[Service, ...], scale: Scale, seed: int) -> None:
        self._site, self._scale, self._services, self._seed = site, scale, services, seed
        self._trace = site.folder / "trace"
        self._trace.touch()
        site.variables[TRACE] = str(self._trace)
        self._plans = {
            "noops": noop_plan(scale.noops, scale.layers),
            "commands": command_plan(scale.commands, sleep_s=scale.sleep_s),
        }
        self._runs: list[tuple[str, str, int]] = self._schedule()
        """(run, plan, executors) in the order in which they are asked for."""
        self._asked: list[str] = []
        self._began = time.monotonic()
        self._raged_s = 0.0
        self._say = print

    def _schedule(self) -> list[tuple[str, str, int]]:
        scale = self._scale
        places = [
            ((i + 0.5) / scale.noop_runs, f"noops-{i:03d}", "noops", scale.executors) for i in range(scale.noop_runs)
        ]
        budgets = scale.command_executors
        places += [
            ((i + 0.6) / scale.command_runs, f"commands-{i:03d}", "commands", budgets[i % len(budgets)])
            for i in range(scale.command_runs)
        ]
        return [(run, plan, executors) for _, run, plan, executors in sorted(places)]

    async def run(self, *, progress_s: float = 5.0) -> Report:
        """Undisturbed runs, then the storm, then the verdict."""
        self._site.start_all(self._services)
        requester = await Requester.open(self._site)
        watcher = Watcher(requester, self._site.check)
        watcher.begin()
        storm = Storm(self._site, self._services, self._scale.pace, self._seed)
        storm.leader = lambda: watcher.leader
        storm.unfinished = lambda: sum(run not in watcher.finished for run, _, _ in self._runs)
        try:
            await self._run_undisturbed(requester, watcher)
            telling = asyncio.create_task(self._tell(watcher, storm, progress_s))
            try:
                await self._rage(requester, watcher, storm)
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        finally:
            await storm.calm()
            await watcher.close()
            await requester.close()
        return await self._judge(watcher, storm)

    async def _run_undisturbed(self, requester: Requester, watcher: Watcher) -> None:
        names = [f"undisturbed-{name}" for name in self._plans]
        for name, plan in self._plans.items():
            await requester.run(f"undisturbed-{name}", plan, executors=self._scale.executors)
        await watcher.until_finished(*names, timeout_s=300)
        self._say(f"undisturbed: {', '.join(names)} in {time.monotonic() - self._began:.1f} s", flush=True)

    async def _rage(self, requester: Requester, watcher: Watcher, storm: Storm) -> None:
        self._began = time.monotonic()
        raging = asyncio.create_task(storm.rage())
        asking = asyncio.create_task(self._ask(requester, storm))
        await asyncio.wait({raging, asking}, return_when=asyncio.FIRST_EXCEPTION)
        if asking.done():
            asking.result()
        await raging
        self._raged_s = time.monotonic() - self._began
        await asking
        known, since = -1, time.monotonic()
        while any(run not in watcher.finished for run, _, _ in self._runs):
            storm.supervise()
            await asyncio.sleep(0.2)
            if watcher.seq != known:
                known, since = watcher.seq, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                break

    async def _ask(self, requester: Requester, storm: Storm) -> None:
        """Each run in its turn, by the number of kills so far."""
        last = max(1, len(self._runs) - 1)
        for number, (run, plan, executors) in enumerate(self._runs):
            due = number * max(0, self._scale.pace.kills - LAST_KILLS) / last
            while storm.kills < due:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await requester.run(run, self._plans[plan], executors=executors)
            self._asked.append(run)

    async def _tell(self, watcher: Watcher, storm: Storm, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            tasks = watcher.succeeded.total()
            ended = sum(run in watcher.finished for run, _, _ in self._runs)
            self._say(
                f"{time.monotonic() - self._began:6.0f} s  kills {storm.kills}/{self._scale.pace.kills}, "
                f"stops {storm.freezes}, tasks {tasks}, runs {ended} of {len(self._asked)} asked ({len(self._runs)}), "
                f"events {watcher.seq}, leader {watcher.leader}",
                flush=True,
            )

    async def _judge(self, watcher: Watcher, storm: Storm) -> Report:
        checker = await check_log(self._site)
        digests = {name: checker.runs[f"undisturbed-{name}"].outcome_digest for name in self._plans}
        for name, plan in self._plans.items():
            checker.check_succeeded(f"undisturbed-{name}", len(plan.tasks), digests[name])
        for run, plan, _ in self._runs:
            checker.check_succeeded(run, len(self._plans[plan].tasks), digests[plan])
        checker.check_trace(self._trace, [run for run, plan, _ in self._runs if plan == "commands"])
        report = Report(checker)
        report.problems += [text for text in [checker.verdict()] if text]
        report.problems += storm.surprises
        report.problems += [f"a traceback: {text}" for text in self._site.tracebacks()]
        if self._scale.outlasts and not storm.left:
            report.problems.append("nothing was left to do when the storm ended: the kills came too slowly")
        report.lines = [*self._figures(checker, storm), *takeovers(storm.done, watcher.epochs)]
        return report

    def _figures(self, checker: Checker, storm: Storm) -> list[str]:
        figures = checker.figures
        scale = self._scale
        return [
            f"seed {self._seed}",
            f"kills {storm.kills}, stops {storm.freezes}, in {self._raged_s:.0f} s; "
            f"{storm.left} runs unfinished at the last kill; all ended after {time.monotonic() - self._began:.0f} s",
            *(f"  {kind}: {count}" for kind, count in sorted(storm.by_kind().items())),
            f"tasks: {scale.noop_runs * scale.noops} noops in {scale.noop_runs} runs, "
            f"{scale.command_runs * scale.commands} commands in {scale.command_runs} runs",
            f"events {figures['events']}; entries: " + ", ".join(f"{k} {v}" for k, v in sorted(figures.items())),
            f"most attempts out: {max((facts.most_out for facts in checker.runs.values()), default=0)}",
        ]


def takeovers(done: list[Disturbance], epochs: list[Epoch]) -> list[str]:
    """How long the leader was missed, from the blow to the next epoch."""
    by_standby: list[float] = []
    by_itself: list[float] = []
    for blow in done:
        if not blow.was_leader or blow.name == BROKER:
            continue
        following = next((epoch for epoch in epochs if epoch.at > blow.at), None)
        if following is None or (blow.kind == "freeze" and following.at > blow.at + blow.lasted_s * 1000):
            continue
        (by_itself if following.instance == blow.name else by_standby).append((following.at - blow.at) / 1000)
    lines = []
    for what, values in (("the standby leads", by_standby), ("it leads again itself", by_itself)):
        if values:
            lines.append(
                f"after a blow at the leader, {what}: {len(values)} times, {min(values):.2f} to {max(values):.2f} s, "
                f"median {statistics.median(values):.2f} s (lease: {LEASE_S:g} s)"
            )
    return lines


def write_report(report: Report, folder: Path) -> Path:
    path = folder / "report.txt"
    path.write_text(f"{report}\n")
    return path
