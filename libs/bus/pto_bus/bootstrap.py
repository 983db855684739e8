"""Makes the streams and the services' consumers that topology declares. Imports connect and topology.

Invariant: running it again changes nothing. A stream with other settings is never changed behind anybody's back, and a
log that should exist is never made anew: ``may_create_log`` must come from somebody who knows that it never existed.
"""

import asyncio
from typing import Any

from pto_bus import limits
from pto_bus.connect import ApiError, Connection
from pto_bus.errors import StoreCorrupt, TopologyDrift
from pto_bus.topology import Account, Sizes, consumers, streams
from pto_proto.subjects import LOG_STREAM, REQUEST_STREAM

STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
_MAY_GROW = ("max_bytes", "subjects")
"""Raised in place: room, and the subjects of new event types."""
_MAY_CHANGE = ("compression",)
"""Changed in place: how the broker keeps what comes from now on."""


async def bootstrap(
    connection: Connection, accounts: list[Account], *, sizes: Sizes | None = None, may_create_log: bool = True
) -> None:
    """Make what is missing, as the account with the role ``bootstrap``.

    Pass ``may_create_log=False`` when the log was there before (``Broker.had_log``): its absence is then StoreCorrupt.
    So it is where the stream of requests exists, which is made after the log. Raises TopologyDrift for a stream with
    other settings.
    """
    wanted = streams(sizes or Sizes())
    actual = await asyncio.gather(*(_find_stream(connection, config["name"]) for config in wanted))
    found = {config["name"]: is_there for config, is_there in zip(wanted, actual, strict=True)}
    if found[LOG_STREAM] is None and not (may_create_log and found[REQUEST_STREAM] is None):
        raise StoreCorrupt(f"the stream {LOG_STREAM} is gone: restore the broker's store from a copy")
    # The log alone at first: the others say that it was made, and one of them mirrors it.
    log, *others = wanted
    await _settle_stream(connection, log, found[LOG_STREAM])
    await asyncio.gather(*(_settle_stream(connection, config, found[config["name"]]) for config in others))
    await asyncio.gather(*(_settle_consumer(connection, stream, config) for stream, config in consumers(accounts)))


async def _find_stream(connection: Connection, name: str) -> dict[str, Any] | None:
    """The stream's configuration; None: there is no such stream."""
    try:
        info = await connection.api(f"STREAM.INFO.{name}", timeout_s=limits.BOOTSTRAP_S)
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return None
    actual: dict[str, Any] = info["config"]
    return actual


async def _settle_stream(connection: Connection, wanted: dict[str, Any], actual: dict[str, Any] | None) -> None:
    name = wanted["name"]
    if actual is None:
        await connection.api(f"STREAM.CREATE.{name}", wanted, limits.BOOTSTRAP_S)
        return
    differing = _differences(wanted, actual)
    changed = {key: wanted[key] for key in differing if key in _MAY_GROW and _is_larger(wanted[key], actual.get(key))}
    changed |= {key: wanted[key] for key in differing if key in _MAY_CHANGE}
    refused = sorted(set(differing) - set(changed))
    if refused:
        words = "; ".join(f"{key} is {actual.get(key)!r}, wanted {wanted[key]!r}" for key in refused)
        raise TopologyDrift(
            f"the stream {name} has other settings than this version makes: {words}; ask for those that it "
            "has, or change it with the broker's own tool (nats stream edit)"
        )
    if changed:
        await connection.api(f"STREAM.UPDATE.{name}", {**actual, **changed}, limits.BOOTSTRAP_S)


async def _settle_consumer(connection: Connection, stream: str, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    try:
        actual = (await connection.api(f"CONSUMER.INFO.{stream}.{name}", timeout_s=limits.BOOTSTRAP_S))["config"]
        if not _differences(wanted, actual):
            return
        await connection.api(f"CONSUMER.DELETE.{stream}.{name}", timeout_s=limits.BOOTSTRAP_S)
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
    # A consumer holds nothing that matters: its service resets it to its own position whenever it opens a reader.
    body = {"stream_name": stream, "config": wanted, "action": "create"}
    subject = f"CONSUMER.CREATE.{stream}.{name}"
    if "filter_subject" in wanted:
        subject += f".{wanted['filter_subject']}"
    await connection.api(subject, body, limits.BOOTSTRAP_S)


def _differences(wanted: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """Keys whose values differ; the server leaves out what is false, zero or empty and adds what we did not say."""
    return [key for key, value in wanted.items() if not _same(value, actual.get(key))]


def _same(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return not _differences(wanted, actual)
    return wanted == actual or (not wanted and not actual)


def _is_larger(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, list):
        return set(wanted) > set(actual or ())
    return isinstance(wanted, int) and wanted > int(actual or 0)
