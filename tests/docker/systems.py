"""A broker and services as processes, with the docker dispatcher on the real engine; what it made is removed at the end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.services import ServiceProcess

from pto_bus.broker import Broker
from pto_bus.session import open_session
from pto_bus.topology import single_host_accounts
from pto_client.requester import ask
from pto_dispatcher_docker.backend import owner_label
from pto_proto.ids import LANE_DOCKER, LANE_LOCAL, RunId
from pto_proto.requests import RunRequested

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PASSWORD = "for-tests"
SERVICES = ("scheduler", "planner", "dispatcher-docker", "consolidator")
IMAGE = os.environ.get("PTO_TEST_DOCKER_IMAGE", "parallel-orchestrator:slim")
"""The product's own image, built from this tree."""


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.1)
    return found


class DockerSite:
    """One system in one folder."""

    def __init__(self, folder: Path, *, socket: str = "", **environment: str) -> None:
        self.folder = folder
        self.socket = socket
        self.broker = Broker.start(folder / "store", single_host_accounts(PASSWORD, (LANE_LOCAL, LANE_DOCKER)))
        self.work_dir = folder / "work" / "{run}"
        self.environment = {
            **os.environ, "NATS_URL": self.broker.url, "PTO_PASSWORD": PASSWORD, "PTO_WORK_DIR": str(self.work_dir),
            "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder), "PTO_DOCKER_IMAGE": IMAGE,
            "PTO_CAPACITY": "50", **({"PTO_DOCKER_SOCKET": socket} if socket else {}),
            **environment,
        }  # fmt: skip
        self.processes: dict[str, ServiceProcess] = {}
        self._set_up()

    def _set_up(self) -> None:
        script = (
            "import asyncio, sys\nfrom pto_bus.bootstrap import bootstrap\nfrom pto_bus.connect import connect\n"
            "from pto_bus.topology import single_host_accounts\nfrom pto_proto.ids import LANE_DOCKER, LANE_LOCAL\n"
            "async def main():\n    connection = await connect(sys.argv[1], user='bootstrap', password='for-tests')\n"
            "    await bootstrap(connection, single_host_accounts('for-tests', (LANE_LOCAL, LANE_DOCKER)))\n"
            "    await connection.close()\nasyncio.run(main())\n"
        )
        subprocess.run([sys.executable, "-c", script, self.broker.url], check=True)

    @property
    def image(self) -> str:
        return self.environment["PTO_DOCKER_IMAGE"]

    @property
    def owner(self) -> str:
        return owner_label("dispatcher-docker", self.work_dir)

    def start(self, *services: str) -> None:
        for service in services or SERVICES:
            log = self.folder / f"{service}.log"
            self.processes[service] = ServiceProcess(service, log, env=self.environment)

    def kill(self, service: str) -> None:
        self.processes[service].kill()
        self.processes[service].wait()

    def run(self, plan: dict[str, Any], *words: str, code: int = 0) -> dict[str, Any]:
        """Run the plan to its end; the summary."""
        run = self.begin(plan, *words)
        return self.end(run, code=code)

    def begin(self, plan: dict[str, Any], *words: str) -> str:
        name = f"p{time.monotonic_ns()}"
        for task in plan["tasks"]:
            task.setdefault("backend", "docker")
        (self.folder / f"{name}.json").write_text(json.dumps(plan))
        return self.orchestrator("run", "--plan", f"{name}.json", "-m", "50", "--detach", *words).split()[-1]

    def ask(self, requirement: str, **fields: Any) -> str:
        """Ask for a run of agents in containers, planned there as well if that is said; its id."""
        run = RunId(f"asked-{time.monotonic_ns()}")
        request = RunRequested(run=run, requirement=requirement, backend=LANE_DOCKER, max_executors=3, **fields)

        async def send() -> None:
            session = await open_session(self.broker.url, user="requester", password=PASSWORD)
            try:
                await ask(session.queue, request, requester="requester", request_id=run, now=time.time_ns() // 10**6)
            finally:
                await session.close()

        asyncio.run(send())
        wait_for("the run", lambda: run in self.orchestrator("list", "--json"))
        return run

    def end(self, run: str, *, code: int = 0) -> dict[str, Any]:
        self.orchestrator("watch", run, code=code)
        self.orchestrator("fetch", run, "-o", f"out/{run}")
        found: dict[str, Any] = json.loads((self.folder / "out" / run / "execution_summary.json").read_text())
        return found

    def orchestrator(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(BIN / "orchestrator"), *words],
            env={name: value for name, value in self.environment.items() if not name.startswith(("ANTHROPIC_", "AWS_"))}
            | {"PTO_USER": "requester"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def events(self, run: str) -> list[dict[str, Any]]:
        text = (self.folder / "out" / run / "events.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def docker(self, *words: str) -> str:
        host = ["-H", f"unix://{self.socket}"] if self.socket else []
        return subprocess.run(
            ["docker", *host, *words], check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def told(self, event: str, since: float, *labels: str) -> list[str]:
        """Names of this system's containers that the engine tells this event of, since then; one entry per event."""
        words = ["events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}", "--filter", f"event={event}"]
        for label in (f"pto.owner={self.owner}", *labels):
            words += ["--filter", f"label={label}"]
        return self.docker(*words, "--format", "{{.Actor.Attributes.name}}").split()

    def let_go(self, run: str, *tasks: str) -> None:
        """Make the file in the workspaces of their first attempts that their commands wait for: ``go``."""
        for task in tasks:
            (workspace,) = self.folder.glob(f"work/{run}/executor_*/{task}.1")
            (workspace / "go").touch()

    def containers(self, *, running: bool = False) -> list[str]:
        words = ["ps", "-q", "--no-trunc", "--filter", f"label=pto.owner={self.owner}"]
        return self.docker(*words, *([] if running else ["-a"])).split()

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(20)
        self.broker.stop()
        if left := self.containers():
            self.docker("rm", "-f", *left)
        # Deeper than Python goes, as a test makes some.
        subprocess.run(["rm", "-rf", self.folder / "work"], check=False)
