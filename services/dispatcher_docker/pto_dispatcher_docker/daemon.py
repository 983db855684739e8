"""The container engine's API in a few calls, by aiodocker. The only module that knows that package.

Imports aiodocker and aiohttp. Invariants: an answer is believed, its absence means that nobody knows; nothing is ever
pulled. Waits and logs hold a connection each for as long as containers run, so they have a client without a limit of
connections; creates, starts and deletes have another one and take turns.
"""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiodocker
import aiohttp
import msgspec
from aiodocker.containers import DockerContainer

from pto_dispatcher_docker.limits import CALL_S, FRAME_BYTES

T = TypeVar("T")
_UNREACHABLE = 900
"""aiodocker's status for a daemon that cannot be reached."""
_FRAME = struct.Struct(">BxxxL")
_STREAMS = {1: "stdout", 2: "stderr"}
_FOREVER = aiohttp.ClientTimeout()
_CLOSED = "the daemon was asked outside of open and close"
_LEAVING = 503
"""The daemon is being stopped."""


class DaemonAway(Exception):
    """No answer: nobody knows what became of the call. Asking again later may help."""


class DaemonRefused(Exception):
    """The daemon answered that it will not; asking the same again does not help."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NoContainer(DaemonRefused):
    """There is no such container."""


class NoImage(DaemonRefused):
    """There is no such image on this machine."""


class NameTaken(DaemonRefused):
    """There is a container of this name already."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A container as the daemon describes it."""

    id: str
    name: str
    labels: Mapping[str, str] = {}
    status: str
    """created, running, paused, restarting, removing, exited or dead."""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_ms: int = 0
    """Unix ms; 0: never."""
    finished_ms: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs, and something did."""
        return self.status in ("exited", "dead", "removing")

    def bears(self, labels: Mapping[str, str]) -> bool:
        """Whether it has all of these labels; its image may give it others."""
        return labels.items() <= self.labels.items()


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """The engine as it describes itself."""

    version: str
    cpus: int
    folder: str
    """Where it keeps images and containers, on its host."""


class Daemon:
    """One engine on this host, by its socket; ``calls``: creates, starts and deletes at once."""

    def __init__(self, socket: str, calls: int) -> None:
        self.socket = socket
        self._turns = asyncio.Semaphore(calls)
        self._short: aiodocker.Docker | None = None
        self._long: aiodocker.Docker | None = None

    async def open(self) -> None:
        """Get ready; nobody is asked."""
        url = f"unix://{self.socket}"
        self._short = aiodocker.Docker(url=url)
        connector = aiohttp.UnixConnector(self.socket, limit=0)
        session = aiohttp.ClientSession(connector=connector, timeout=_FOREVER)
        # With a connector of its own, the address only begins the URLs.
        self._long = aiodocker.Docker(url="unix://localhost", connector=connector, session=session)

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._short, self._long):
            if client is not None:
                await client.close()
        if self._long is not None:
            await self._long.session.close()
        self._short = self._long = None

    # --- what changes something ---

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container and return its id. Raises NameTaken, NoImage, DaemonRefused, DaemonAway."""
        made = await self._in_turn(lambda: self._calls.containers.create(dict(body), name=name))
        return str(made.id)

    async def start(self, container: str) -> None:
        """Start it; harmless if it runs. Raises NoContainer, DaemonRefused, DaemonAway."""
        await self._in_turn(self._container(container).start)

    async def stop(self, container: str, grace_s: int) -> None:
        """Ask it to end, and kill it after the grace; returns when it has ended. Raises NoContainer, DaemonAway."""
        stop = self._long_container(container).stop
        await self._answered(lambda: stop(t=grace_s), CALL_S + grace_s)

    async def remove(self, container: str) -> None:
        """Kill it and remove all of it; harmless if there is none. Raises DaemonRefused, DaemonAway."""
        try:
            await self._in_turn(lambda: self._container(container).delete(force=True, v=True))
        except NoContainer:
            return
        except DaemonRefused as refused:
            if refused.status != 409:  # it is being removed already
                raise

    # --- what asks ---

    async def inspect(self, container: str) -> Seen:
        """The container with this id or name. Raises NoContainer, DaemonAway."""
        found: dict[str, Any] = await self._answered(self._container(container).show)
        state = found["State"]
        return Seen(
            id=found["Id"],
            name=found["Name"].lstrip("/"),
            labels=found["Config"]["Labels"] or {},
            status=state["Status"],
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            error=state["Error"],
            started_ms=_unix_ms(state["StartedAt"]),
            finished_ms=_unix_ms(state["FinishedAt"]),
        )

    async def labelled(self, label: str, value: str) -> list[Seen]:
        """All containers with this label, ended ones too; of their states only the status. Raises DaemonAway."""
        filters = json.dumps({"label": [f"{label}={value}"]})
        found = await self._answered(lambda: self._calls.containers.list(all=True, filters=filters))
        return [
            Seen(id=one["Id"], name=one["Names"][0].lstrip("/"), labels=one["Labels"] or {}, status=one["State"])
            for one in found
            if one["Names"]
        ]

    async def wait(self, container: str) -> None:
        """Return when it seems to have ended; whether it has is for ``inspect`` to say. Raises what that raises."""
        wait = self._long_container(container).wait
        await self._answered(lambda: wait(timeout=_FOREVER), None)

    async def follow(self, container: str, feed: Callable[[str, bytes], None], since_s: float = 0.0) -> None:
        """Feed all that it has written since then (Unix time; 0: ever) and writes, until it has ended.

        Raises NoContainer, DaemonAway.

        The package's own call decodes the text and loses which stream it came from.
        """
        parameters: dict[str, Any] = {"stdout": True, "stderr": True, "follow": True, "since": f"{since_s:.3f}"}

        async def read() -> None:
            query = self._waits._query(f"containers/{container}/logs", params=parameters, timeout=_FOREVER)
            async with query as response:
                await _read_frames(response.content, feed)

        await self._answered(read, None)

    async def told_of(self, container: str, since_ms: int, until_ms: int) -> frozenset[str]:
        """What befell it in this time: ``kill``, the daemon sent it a signal; ``oom``, it used up its memory.

        Returns when the time is over. The daemon remembers its last few hundred events only. Raises DaemonRefused,
        DaemonAway.
        """
        filters = json.dumps({"type": ["container"], "event": ["kill", "oom"], "container": [container]})
        parameters = {"since": f"{since_ms / 1000:.3f}", "until": f"{until_ms / 1000:.3f}", "filters": filters}

        async def read() -> bytes:
            async with self._waits._query("events", params=parameters) as response:
                return await response.read()

        actions = set[str]()
        for line in (await self._answered(read)).splitlines():
            with suppress(ValueError, KeyError, TypeError):  # cut off, or no event
                actions.add(json.loads(line)["Action"])
        return frozenset(actions)

    async def image_labels(self, image: str) -> Mapping[str, str]:
        """What the image says about itself. Raises NoImage, DaemonAway."""
        found = await self._answered(lambda: self._calls.images.inspect(image))
        return found["Config"]["Labels"] or {}

    async def network_names(self) -> frozenset[str]:
        """The networks that containers can be in. Raises DaemonAway."""
        return frozenset(one["Name"] for one in await self._answered(self._calls.networks.list))

    async def about(self) -> Engine:
        """What it is. Raises DaemonAway."""
        found = await self._answered(self._calls.system.info)
        return Engine(version=found["ServerVersion"], cpus=int(found["NCPU"]), folder=found["DockerRootDir"])

    # --- how it is asked ---

    async def _in_turn(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._turns:
            return await self._answered(call)

    async def _answered(self, call: Callable[[], Awaitable[T]], limit_s: float | None = CALL_S) -> T:
        try:
            async with asyncio.timeout(limit_s):
                return await call()
        except aiodocker.DockerError as error:
            raise _translated(error) from error
        except (aiohttp.ClientError, OSError, EOFError) as error:  # TimeoutError is an OSError
            raise DaemonAway(f"{type(error).__name__}: {error}") from error

    @property
    def _calls(self) -> aiodocker.Docker:
        if self._short is None:
            raise RuntimeError(_CLOSED)
        return self._short

    @property
    def _waits(self) -> aiodocker.Docker:
        if self._long is None:
            raise RuntimeError(_CLOSED)
        return self._long

    def _container(self, container: str) -> DockerContainer:
        return self._calls.containers.container(container)

    def _long_container(self, container: str) -> DockerContainer:
        return self._waits.containers.container(container)


async def _read_frames(content: aiohttp.StreamReader, feed: Callable[[str, bytes], None]) -> None:
    while True:
        try:
            header = await content.readexactly(_FRAME.size)
        except asyncio.IncompleteReadError as cut:
            if cut.partial:
                raise
            return
        number, left = _FRAME.unpack(header)
        stream = _STREAMS.get(number, "stderr")
        while left:
            data = await content.readexactly(min(left, FRAME_BYTES))
            left -= len(data)
            feed(stream, data)


def _translated(error: aiodocker.DockerError) -> Exception:
    if error.status in (_UNREACHABLE, _LEAVING):
        return DaemonAway(error.message)
    text = error.message.lower()
    kind: type[DaemonRefused] = DaemonRefused
    if error.status == 404 and "no such container" in text:
        kind = NoContainer
    elif error.status == 404 and "no such image" in text:
        kind = NoImage
    elif error.status == 409 and "already in use" in text:
        kind = NameTaken
    return kind(error.status, error.message)


def _unix_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return 0 if moment.year == 1 else int(moment.astimezone(UTC).timestamp() * 1000)
