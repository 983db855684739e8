"""A folder as ``make up`` lays it out, with a broker and services as processes, and the steps of docs/howto/operate.md run on it.

What Docker Compose, ``make`` and ``replace.sh`` do in these steps is done with the processes; every other line runs in a shell.
"""

import re
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.fakes.ports import free_port

from .processes import SERVICES, Processes
from .servers import ROOT, Keyed, Server, accounts_in, make_certificates, until

USERS = {
    "scheduler-1": "scheduler",
    "scheduler-2": "scheduler-2",
    **{name: name for name in SERVICES if name != "scheduler"},
}
"""Names of services in docker-compose.yml -> their accounts; the others need more than a process."""
READY_S = 60.0


def steps(name: str) -> list[str]:
    """The lines of the shell block below the paragraph of the page that begins with this word, without comments."""
    page = (ROOT / "docs" / "howto" / "operate.md").read_text()
    found = re.search(rf"^{name}.*?```sh\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the page has no steps for {name!r}"
    return [line.split("  #")[0].strip() for line in found[1].splitlines() if line.strip()]


async def nothing(_: Keyed) -> None:
    """What is done to a broker that was set up and has no services yet."""


class Place:
    """A folder with ``.compose`` as ``make up`` lays it out, and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".compose"
        self.broker: Keyed | None = None
        self.processes: Processes | None = None
        self.ports = {service: free_port() for service in USERS}
        self.replaced: list[str] = []
        """Services in the order in which others took their places."""
        self._starts = 0

    async def up(self, prepare: Callable[[Keyed], Awaitable[None]] = nothing) -> None:
        """As ``make up``: what is missing is made, what is there is kept, and who is started is waited for."""
        made = self.state / "accounts" / "accounts.json"
        accounts = self.state / "accounts" if made.exists() else accounts_in(self.state / "accounts")
        if not (self.state / "nats" / "tls").exists():
            make_certificates(self.state / "nats" / "tls")
        store = self.state / "streams"
        store.mkdir(exist_ok=True)
        self._starts += 1
        server = Server(
            self.folder / f"broker-{self._starts}", "server.conf", tls=self.state / "nats" / "tls", users=accounts,
            NATS_STORE=str(store),
        )  # fmt: skip
        self.broker = Keyed(server.start(), accounts)
        await self.broker.set_up()
        await prepare(self.broker)
        self.processes = Processes(self.folder, self.broker)
        for service in USERS:
            self.start(service)
        for service in USERS:
            await self._until_ready(service)

    def down(self) -> None:
        if self.processes is not None:
            self.processes.close()
        if self.broker is not None:
            self.broker.server.end()
        self.processes = None

    def start(self, service: str) -> None:
        """The service of this name in docker-compose.yml."""
        assert self.processes is not None
        user = USERS[service]
        program = "scheduler" if service.startswith("scheduler") else service
        self.processes.start(
            program,
            user=user,
            PTO_SNAPSHOT_DIR=str(self.state / "snapshots"),
            PTO_HTTP=f"127.0.0.1:{self.ports[service]}",
        )

    async def replace(self, service: str) -> None:
        """As ``replace.sh``: another process takes its place, and is ready."""
        assert self.processes is not None
        assert self.processes.end(USERS[service]) == 0, self.processes.logs()
        self.start(service)
        await self._until_ready(service)
        self.replaced.append(service)

    async def _until_ready(self, service: str) -> None:
        try:
            await until(lambda: self._is_ready(service), READY_S)
        except TimeoutError as late:
            assert self.processes is not None
            raise AssertionError(f"{service} is not ready after {READY_S:g} s:\n{self.processes.logs()}") from late

    def _is_ready(self, service: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[service]}/readyz", timeout=5):
                return True
        except OSError:  # HTTPError is one
            return False

    async def follow(self, lines: list[str]) -> None:
        """Run these lines of the page."""
        for line in lines:
            if line == "make up":
                await self.up()
            elif line == "make down":
                self.down()
            elif line == "docker compose run --rm bootstrap":
                self.ask("bootstrap", "--accounts", str(self.state / "accounts"), user="bootstrap")
            elif line.startswith("deploy/compose/replace.sh "):
                for service in line.split()[1:]:
                    if service in USERS:
                        await self.replace(service)
            elif line == "docker compose kill --signal HUP nats":
                assert self.broker is not None
                self.broker.server.read_users(self.state / "nats")
            elif line.startswith("docker compose "):
                assert self.broker is not None
                what: dict[str, Callable[[], object]] = {
                    "stop": self.broker.server.end,
                    "start": self.broker.server.start,
                }
                verb, service = line.removeprefix("docker compose ").split()
                assert service == "nats"
                what[verb]()
            elif line == "orchestrator audit":
                assert "all is well" in self.ask("audit")
            elif line.startswith("orchestrator "):
                self.ask(*line.split()[1:])
            else:
                self.sh(line)

    def sh(self, line: str) -> None:
        subprocess.run(["bash", "-euc", line], cwd=self.folder, check=True, timeout=60)

    def ask(self, *words: str, user: str = "requester") -> str:
        assert self.processes is not None
        return self.processes.orchestrator(*words, user=user)
