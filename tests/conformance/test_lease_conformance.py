"""The Lease port: one suite for the twin and the broker's stream."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pto_bus.connect import Connection
from pto_bus.lease import NatsLease
from pto_memory import MemoryLeases
from pto_ports.lease import LEASE_S, Lease
from pto_runtime.clock import SystemClock

ConnectAs = Callable[[str], Awaitable[Connection]]
MakeLease = Callable[[str, str], Lease]


@pytest.fixture(params=["memory", "nats"])
async def lease_of(request: pytest.FixtureRequest, connect_as: ConnectAs) -> MakeLease:
    if request.param == "memory":
        return MemoryLeases(SystemClock()).lease
    connection = await connect_as("scheduler")
    return lambda instance, incarnation: NatsLease(connection, instance, incarnation)


async def test_one_holder_at_a_time_and_renewing_keeps_it(lease_of: MakeLease) -> None:
    first, second = lease_of("one", "a"), lease_of("two", "b")
    assert await first.take()
    assert not await second.take(may_claim=True)
    assert await first.take()
    assert not await second.take()


async def test_a_released_lease_is_free_at_once_and_only_its_holder_releases_it(lease_of: MakeLease) -> None:
    first, second = lease_of("one", "a"), lease_of("two", "b")
    assert await first.take()
    await second.release()
    assert not await second.take()
    await first.release()
    assert await second.take()
    assert not await first.take(may_claim=True)


async def test_a_restarted_instance_claims_the_lease_of_its_earlier_self(lease_of: MakeLease) -> None:
    before, after = lease_of("one", "a"), lease_of("one", "b")
    assert await before.take()
    assert not await after.take()
    assert await after.take(may_claim=True)
    assert not await before.take()


@pytest.mark.slow
async def test_a_lease_that_is_not_renewed_ends(lease_of: MakeLease) -> None:
    first, second = lease_of("one", "a"), lease_of("two", "b")
    assert await first.take()
    await asyncio.sleep(LEASE_S * 0.7)
    assert await first.take()
    await asyncio.sleep(LEASE_S * 0.7)
    assert not await second.take()
    await asyncio.sleep(LEASE_S * 0.3 + 0.5)
    assert await second.take()
    assert not await first.take()
