"""Pilot mode while everything around it goes wrong: no task is lost, no attempt is done twice, none ends twice."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from tests.slurm.test_pilot_lane import PilotLane
from tests.slurm.testbed import SlurmTestbed

from pto_proto import events as ev
from pto_slurm import evidence
from pto_slurm_lane import sighting

TASKS = 150
AT_ONCE = 12
PILOTS = 3


class Campaign:
    """Hands out as the scheduler does: what failed by no fault of its own is handed out again."""

    def __init__(self, lane: PilotLane, trace: Path, chance: random.Random) -> None:
        self.lane = lane
        self.trace = trace
        self.chance = chance
        self.attempts = Counter[str]()
        self.done: set[str] = set()
        self.left = [f"t{number}" for number in range(TASKS)]
        self.out: list[str] = []

    async def hand_out(self) -> None:
        for task in tuple(self.out):
            for end in self.lane.ends(task, self.attempts[task])[:1]:
                await self._ended(task, end)
        while self.left and len(self.out) < AT_ONCE:
            self.out.append(self.left.pop(0))
            await self._start(self.out[-1])

    async def harm(self) -> None:
        """A dispatcher that starts again, a pilot that somebody cancels, and one that is killed without a word."""
        if self.chance.random() < 0.5:
            await self.lane.kill()
            await self.lane.restart()
            await self.lane.backend.sweep()
        elif running := self.lane.pilots("RUNNING"):
            how = ["--batch", "--signal=KILL"] if self.chance.random() < 0.3 else []
            self.lane.testbed.client("scancel", *how, self.chance.choice(running))

    async def _ended(self, task: str, end: ev.TaskFinished) -> None:
        if end.outcome == "succeeded":
            self.out.remove(task)
            self.done.add(task)
            self.lane.forget(task, self.attempts[task])
        else:
            assert end.failure == "infra", end
            await self._start(task)

    async def _start(self, task: str) -> None:
        self.attempts[task] += 1
        line = f"echo {task}.{self.attempts[task]} >> {self.trace}; sleep 0.{self.chance.randint(0, 4)}"
        await self.lane.start(task, self.attempts[task], command=line, slot=int(task[1:]) % AT_ONCE)


@pytest.mark.slow
async def test_dispatchers_that_start_again_and_pilots_that_are_ended(
    slurm_cluster: SlurmTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "GRACE_S", 6.0)  # this machine's results come at once
    monkeypatch.setattr(sighting, "CLOCKS_DIFFER_S", 2.0)
    lane = PilotLane(slurm_cluster, tmp_path, pilots=PILOTS)
    await lane.open()
    trace = tmp_path / "trace"
    trace.touch()
    campaign = Campaign(lane, trace, random.Random(3))
    async with asyncio.timeout(300):
        turn = 0
        while len(campaign.done) < TASKS:
            turn += 1
            await campaign.hand_out()
            if turn % 15 == 7:
                await campaign.harm()
            await asyncio.sleep(0.1)
    executed = Counter(trace.read_text().split())
    assert set(executed.values()) == {1}, "no attempt was done twice"
    assert {line.partition(".")[0] for line in executed} == campaign.done
    for task, number in campaign.attempts.items():
        for attempt in range(1, number + 1):
            assert len(lane.ends(task, attempt)) == 1
    assert campaign.attempts.total() > TASKS, "some were done again"
    assert len(lane.pilots()) <= PILOTS
    await lane.backend.close()
