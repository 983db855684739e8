"""How a command gets at a run: the broker that was named, the process that hosts the run, or its store started again.

Imports client, runtime and siblings. Invariant: what was opened is closed by ``Access.close``, the broker last.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pto_bus.errors import BusError, StoreInUse
from pto_bus.session import Session, open_session
from pto_cli.host import Host, blob_cache
from pto_cli.model_flags import SIMULATED, ModelChoice
from pto_cli.problems import Unavailable, WrongUse, complain
from pto_cli.registry import LOCAL_ONLY, Dispatchers, Endpoint, RunFolder, run_folder
from pto_client.patience import PATIENCE_S, through_an_election
from pto_ports.blob_store import BlobStore
from pto_ports.event_log import LogCorrupt, LogUnavailable
from pto_proto.ids import LANE_LOCAL
from pto_runtime.settings import read_settings

if TYPE_CHECKING:
    from pto_blobs.directory import DirectoryBlobStore
    from pto_client.archiver import Archiver
    from pto_runtime.settings import Settings

BROKER_ERRORS: tuple[type[Exception], ...] = (BusError,)
"""What any way to a broker may raise."""
StoreTaken = StoreInUse
"""Another command hosts the run."""
ATTACH_TRIES = 20
"""How often a hosted run's endpoint file is looked for: it is written a moment after the store is locked."""
ATTACH_PAUSE_S = 0.1


class NoSuchRun(Exception):
    """No embedded run of this name is known here."""


@dataclass
class Access:
    """A requester's session, with the host behind it if this process started one, and the embedded run's folder."""

    session: Session
    blobs: BlobStore
    host: Host | None = None
    folder: RunFolder | None = None

    async def end_services(self, within_s: float) -> bool:
        """End those that this process hosts; its broker goes on. Whether they ended in order."""
        return self.host is None or await self.host.end_services(within_s)

    async def close(self) -> None:
        """End the session and, if there is one, the host."""
        if self.folder is not None and self.host is not None:
            self.folder.remove_endpoint()
        await self.session.close()
        if self.host is not None:
            await self.host.close()


def open_blob_cache() -> "DirectoryBlobStore":
    """The store in that folder."""
    from pto_blobs.directory import DirectoryBlobStore

    return DirectoryBlobStore(blob_cache())


async def open_remote(url: str, environment: Mapping[str, str]) -> Access:
    """The broker at this address, as the account in the environment.

    Raises BusError, BadSettings, Unavailable; LogUnavailable when its log answers nothing for ``PATIENCE_S``.
    """
    settings = read_settings({**environment, "NATS_URL": url}, "requester")
    session = await open_session(settings.url, **settings.access())
    try:
        await through_an_election(session.view.last_seq, on_wait=_say_that_it_waits)
        blobs = _backed(session.blobs, settings) if settings.aws_bucket else session.blobs
    except BaseException as error:
        await session.close()
        if isinstance(error, LogCorrupt):
            raise Unavailable(f"the broker at {url} is not set up: `orchestrator bootstrap` does that") from error
        raise
    return Access(session=session, blobs=blobs)


def _say_that_it_waits(away: LogUnavailable) -> None:
    complain([f"{away}; trying for {PATIENCE_S:g} s"])


def _backed(blobs: BlobStore, settings: "Settings") -> BlobStore:
    """What the broker does not have any more comes from the bucket (PTO_AWS_BUCKET). Raises Unavailable."""
    from pto_s3 import BackedBlobStore, Pool, S3BlobStore, S3Error, open_bucket

    try:
        bucket = open_bucket(settings.aws_bucket, settings.aws_region)
    except S3Error as error:
        raise Unavailable(str(error)) from error
    return BackedBlobStore(blobs, S3BlobStore(bucket, Pool()))


@asynccontextmanager
async def open_archive(
    url: str, environment: Mapping[str, str], folder: Path, now: int
) -> "AsyncIterator[tuple[Archiver, bool]]":
    """(archiver of the log at this address, whether the mirror has all of it). Raises BusError, BadSettings."""
    from pto_blobs.directory import DirectoryBlobStore
    from pto_bus.mirror import wait_for_mirror
    from pto_client.archiver import Archiver

    settings = read_settings({**environment, "NATS_URL": url}, "archiver")
    session = await open_session(settings.url, **settings.access())
    blobs = session.blobs if settings.blob_folder is None else DirectoryBlobStore(settings.blob_folder)
    try:
        is_mirrored = await wait_for_mirror(session.connection)
        yield Archiver(session.log, blobs, folder, instance=settings.instance, now=now), is_mirrored
    finally:
        await session.close()


async def host_run(
    folder: RunFolder,
    *,
    work_dir: Path,
    capacity: int,
    with_services: bool,
    begun: Host | None = None,
    models: ModelChoice = SIMULATED,
    dispatchers: Dispatchers = LOCAL_ONLY,
) -> Access:
    """Start the run's broker in this process (``begun``: it was started), and its services if asked for.

    Raises BusError; with services also BadSettings and Unavailable.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    host = begun or Host(
        folder.store,
        blobs=blob_cache(),
        work_dir=work_dir,
        capacity=capacity,
        models=models,
        dispatchers=dispatchers,
    )
    host.start_broker()
    try:
        if with_services:
            host.begin()
            await host.load()
        session = await host.open()
        if with_services:
            host.start_services()
            endpoint = Endpoint(url=host.url, user="requester", password=host.password, pid=host.pid)
            folder.write_endpoint(endpoint)
    except BaseException:
        await host.close()
        raise
    return Access(session=session, blobs=open_blob_cache(), host=host, folder=folder)


async def open_run(run: str) -> Access:
    """An embedded run for reading and asking: attached to its host, or on its store.

    Raises NoSuchRun, Unavailable, BusError.
    """
    folder = run_folder(run)
    if not folder.store.is_dir():
        raise NoSuchRun(f"there is no run {run!r} here; `orchestrator list` shows the runs, --nats-url asks a broker")
    for _ in range(ATTACH_TRIES):
        endpoint = folder.read_endpoint()
        try:
            if endpoint is not None:
                session = await open_session(endpoint.url, user=endpoint.user, password=endpoint.password)
                return Access(session=session, blobs=open_blob_cache(), folder=folder)
            if not folder.is_hosted():
                return await host_run(folder, work_dir=folder.path, capacity=1, with_services=False)
        except StoreTaken:
            pass  # another command was quicker
        except BusError:
            if endpoint is None or folder.read_endpoint() == endpoint:
                raise
            continue  # whoever hosted it has left meanwhile
        await asyncio.sleep(ATTACH_PAUSE_S)
    raise Unavailable(f"run {run!r} is held by another command that is just starting or ending; try again")


async def set_up_broker(url: str, environment: Mapping[str, str], accounts: Path | None, replicas: int) -> None:
    """Make streams and consumers on the broker at this address, for the accounts in this folder (None: the usual ones).

    Raises BusError, BadSettings, WrongUse.
    """
    from pto_bus.accounts import read_accounts
    from pto_bus.bootstrap import bootstrap
    from pto_bus.topology import Sizes, usual_accounts

    with _accounts_as_typed():
        known = usual_accounts((LANE_LOCAL,)) if accounts is None else read_accounts(accounts)
    settings = read_settings({**environment, "NATS_URL": url}, "bootstrap")
    session = await open_session(settings.url, **settings.access())
    try:
        # Only the accounts' names matter here: how they prove who they are is in the broker's own configuration.
        await bootstrap(session.connection, known, sizes=Sizes(replicas=replicas))
    finally:
        await session.close()


def change_accounts(folder: Path, action: str, *, user: str, role: str, lanes: list[str], former: bool) -> None:
    """Do this to the accounts in the folder. Raises WrongUse, OSError."""
    from typing import cast

    from pto_bus import accounts
    from pto_bus.topology import Account, Role, usual_accounts
    from pto_proto.ids import Lane

    named = [Lane(lane) for lane in lanes]
    with _accounts_as_typed():
        if action == "init":
            accounts.make_accounts(folder, usual_accounts(tuple(named) or (LANE_LOCAL,)))
        elif action == "add":
            lane = named[0] if named else None
            accounts.add_account(folder, Account(user=user, role=cast("Role", role), lane=lane))
        elif action == "rotate":
            accounts.rotate_key(folder, user)
        elif action == "render":
            accounts.render_again(folder)
        else:
            accounts.revoke_keys(folder, user, former=former)


def show_accounts(folder: Path) -> list[str]:
    """A line for each account in the folder. Raises WrongUse."""
    from pto_bus.accounts import read_accounts

    with _accounts_as_typed():
        found = read_accounts(folder)
    states = {0: "revoked", 1: "one key"}
    return [
        f"{one.user:<28}{one.role:<14}{one.lane or '-':<20}{states.get(len(one.keys), 'two keys: rotated')}"
        for one in found
    ]


@contextmanager
def _accounts_as_typed() -> "Iterator[None]":
    """What is wrong with accounts is for the one who typed the command to change."""
    from pto_bus.errors import BadAccounts

    try:
        yield
    except (BadAccounts, ValueError) as error:
        raise WrongUse(str(error)) from error


def server_version() -> str:
    """The ``nats-server`` that embedded runs use. Raises BusError."""
    import subprocess

    from pto_bus.broker import find_server

    path = find_server()
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    return f"{said.strip()} at {path}"


def confinement() -> str:
    """The sandbox that agents' work runs in here. Raises NotConfined, which says what to do."""
    from pto_attempts.confinement import confinement as level

    return level()


def broker_config(password: str, *, store: Path, host: str, port: int) -> str:
    """A ``nats-server`` configuration for one host: an account for each service, a requester and a viewer."""
    from pto_bus.server_config import ServerSettings, render_server_config
    from pto_bus.topology import single_host_accounts
    from pto_proto.ids import LANE_LOCAL

    settings = ServerSettings(store=store, host=host, port=port)
    return render_server_config(settings, single_host_accounts(password, (LANE_LOCAL,)))
