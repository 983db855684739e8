"""Fixtures shared by all tests: a real broker per test, set up, and connections to it by account; a Docker engine; a
SLURM cluster.

A broker's start with bootstrap takes about 100 ms, so every test has a store of its own. The cluster takes a second and
serves all tests; those that damage it start one of their own (``SlurmTestbed.start``).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.containers import docker_engine  # noqa: F401  (a fixture, for tests of any folder)
from tests.slurm.testbed import SlurmTestbed

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import Connection, connect
from pto_bus.topology import Account, single_host_accounts
from pto_proto.ids import LANE_LOCAL

PASSWORD = "for-tests"
pytest_plugins = ("tests.aws.buckets",)


@dataclass
class RunningBroker:
    """A broker with streams. Users: ``single_host_accounts`` for the lane ``local``, and ``other-requester``."""

    broker: Broker
    accounts: list[Account]
    password: str

    @property
    def url(self) -> str:
        return self.broker.url


ConnectAs = Callable[[str], Awaitable[Connection]]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    accounts = single_host_accounts(PASSWORD, (LANE_LOCAL,))
    accounts.append(Account(user="other-requester", password=PASSWORD, role="requester"))
    with Broker.start(tmp_path / "store", accounts) as running:
        connection = await connect(running.url, user="bootstrap", password=PASSWORD)
        await bootstrap(connection, accounts)
        await connection.close()
        yield RunningBroker(running, accounts, PASSWORD)
        running.kill()  # an orderly end takes 0.1 s more, for a store that is thrown away


@pytest.fixture
async def connect_as(broker: RunningBroker) -> AsyncIterator[ConnectAs]:
    """Connect as one of the broker's users; the connection is closed after the test."""
    opened: list[Connection] = []

    async def connect_one(user: str) -> Connection:
        opened.append(await connect(broker.url, user=user, password=broker.password))
        return opened[-1]

    yield connect_one
    for connection in opened:
        await connection.close()


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    """Four nodes that nobody harms; its clients need its ``environment``."""
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("slurm") / "c")
    yield testbed
    testbed.do("down")
