"""A broker, all services and a SLURM dispatcher as processes, on a test bed of their own."""

import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.chaos.plans import TRACE
from tests.chaos.sites import CONSOLIDATOR, PASSWORD, PLANNER, SCHEDULER, Service, Site
from tests.slurm.testbed import SlurmTestbed

from pto_bus.topology import Account
from pto_proto.ids import Lane

LANE = Lane("slurm-default")
DISPATCHER = Service("dispatcher-slurm-default", "pto-dispatcher-slurm", capacity=32)
SERVICES = (SCHEDULER, PLANNER, CONSOLIDATOR, DISPATCHER)


class SlurmSite(Site):
    """``variables`` may be changed before services are started."""

    def __init__(self, folder: Path, testbed: SlurmTestbed) -> None:
        super().__init__(folder)
        self.testbed = testbed
        self.accounts.append(Account(user=DISPATCHER.name, password=PASSWORD, role="dispatcher", lane=LANE))
        self.broker.stop()
        self.broker = type(self.broker).start(folder / "store", self.accounts, sync_interval="always")
        self.trace = folder / "trace"
        self.trace.touch()
        self.spool = folder / "spool"
        self.fakes = folder / "fakes"
        self.fakes.mkdir()
        self.variables |= {
            TRACE: str(self.trace),
            "SLURM_CONF": testbed.environment["SLURM_CONF"],
            "PTO_SLURM_SPOOL": str(self.spool),
            "PTO_SLURM_POLL_S": "0.5",
            "PTO_SLURM_SUBMIT_RATE": "50",
            "PTO_SLURM_SUBMIT_BURST": "50",
        }

    def environment(self, user: str, folder: Path) -> dict[str, str]:
        environment = super().environment(user, folder)
        return {**environment, "PATH": f"{self.fakes}:{environment['PATH']}"}

    def fake(self, program: str, text: str) -> None:
        """A program that the dispatcher finds before SLURM's own, which is ``$REAL``."""
        path = self.fakes / program
        path.write_text(f"#!/bin/bash\nREAL=/usr/bin/{program}\n{text}\n")
        path.chmod(0o755)


class Census:
    """Counts the jobs that are pending or running, as SLURM sees them, all the time."""

    def __init__(self, testbed: SlurmTestbed) -> None:
        self._testbed = testbed
        self._task: asyncio.Task[None] | None = None
        self.most = 0
        self.looks = 0

    def begin(self) -> None:
        self._task = asyncio.create_task(self._count())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _count(self) -> None:
        while True:
            with suppress(AssertionError, subprocess.TimeoutExpired):
                rows = await asyncio.to_thread(
                    self._testbed.client, "squeue", "-h", "-t", "PENDING,RUNNING,CONFIGURING", "-O", "Name:64"
                )
                self.most = max(self.most, sum(line.startswith("pto-") for line in rows.splitlines()))
                self.looks += 1
            await asyncio.sleep(0.3)
