"""From a laptop: a broker, services as processes of their own, the cluster's dispatcher killed on the way.

The requester has no credentials of AWS and no SLURM.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.services import ServiceProcess, wait_until_up

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.topology import Account, single_host_accounts
from pto_core.lanes import cluster_lane
from pto_proto.ids import RunId
from pto_s3 import open_bucket

from .aws_testbed import AwsTestbed
from .buckets import REGION
from .cluster_lane import there

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
PASSWORD = "for-tests"
LANE = cluster_lane("ml-training")
KILLS = 3


async def set_up(url: str, accounts: list[Account]) -> None:
    connection = await connect(url, user="bootstrap", password=PASSWORD)
    await bootstrap(connection, accounts)
    await connection.close()


class Site:
    """Broker, services and the head node's dispatcher; ``laptop`` is the environment of whoever asks."""

    def __init__(self, folder: Path, testbed: AwsTestbed) -> None:
        self.folder = folder
        accounts = single_host_accounts(PASSWORD, (LANE,))
        self.broker = Broker.start(folder / "store", accounts)
        asyncio.run(set_up(self.broker.url, accounts))
        common = {"NATS_URL": self.broker.url, "PTO_PASSWORD": PASSWORD, "XDG_STATE_HOME": str(folder / "state")}
        strange = ("AWS_", "SLURM", "PTO_")
        self.laptop = {k: v for k, v in testbed.environment.items() if not k.startswith(strange)} | common
        self.laptop["PTO_USER"] = "requester"
        self.head = testbed.environment | common | {
            "PTO_AWS_CLUSTER": "ml-training", "PTO_AWS_BUCKET": "ml-data", "PTO_SLURM_SPOOL": str(folder / "spool"),
            "PTO_WORK_DIR": str(folder / "runs/{run}"), "PTO_SLURM_POLL_S": "0.5", "PTO_SLURM_SUBMIT_RATE": "50",
        }  # fmt: skip
        self.processes: dict[str, ServiceProcess] = {}

    def start(self, service: str) -> None:
        environment = self.head if service.startswith("dispatcher") else self.laptop | {"PTO_USER": ""}
        log = self.folder / f"{service}.log"
        self.processes[service] = ServiceProcess(service, log, env=environment, cwd=self.folder)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["timeout", "120", BIN / "orchestrator", *words], env=self.laptop, cwd=self.folder, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        logs = "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{logs}"
        return done.stdout

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
        self.broker.stop()


@pytest.fixture
def site(aws_testbed: AwsTestbed, tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path, aws_testbed)
    yield running
    running.close()


def test_outputs_come_back_to_whoever_asked(site: Site, fake_credentials: None) -> None:
    tasks = [
        {"id": f"t{n}", "command": f"sleep 1; echo {n} >t{n}.txt", "outputs": [f"t{n}.txt"]} for n in range(12)
    ]  # fmt: skip
    (site.folder / "plan.json").write_text(json.dumps({"name": "far", "tasks": tasks}))
    dispatcher = "dispatcher-parallelcluster"
    for service in ("scheduler", "planner", "consolidator", dispatcher):
        site.start(service)
    wait_until_up(site.processes.values())
    run = RunId(
        site.run(
            "run", "--plan", "plan.json", "--aws", "--aws-cluster-name=ml-training", "-m", "4", "--nats-url",
            site.broker.url, "--detach", "-o", "out",
        ).split()[-1]
    )  # fmt: skip
    for _ in range(KILLS):
        time.sleep(4)
        site.processes[dispatcher].wait_until_up()  # before, it would leave everything to its next start
        site.processes[dispatcher].kill()
        site.processes[dispatcher].wait()
        site.start(dispatcher)
    site.run("watch", run, "--nats-url", site.broker.url)
    site.run("fetch", run, "--nats-url", site.broker.url, "-o", "back")
    summary = json.loads((site.folder / "back/execution_summary.json").read_text())
    assert (summary["status"], summary["counts"]) == ("succeeded", {"succeeded": 12})
    made = {path.name: path.read_text() for path in (site.folder / "back").rglob("t*.txt")}
    assert made == {f"t{n}.txt": f"{n}\n" for n in range(12)}
    site.processes[dispatcher].wait_until_up()
    site.processes[dispatcher].send_signal(signal.SIGTERM)
    site.processes[dispatcher].wait(30)
    bucket = open_bucket("ml-data", REGION, endpoint_url=site.head["AWS_ENDPOINT_URL"])
    results = [json.loads(data) for name, data in there(bucket, run).items() if name.startswith("results/")]
    assert sorted(result["task"] for result in results if result["outcome"] == "succeeded") == sorted(
        f"t{n}" for n in range(12)
    )
