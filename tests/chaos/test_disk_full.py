"""The broker's disk runs full in the middle of a run: nothing acknowledged is lost, and it goes on when there is room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pto_bus.bootstrap import bootstrap
from pto_bus.connect import connect
from pto_bus.topology import Sizes

from .asking import Requester, Watcher
from .checker import check_log
from .plans import noop_plan
from .sites import PASSWORD, Site, until

DISK_MB = 96
"""A broker refuses to start on a disk with less than 64 MB free."""
TASKS = 20_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of its own; None where that is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room of this disk; the broker writes at the same time."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * (1 << 16)):
            pass
    return ballast


def is_full(site: Site, disk: Path | None) -> bool:
    """Whether the broker, or for its own limit the scheduler, has met the end of the room."""
    if disk is None:
        return "takes nothing" in site.logs()
    return "no space left on device" in (disk / "store/nats-server.log").read_text()


async def run_into_the_wall(site: Site, *, store: Path | None) -> None:
    """A run meets the end of the room, waits, gets room, and ends; the log is as if nothing had been."""
    await site.set_up()
    site.start_all()
    requester = await Requester.open(site)
    watcher = Watcher(requester, site.check)
    watcher.begin()
    try:
        await requester.run("room-enough", noop_plan(100, 5), executors=50)
        await watcher.until_finished("room-enough")
        await requester.run("no-more-room", noop_plan(TASKS, 20), executors=200)
        await watcher.wait(lambda: watcher.succeeded["no-more-room"] > 0, 60, "the start of the run")
        ballast = fill(store) if store is not None else None
        await until(lambda: is_full(site, store), 120, what="a full disk")
        assert "no-more-room" not in watcher.finished
        site.check()
        if ballast is not None:
            ballast.unlink()
            site.broker.restart()  # it writes no more to a stream that met a full disk until it is started again
        else:
            connection = await connect(site.url, user="bootstrap", password=PASSWORD)
            await bootstrap(connection, site.accounts, sizes=Sizes())
            await connection.close()
        await watcher.until_finished("no-more-room")
        checker = await check_log(site)
        for run, tasks in (("room-enough", 100), ("no-more-room", TASKS)):
            checker.check_succeeded(run, tasks, checker.runs[run].outcome_digest)
        assert not checker.verdict()
        assert not site.tracebacks()
    finally:
        await watcher.close()
        await requester.close()


@pytest.mark.slow
async def test_a_full_disk_delays_a_run_and_loses_nothing(tmp_path: Path, small_disk: Path | None) -> None:
    """A small disk of the broker's own, filled by somebody else; where none can be mounted, the log's own limit."""
    store = small_disk / "store" if small_disk is not None else None
    site = Site(tmp_path, store=store, sizes=Sizes() if store is not None else Sizes(log_bytes=300_000))
    try:
        await run_into_the_wall(site, store=small_disk)
    finally:
        site.close()
