"""Services and commands as processes of their own, each with the credentials file of its account."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from .servers import Keyed

BIN = Path(sys.executable).parent
SERVICES = ("scheduler", "planner", "consolidator", "dispatcher-local")


class Processes:
    """What was started in one folder; ``close`` ends it all."""

    def __init__(self, folder: Path, broker: Keyed) -> None:
        self.folder = folder
        self.broker = broker
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, service: str, *, user: str = "", broker: Keyed | None = None, **environment: str) -> None:
        """``pto-<service>`` as this account (its own name), at this broker."""
        user = user or service
        with (self.folder / f"{user}.log").open("ab") as log:
            self._running[user] = subprocess.Popen(
                [BIN / f"pto-{service}"], env={**self._environment(broker or self.broker, user), **environment},
                cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def end(self, user: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self._running.pop(user)
        process.send_signal(how)
        return process.wait(30)

    def wait(self, user: str, timeout_s: float) -> int:
        return self._running.pop(user).wait(timeout_s)

    def orchestrator(self, *words: str, user: str = "requester", code: int | None = 0, timeout_s: float = 90) -> str:
        try:
            done = subprocess.run(
                [BIN / "orchestrator", *words], env=self._environment(self.broker, user), cwd=self.folder,
                capture_output=True, text=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{late}\n{late.stdout!r}\n{late.stderr!r}\n{self.logs()}") from late
        assert code in (None, done.returncode), (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done.stdout + done.stderr

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def close(self) -> None:
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
