"""Real ``nats-server`` processes that run the shipped configurations, with TLS and the accounts' own keys."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port

from pto_bus.accounts import credentials_file, make_accounts, read_accounts
from pto_bus.bootstrap import bootstrap
from pto_bus.broker import find_server
from pto_bus.connect import Connection, TlsFiles, connect
from pto_bus.topology import Account, Sizes, consumers, usual_accounts
from pto_proto.ids import LANE_LOCAL, Lane
from pto_proto.subjects import LOG_STREAM

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "nats"
READY_S = 20.0


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Until this holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.02)


def make_certificates(folder: Path, *names: str, **environment: str) -> None:
    """What ``certificates.sh`` makes."""
    command = ["bash", str(SHIPPED / "certificates.sh"), str(folder), *(names or ("localhost", "127.0.0.1"))]
    subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True, text=True)


def accounts_in(folder: Path, *lanes: Lane, more: tuple[Account, ...] = ()) -> Path:
    """A folder of accounts as ``orchestrator accounts init`` makes it."""
    make_accounts(folder, [*usual_accounts(lanes or (LANE_LOCAL,)), *more])
    return folder


class Server:
    """One server in a folder of its own, which holds a shipped configuration, ``users.conf`` and ``tls/``."""

    def __init__(
        self, folder: Path, config: str, *, tls: Path, users: Path, name: str = "n1", **variables: str
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for shipped in SHIPPED.glob("*.conf"):
            shutil.copy(shipped, folder)
        self.tls = folder / "tls"
        shutil.copytree(tls, self.tls)
        self.read_users(users)
        self.port, self.monitor = free_port(), free_port()
        self.url = f"tls://127.0.0.1:{self.port}"
        self._command = [find_server(), "-c", config]
        self.variables = {
            "NATS_NAME": name, "NATS_LISTEN": f"127.0.0.1:{self.port}", "NATS_STORE": str(folder / "store"),
            "NATS_MONITOR": f"127.0.0.1:{self.monitor}", **variables,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def read_users(self, folder: Path) -> None:
        """Bring ``users.conf``, and for a leaf node its key, from this folder; a running server reads them again."""
        for name in ("users.conf", "relay-key.conf"):
            if (folder / name).exists():
                shutil.copy(folder / name, self.folder)
        process = getattr(self, "_process", None)
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def start(self) -> "Server":
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env={**os.environ, **self.variables}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        raise AssertionError(f"{self.folder.name} does not run:\n{self.log()}")

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def wait_log(self, text: str, count: int = 1) -> None:
        """Until the server's log holds this text so many times."""
        deadline = time.monotonic() + READY_S
        while self.log().count(text) < count:
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log()}"
            time.sleep(0.02)


class Keyed:
    """A server with a folder of accounts: opens connections, and says what an environment needs to do so."""

    def __init__(self, server: Server, accounts: Path) -> None:
        self.server = server
        self.folder = accounts
        self.tls = TlsFiles(ca=server.tls / "ca.pem")

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def accounts(self) -> list[Account]:
        return read_accounts(self.folder)

    @property
    def consumers(self) -> list[str]:
        """Names of the consumers of the log."""
        return [config["name"] for stream, config in consumers(self.accounts) if stream == LOG_STREAM]

    def options(self, user: str) -> dict[str, Any]:
        """For ``nats.connect``."""
        return {"nkeys_seed": str(credentials_file(self.folder, user)), "tls": self.tls.context()}

    def environment(self, user: str) -> dict[str, str]:
        """For a service or a command."""
        return {
            "NATS_URL": self.url, "PTO_USER": user, "PTO_CREDS": str(credentials_file(self.folder, user)),
            "PTO_CA": str(self.tls.ca),
        }  # fmt: skip

    async def connect(self, user: str, **options: Any) -> Connection:
        files = credentials_file(self.folder, user)
        return await connect(self.url, **{"user": user, "credentials": files, "tls": self.tls, **options})

    async def set_up(self, sizes: Sizes | None = None) -> None:
        connection = await self.connect("bootstrap")
        await bootstrap(connection, self.accounts, sizes=sizes)
        await connection.close()
