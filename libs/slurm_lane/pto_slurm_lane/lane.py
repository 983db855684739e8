"""What all attempts of a lane share, and how they are told of news.

Imports attempts, ports, runtime and siblings. Invariant: it holds things together and decides nothing.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from pto_attempts.materials import Materials
from pto_attempts.outcome import Outcomes
from pto_ports.backend import LiveLine, Report
from pto_ports.clock import Clock
from pto_proto.events import TaskFinished
from pto_runtime.settings import Settings
from pto_slurm.package import Installed
from pto_slurm.shape import Site
from pto_slurm_lane.board import Board
from pto_slurm_lane.canceller import Canceller
from pto_slurm_lane.clients import LIMIT_S, SlurmClients
from pto_slurm_lane.gate import Gate
from pto_slurm_lane.ledger import Ledger, Record
from pto_slurm_lane.places import Places
from pto_slurm_lane.projection import Projections
from pto_slurm_lane.tail import Tails
from pto_slurm_lane.watch import Watch
from pto_slurm_node.spool import Spool

Revise = Callable[[Record, TaskFinished], Awaitable[TaskFinished]]
"""Has the last word on how an attempt ended, before anybody is told; may be asked again after a restart."""

ORDER_WAIT_S = 60.0


async def as_it_is(record: Record, end: TaskFinished) -> TaskFinished:
    """For sites that know nothing better than SLURM."""
    return end


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane was told about its site."""

    spool: Path
    """On a file system that the nodes mount at the same path."""
    site: Site = Site()
    poll_s: float = 10.0
    client_limit_s: float = LIMIT_S
    """How long a client of SLURM may take."""
    rate: float = 2.0
    burst: int = 10
    python: str = "python3"
    """Of the compute nodes, for commands: 3.8 or newer."""
    agent_python: str = ""
    """Of the compute nodes, for agents: one in which this distribution is installed; empty: this process's own."""

    pilots: int = 0
    """Pilots that may be there at once; 0: every task has a job of its own."""

    lookahead: int = 0
    """Of each run, jobs that may be submitted before their tasks' turns."""
    order_wait_s: float = ORDER_WAIT_S
    """So long such a job waits for its order, once it runs."""

    @property
    def floor_s(self) -> float:
        """Two looks are at least so far apart."""
        return min(2.0, self.poll_s)

    @property
    def scan_s(self) -> float:
        """How often the folder of results is scanned."""
        return min(2.0, self.poll_s / 2)


def lane_settings(settings: Settings) -> LaneSettings:
    """What a lane is told of its service's settings."""
    return LaneSettings(
        spool=settings.slurm_folder,
        site=Site(max_memory=settings.slurm_max_memory, max_time=settings.slurm_max_time),
        poll_s=settings.slurm_poll_s,
        rate=settings.slurm_rate,
        burst=int(settings.slurm_burst),
        python=settings.slurm_python,
        agent_python=settings.slurm_agent_python or sys.executable,
        lookahead=settings.slurm_jobs_ahead,
        order_wait_s=settings.slurm_order_wait_s,
        pilots=settings.slurm_pilot_jobs,
    )


class Lane(msgspec.Struct, kw_only=True):
    """The parts that attempts work with."""

    settings: LaneSettings
    clock: Clock
    spool: Spool
    clients: SlurmClients
    ledger: Ledger
    outcomes: Outcomes
    materials: Materials
    watch: Watch
    board: Board
    gate: Gate
    places: Places
    canceller: Canceller
    projections: Projections
    host_environment: Mapping[str, str]
    report: Report
    live: LiveLine
    tails: Tails
    installed: Installed
    """The executor, on the shared file system."""
    revise: Revise = as_it_is
