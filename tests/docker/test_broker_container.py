"""The broker's image, started by testcontainers: all our streams and an atomic batch on it. Other tests use a plain ``nats-server``."""

import os
from collections.abc import Iterator

import pytest
from fakes.containers import DockerEngine

from pto_bus.bootstrap import bootstrap
from pto_bus.connect import connect
from pto_bus.event_log import NatsEventLog
from pto_bus.topology import Sizes, single_host_accounts
from pto_ports.event_log import Outgoing

RUN = "pto.run-accepted._.run-0001"
PORT, MONITOR = 4222, 8222
START_S = 30
SMALL = Sizes(log_bytes=50 << 20, request_bytes=10 << 20, blob_bytes=50 << 20)


@pytest.fixture
def broker_url(docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # Read when the library is imported. Its remover of leftovers is an image of a registry, ours are swept by label; and in a
    # container it would take the engine's ports to be on the bridge's address.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    monkeypatch.setenv("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    if not os.environ.get("DOCKER_HOST"):
        monkeypatch.setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    container = DockerContainer(docker_engine.nats).with_exposed_ports(PORT, MONITOR)
    container.with_tmpfs_mount("/data", "size=1g").with_kwargs(
        labels=docker_engine.labels, read_only=True, cap_drop=["ALL"]
    )
    with container.waiting_for(HttpWaitStrategy(MONITOR, "/healthz").with_startup_timeout(START_S)):
        yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(PORT)}"


async def test_broker_in_a_container_keeps_the_log(broker_url: str) -> None:
    connection = await connect(broker_url, user="anybody", password="at-all")
    try:
        await bootstrap(connection, single_host_accounts("at-all", ()), sizes=SMALL)
        log = NatsEventLog(connection)
        assert await log.append([Outgoing(RUN, f"{number}".encode(), f"id-{number}") for number in range(3)]) == 3
        assert [found.data for found in await log.read_run("pto.*.*.run-0001")] == [b"0", b"1", b"2"]
    finally:
        await connection.close()
