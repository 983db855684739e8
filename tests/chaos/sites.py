"""A broker and service processes on loopback, each in a folder of its own, that can be killed, stopped and looked at.

Invariant: only processes that the site started, or that those started, are ever signalled; ``close`` leaves none.
"""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.topology import Account, Sizes, single_host_accounts
from pto_proto.ids import LANE_LOCAL

from .processes import BIN, PYTHON, die_with_parent, ended, processes_with, start_command

PASSWORD = "for-tests"
STOP_S = 20.0
"""How long a service may take to end in order before it is a finding."""
CLEAN_S = 20.0
"""How long what services have left behind may take to go; a guard needs well below a second."""


@dataclass(frozen=True)
class Service:
    """What to start, under which name and account."""

    name: str
    """Instance, account and folder."""
    program: str
    capacity: int = 16


SCHEDULER = Service("scheduler", "pto-scheduler")
STANDBY = Service("scheduler-2", "pto-scheduler")
PLANNER = Service("planner", "pto-planner")
DISPATCHER = Service("dispatcher-local", "pto-dispatcher-local")
SECOND_DISPATCHER = Service("dispatcher-local-2", "pto-dispatcher-local")
CONSOLIDATOR = Service("consolidator", "pto-consolidator")
SERVICES = (SCHEDULER, PLANNER, DISPATCHER, CONSOLIDATOR)


@dataclass
class Running:
    """A service's process."""

    service: Service
    process: subprocess.Popen[bytes]
    folder: Path
    stopped: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class Site:
    """The broker and the services of one folder."""

    def __init__(
        self, folder: Path, *, sizes: Sizes | None = None, store: Path | None = None, sync_interval: str = "always"
    ) -> None:
        self.folder = folder
        self.sizes = sizes
        self.variables: dict[str, str] = {}
        """Environment of every process, besides the usual."""
        self.accounts = single_host_accounts(PASSWORD, (LANE_LOCAL,))
        self.accounts += [
            Account(user=SECOND_DISPATCHER.name, password=PASSWORD, role="dispatcher", lane=LANE_LOCAL),
            Account(user="hostile", password=PASSWORD, role="requester"),
        ]
        self.running: dict[str, Running] = {}
        self.mark = f"PTO_CHAOS={folder}"
        self.broker = Broker.start(store or folder / "store", self.accounts, sync_interval=sync_interval)

    @property
    def url(self) -> str:
        return self.broker.url

    async def set_up(self) -> None:
        """Make the streams and consumers."""
        connection = await connect(self.url, user="bootstrap", password=PASSWORD)
        try:
            await bootstrap(connection, self.accounts, sizes=self.sizes)
        finally:
            await connection.close()

    def environment(self, user: str, folder: Path) -> dict[str, str]:
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        name, _, value = self.mark.partition("=")
        return {
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}", "NATS_URL": self.url, "PTO_USER": user, "PTO_INSTANCE": user,
            "PTO_PASSWORD": PASSWORD, "PTO_WORK_DIR": str(folder / "work/{run}"), "XDG_STATE_HOME": str(folder),
            "HOME": str(folder), "TMPDIR": str(folder / "tmp"), name: value, **PYTHON, **self.variables,
        }  # fmt: skip

    # --- services ---

    def start(self, service: Service, *, folder: str = "") -> Running:
        """Start the service; under another ``folder`` it is a second process of the same instance."""
        place = self.folder / (folder or service.name)
        environment = {**self.environment(service.name, place), "PTO_CAPACITY": str(service.capacity)}
        with (place / "log").open("ab") as log:
            process = subprocess.Popen(
                [BIN / service.program], env=environment, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        running = Running(service, process, place)
        self.running[folder or service.name] = running
        return running

    def start_all(self, services: tuple[Service, ...] = SERVICES) -> None:
        for service in services:
            self.start(service)

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash."""
        running = self.running[name]
        running.process.kill()
        running.process.wait()

    def freeze(self, name: str) -> None:
        running = self.running[name]
        running.stopped = True
        running.process.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        running = self.running[name]
        running.stopped = False
        running.process.send_signal(signal.SIGCONT)

    def exit_code(self, name: str) -> int | None:
        """None: it runs."""
        return self.running[name].process.poll()

    def wait_exit(self, name: str, timeout_s: float = 60) -> int:
        """Until the service has ended by itself; returns its exit code."""
        running = self.running[name]
        try:
            return running.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} still runs after {timeout_s:g} s; it said:\n{running.said[-4000:]}") from None

    def check(self) -> None:
        """AssertionError if a service has ended by itself."""
        for name, running in self.running.items():
            code = running.process.poll()
            assert code is None or code < 0, f"{name} ended with {code}; it said:\n{running.said[-4000:]}"

    def said(self, name: str) -> str:
        """All that the service has logged."""
        return self.running[name].said

    def words(self, name: str) -> list[str]:
        """What it said to people: its lines that are no log lines."""
        return [line for line in self.said(name).splitlines() if line and not line.startswith("{")]

    def logs(self) -> str:
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in self.log_files())

    def log_files(self) -> list[Path]:
        return sorted(self.folder.glob("*/log"))

    def tracebacks(self) -> list[str]:
        """Logs that show a fault of the program, with where it starts."""
        found = []
        for path in self.log_files():
            text = path.read_text(errors="replace")
            at = text.find("Traceback (most recent call last)")
            if at >= 0:
                found.append(f"{path.parent.name}: {text[max(0, at - 300) : at + 3000]}")
        return found

    # --- the command line ---

    def command(self, *words: str, user: str = "requester") -> subprocess.Popen[str]:
        """``orchestrator WORDS`` at this site's broker, as a process."""
        place = self.folder / f"{user}-command"
        return start_command(place, self.environment(user, place), *words, "--nats-url", self.url)

    def orchestrator(self, *words: str, user: str = "requester", timeout_s: float = 120) -> tuple[int, str]:
        """(exit code, all it said) of a command at this site's broker."""
        return ended(self.command(*words, user=user), timeout_s)

    # --- the end ---

    def close(self) -> None:
        """End everything and check that nothing is left."""
        for running in self.running.values():
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGCONT)
                running.process.terminate()
        until = time.monotonic() + STOP_S
        deaf = []
        for name, running in self.running.items():
            try:
                running.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                deaf.append(name)
                running.process.kill()
                running.process.wait()
        self.broker.stop()
        assert not deaf, f"{', '.join(deaf)} did not end on SIGTERM within {STOP_S:g} s"
        left = self.left_over()
        if left:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"processes were left behind and had to be killed: {left}")

    def left_over(self) -> list[int]:
        """Processes of this site that still run after a fair while."""
        until = time.monotonic() + CLEAN_S
        while (left := list(processes_with(str(self.folder)))) and time.monotonic() < until:
            time.sleep(0.1)
        return left


async def until(condition, timeout_s: float = 60.0, *, every_s: float = 0.1, what: str = "it") -> None:  # type: ignore[no-untyped-def]
    """Wait until ``condition()`` holds; AssertionError if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s:g} s"
        await asyncio.sleep(every_s)
