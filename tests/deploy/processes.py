"""Services and commands as processes of their own, each with the credentials file of its account."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fakes.services import ServiceProcess, wait_until_up

from .servers import Keyed

BIN = Path(sys.executable).parent
SERVICES = ("scheduler", "planner", "consolidator", "dispatcher-local")


class Processes:
    """What was started in one folder; ``close`` ends it all."""

    def __init__(self, folder: Path, broker: Keyed) -> None:
        self.folder = folder
        self.broker = broker
        self._running: dict[str, ServiceProcess] = {}
        self._commands: list[subprocess.Popen[str]] = []

    def start(self, service: str, *, user: str = "", broker: Keyed | None = None, **environment: str) -> None:
        """``pto-<service>`` as this account (its own name), at this broker."""
        user = user or service
        own = {**self._environment(broker or self.broker, user), **environment}
        self._running[user] = ServiceProcess(service, self.folder / f"{user}.log", env=own, cwd=self.folder)

    def wait_until_up(self) -> None:
        """Until all that were started are up; not for a scheduler that stands by."""
        wait_until_up(self._running.values())

    def end(self, user: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self._running.pop(user)
        process.send_signal(how)
        return process.wait(30)

    def wait(self, user: str, timeout_s: float) -> int:
        return self._running.pop(user).wait(timeout_s)

    def orchestrator(self, *words: str, user: str = "requester", code: int | None = 0, timeout_s: float = 90) -> str:
        return self.end_of(self.command(*words, user=user), code=code, timeout_s=timeout_s)

    def command(self, *words: str, user: str = "requester") -> "subprocess.Popen[str]":
        """``orchestrator WORDS``, which goes on."""
        process = subprocess.Popen(
            [BIN / "orchestrator", *words], env=self._environment(self.broker, user), cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._commands.append(process)
        return process

    def end_of(self, command: "subprocess.Popen[str]", *, code: int | None = 0, timeout_s: float = 90) -> str:
        """What it says until it ends, with this code."""
        try:
            out, err = command.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as late:
            command.kill()
            out, err = command.communicate()
            raise AssertionError(f"{late}\n{out}\n{err}\n{self.logs()}") from late
        assert code in (None, command.returncode), (
            f"{command.args!r}: {command.returncode}\n{out}\n{err}\n{self.logs()}"
        )
        return out + err

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for command in self._commands:
            command.kill()
            command.wait()
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait(30)
        self._running.clear()

    def _environment(self, broker: Keyed, user: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PTO_", "NATS_"))}
        return {
            **kept, **broker.environment(user), "PTO_INSTANCE": user, "PTO_WORK_DIR": str(self.folder / "work/{run}"),
            "XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder),
        }  # fmt: skip
