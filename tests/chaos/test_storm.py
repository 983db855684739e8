"""The small storm: a few kills over a few thousand tasks; ``make chaos`` makes the big one."""

from dataclasses import replace
from pathlib import Path

import pytest

from .campaign import Campaign, Scale
from .sites import CONSOLIDATOR, DISPATCHER, PLANNER, SCHEDULER, SECOND_DISPATCHER, STANDBY, Site
from .storm import Pace

ENSEMBLE = (
    SCHEDULER, STANDBY, PLANNER, replace(DISPATCHER, capacity=256), replace(SECOND_DISPATCHER, capacity=256),
    CONSOLIDATOR,
)  # fmt: skip
SMALL = Scale(
    pace=Pace(kills=12, freezes=2, freeze_s=(1.0, 8.0)),
    noop_runs=4, noops=500, layers=10, executors=256, command_runs=4, commands=25, sleep_s=0.1,
)  # fmt: skip


@pytest.mark.slow
async def test_a_small_storm_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """12 kills and 2 stops over 2,000 noops and 100 commands: every task succeeds, once, as if nothing had been."""
    site = Site(tmp_path)
    try:
        await site.set_up()
        report = await Campaign(site, ENSEMBLE, SMALL, seed=1).run()
        assert not report.problems, f"{report}\n{site.logs()}"
    finally:
        site.close()
