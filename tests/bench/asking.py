"""A requester with a stopwatch: asks for a run and looks at the mirror of the log until all results are known.

Invariant: a result counts when this client has decoded the TaskFinished that says so; the log's own tasks
(``_plan``, ``_merge``) never count.
"""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from tests.chaos.sites import PASSWORD

from pto_bus.session import Session, open_session
from pto_client.requester import ask, with_plan
from pto_ports.event_log import LogReader, Recorded
from pto_proto.ids import RunId
from pto_proto.plans import Plan
from pto_proto.requests import RunRequested
from pto_proto.subjects import run_filter

from .meter import Meter

PATIENCE_S = 600.0
"""Longest time without any news of a run before the measurement is given up."""

ASKING_AT_ONCE = 32
"""Requests under way at once, when many runs are asked for."""


class _Entry(msgspec.Struct, frozen=True):
    task: str = ""
    outcome: str = ""
    status: str = ""


class _Data(msgspec.Struct, frozen=True):
    entries: tuple[_Entry, ...] = ()


class _Wire(msgspec.Struct, frozen=True):
    data: _Data


_decoder = msgspec.json.Decoder(_Wire)
_READ = {"task-finished", "run-finished"}


class NotAsExpected(Exception):
    """A workload did not do what it should have; its figures would mean nothing."""


@dataclass
class Story:
    """What the client learnt of one run, and when, in seconds from the start of its meter."""

    run: RunId
    n: int
    submitted_s: float = 0.0
    """The request is stored, and before it the plan."""
    first: dict[str, float] = field(default_factory=dict)
    """Kind of event -> when the first one was seen."""
    outcomes: Counter[str] = field(default_factory=Counter)
    all_known_s: float = 0.0
    finished_s: float = 0.0
    status: str = ""

    def take(self, recorded: Recorded, now: float) -> None:
        kind = recorded.subject.split(".")[1]
        self.first.setdefault(kind, now)
        if kind not in _READ:
            return
        for entry in _decoder.decode(recorded.data).data.entries:
            if kind == "run-finished":
                self.status, self.finished_s = entry.status, now
            elif not entry.task.startswith("_"):
                self.outcomes[entry.outcome] += 1

    @property
    def all_known(self) -> bool:
        return self.outcomes.total() >= self.n

    def check(self) -> None:
        """Raises NotAsExpected unless every task succeeded once."""
        if self.outcomes != Counter(succeeded=self.n) or self.status != "succeeded":
            raise NotAsExpected(f"run {self.run} of {self.n} tasks: {dict(self.outcomes)}, {self.status or 'no end'}")


class Client:
    """One requester's connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    async def open(cls, url: str, user: str = "requester") -> "Client":
        return cls(await open_session(url, user=user, password=PASSWORD))

    async def close(self) -> None:
        await self._session.close()

    async def measure(self, plan: Plan, *, executors: int, meter: Meter) -> Story:
        """Run the plan to its end; the meter stops when the last result is known."""
        story = Story(new_run(), len(plan.tasks))
        reader = await self._session.view.read(subject=run_filter(story.run))
        try:
            meter.start()
            await self.ask(story.run, plan, executors=executors)
            story.submitted_s = meter.since_start()
            await self._follow(reader, story, meter)
        finally:
            await reader.close()
        story.check()
        return story

    async def measure_many(self, plan: Plan, *, runs: int, executors: int, meter: Meter) -> list[Story]:
        """Run the plan many times at once; the meter stops when the last result of all is known."""
        stories = {(run := new_run()): Story(run, len(plan.tasks)) for _ in range(runs)}
        mark = await self._session.view.last_seq()
        reader = await self._session.view.read(after=mark)
        waiting, unknown = set(stories), set(stories)
        try:
            meter.start()
            asking = asyncio.create_task(self._ask_many(stories, plan, executors, meter))
            while waiting:
                news = await reader.next(PATIENCE_S)
                if not news:
                    raise NotAsExpected(f"no news of {len(waiting)} runs for {PATIENCE_S:g} s")
                for recorded in news:
                    story = stories.get(RunId(recorded.subject.rpartition(".")[2]))
                    if story is None:
                        continue
                    story.take(recorded, meter.since_start())
                    if story.status:
                        waiting.discard(story.run)
                    if story.all_known and story.run in unknown:
                        unknown.remove(story.run)
                        if not unknown:
                            meter.stop()
            await asking
        finally:
            await reader.close()
        for story in stories.values():
            story.check()
        return list(stories.values())

    async def _ask_many(self, stories: dict[RunId, Story], plan: Plan, executors: int, meter: Meter) -> None:
        """Ask for all these runs, some at once."""
        left = iter(stories.values())

        async def ask_on() -> None:
            for story in left:
                await self.ask(story.run, plan, executors=executors)
                story.submitted_s = meter.since_start()

        await asyncio.gather(*(ask_on() for _ in range(ASKING_AT_ONCE)))

    async def ask(self, run: RunId, plan: Plan, *, executors: int) -> None:
        """Store the plan and the request."""
        request = RunRequested(run=run, name=plan.name, max_executors=executors)
        request = await with_plan(request, plan, self._session.blobs)
        user = self._session.connection.user
        await ask(
            self._session.queue, request, requester=user, request_id=secrets.token_hex(8), now=time.time_ns() // 10**6
        )

    async def _follow(self, reader: LogReader, story: Story, meter: Meter) -> None:
        while not story.status:
            news = await reader.next(PATIENCE_S)
            if not news:
                raise NotAsExpected(f"no news of run {story.run} for {PATIENCE_S:g} s: {dict(story.outcomes)}")
            for recorded in news:
                story.take(recorded, meter.since_start())
                if story.all_known and not story.all_known_s:
                    meter.stop()
                    story.all_known_s = meter.seconds


def new_run() -> RunId:
    return RunId(f"bench-{secrets.token_hex(6)}")
