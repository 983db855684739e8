"""A site of its own for every scenario, with a requester and a watcher."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .asking import Requester, Watcher
from .plans import TRACE
from .sites import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A broker that is set up; no service runs yet."""
    it = Site(tmp_path)
    try:
        trace_of(it).touch()
        it.variables[TRACE] = str(trace_of(it))
        await it.set_up()
        yield it
    finally:
        it.close()


@pytest.fixture
async def requester(site: Site) -> AsyncIterator[Requester]:
    it = await Requester.open(site)
    yield it
    await it.close()


@pytest.fixture
async def watcher(site: Site) -> AsyncIterator[Watcher]:
    """Has its own connection: a scenario's requester may be blocked."""
    it = Watcher(await Requester.open(site, "hostile"), site.check)
    it.begin()
    yield it
    await it.close()
    await it.requester.close()


def trace_of(site: Site) -> Path:
    return site.folder / "trace"
