"""Systems on the real engine, with the product's own image of this tree."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.containers import DockerEngine

from systems import DockerSite

MakeSite = Callable[..., DockerSite]


@pytest.fixture
def make_site(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[MakeSite]:
    """Makes a system whose dispatcher gets these variables; nothing is started yet."""
    made: list[DockerSite] = []

    def make(**environment: str) -> DockerSite:
        folder = tmp_path / f"site-{len(made)}"
        folder.mkdir()
        made.append(DockerSite(folder, **{"PTO_DOCKER_IMAGE": docker_engine.slim, **environment}))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: MakeSite) -> DockerSite:
    """One that is up."""
    started = make_site()
    started.start()
    return started
