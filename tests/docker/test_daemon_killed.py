"""The engine itself dies under its containers: no task fails of that, and the lane rests until it is back."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.containers import DockerEngine

from private_daemon import PrivateDaemon
from systems import DockerSite, wait_for

IMAGE = "tools:1"


@pytest.fixture
def daemon(docker_engine: DockerEngine) -> Iterator[PrivateDaemon]:
    if os.getuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("a daemon of its own needs root", pytrace=False)
        pytest.skip("a daemon of its own needs root")
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="pto-dockerd-") as folder:
        running = PrivateDaemon(Path(folder))
        try:
            running.start()
            running.load(docker_engine.base, IMAGE)
            yield running
        finally:
            running.close()


@pytest.fixture
def site(daemon: PrivateDaemon, tmp_path: Path) -> Iterator[DockerSite]:
    one = DockerSite(tmp_path, socket=daemon.socket, PTO_DOCKER_NETWORK="none", PTO_DOCKER_IMAGE=IMAGE)
    one.start()
    yield one
    one.close()


def failures(summary: dict[str, Any]) -> set[str]:
    return {attempt["failure"] for task in summary["tasks"] for attempt in task["attempts"]}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_task_fails_because_the_daemon_died(number: int, daemon: PrivateDaemon, site: DockerSite) -> None:
    # They end by themselves around the time when the daemon is back, however long it takes until all of them run.
    wait = "[ $PTO_ATTEMPT -gt 1 ] || while [ ! -e go ]; do sleep 0.1; done; sleep 6"
    command = f"echo started; {wait}; echo $PTO_TASK > out"
    tasks = [{"id": f"t{at}", "command": command, "outputs": ["out"], "retries": 0} for at in range(5)]
    tasks.append({"id": "fails", "command": f"{wait}; exit 3", "retries": 0})
    run = site.begin({"name": "daemon", "tasks": tasks})
    wait_for("six containers", lambda: len(site.containers(running=True)) == 6)
    site.let_go(run, *(task["id"] for task in tasks))
    daemon.end(number)
    daemon.start()
    summary = site.end(run, code=1)
    assert summary["counts"] == {"succeeded": 5, "failed": 1}
    assert {task["id"] for task in summary["tasks"] if task["state"] == "failed"} == {"fails"}
    assert failures(summary) <= {None, "infra", "capacity", "task"}
    assert [a["failure"] for task in summary["tasks"] if task["id"] == "fails" for a in task["attempts"]][-1] == "task"
    wait_for("all containers to be deleted", lambda: not site.containers())


@pytest.mark.slow
def test_the_lane_rests_while_the_daemon_is_down_and_goes_on_by_itself(daemon: PrivateDaemon, site: DockerSite) -> None:
    daemon.end(signal.SIGTERM)
    run = site.begin({"name": "rest", "tasks": [{"id": "t", "command": "echo x > x", "retries": 0}]})
    wait_for("the lane to rest", lambda: "takes nothing for now" in site.orchestrator("status", run))
    daemon.start()
    summary = site.end(run)
    assert [attempt["failure"] for attempt in summary["tasks"][0]["attempts"]] == ["capacity", None]
