"""The dispatcher dies, its containers do not: the next incarnation finds them, and starts none twice."""

import subprocess
import time
from typing import Any

import pytest

from systems import DockerSite, wait_for

DISPATCHER = "dispatcher-docker"


def attempts(summary: dict[str, Any]) -> dict[str, int]:
    return {task["id"]: len(task["attempts"]) for task in summary["tasks"]}


@pytest.mark.slow
def test_ten_running_containers_are_adopted_and_none_is_started_twice(site: DockerSite) -> None:
    began = time.time()
    command = (
        "echo started >> starts; while [ ! -e go ]; do sleep 0.1; done; echo $PTO_TASK > out; test $PTO_TASK != t9"
    )
    tasks = [
        {"id": f"t{number}", "command": command, "outputs": ["starts", "out"], "retries": 0} for number in range(10)
    ]
    run = site.begin({"name": "ten", "tasks": tasks})
    running = wait_for("ten containers", lambda: len(found := site.containers(running=True)) == 10 and sorted(found))
    site.kill(DISPATCHER)
    places = wait_for(
        "their workspaces", lambda: len(found := list(site.folder.glob("work/*/executor_*/t*.1"))) == 10 and found
    )
    for place in places[:5]:  # half of them end while nobody looks
        (place / "go").touch()
    wait_for("five to end", lambda: len(site.containers(running=True)) == 5)
    site.start(DISPATCHER)
    for place in places[5:]:
        (place / "go").touch()
    summary = site.end(run, code=1)
    assert attempts(summary) == {f"t{number}": 1 for number in range(10)}
    assert summary["counts"] == {"succeeded": 9, "failed": 1}, "the one that failed by itself is not excused"
    assert {path.read_text() for path in places[0].parent.parent.glob("executor_*/t*.1/starts")} == {"started\n"}
    assert len(site.told("start", began)) == len(running) == 10
    wait_for("all containers to be deleted", lambda: not site.containers())


@pytest.mark.slow
def test_outputs_are_those_of_before_the_checks_also_after_a_restart(site: DockerSite) -> None:
    check = "echo spoiled > out.txt; touch by-product; while [ ! -e ../workspace/go ]; do sleep 0.1; done"
    plan = {"name": "checks", "tasks": [{"id": "t", "command": "echo good > out.txt", "checks": [check]}]}
    run = site.begin(plan)
    (workspace,) = wait_for(
        "the check", lambda: [path.parent for path in site.folder.glob("work/*/executor_*/t.1/by-product")]
    )
    site.kill(DISPATCHER)
    site.start(DISPATCHER)
    time.sleep(1)
    (workspace / "go").touch()
    summary = site.end(run)
    assert attempts(summary) == {"t": 1}
    assert [
        path.read_text() for path in (site.folder / "out" / run).rglob("out.txt") if "executor" not in str(path)
    ] == ["good\n"]
    assert not [path for path in (site.folder / "out" / run).rglob("by-product") if "executor" not in str(path)]
    wait_for("all containers to be deleted", lambda: not site.containers())


@pytest.mark.slow
def test_what_was_cancelled_or_forgotten_meanwhile_is_removed(site: DockerSite) -> None:
    run = site.begin({"name": "cancel", "tasks": [{"id": "t", "command": "sleep 600"}]})
    wait_for("its container", lambda: site.containers(running=True))
    site.kill(DISPATCHER)
    site.orchestrator("cancel", run)
    sleeper = ("--network", "none", site.image, "sleep", "600")
    orphan = site.docker("run", "-d", "--label", f"pto.owner={site.owner}", *sleeper)
    other = site.docker("run", "-d", "--label", f"pto.owner={site.owner}-of-somebody-else", *sleeper)
    try:
        site.start(DISPATCHER)
        assert site.end(run, code=1)["status"] == "cancelled"
        wait_for("all containers to be deleted", lambda: not site.containers())
        assert orphan not in site.docker("ps", "-aq", "--no-trunc")
        assert other in site.docker("ps", "-q", "--no-trunc")
    finally:
        site.docker("rm", "-f", other)


@pytest.mark.slow
def test_a_time_limit_counts_from_the_start_of_the_container(site: DockerSite) -> None:
    run = site.begin(
        {"name": "limit", "tasks": [{"id": "t", "command": "sleep 600", "resources": {"time": "6"}, "retries": 0}]}
    )
    wait_for("its container", lambda: site.containers(running=True))
    site.kill(DISPATCHER)
    time.sleep(7)
    site.start(DISPATCHER)
    summary = site.end(run, code=1)
    (attempt,) = summary["tasks"][0]["attempts"]
    assert attempt["failure"] == "timeout"
    assert 6 <= attempt["duration_s"] < 60


@pytest.mark.slow
def test_a_removed_container_is_nobodys_fault(site: DockerSite) -> None:
    command = "[ $PTO_ATTEMPT -gt 1 ] || sleep 600; echo x > x"
    run = site.begin({"name": "gone", "tasks": [{"id": "t", "command": command, "retries": 0}]})
    (container,) = wait_for("its container", lambda: site.containers(running=True))
    subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)
    summary = site.end(run)
    assert [attempt["failure"] for attempt in summary["tasks"][0]["attempts"]] == ["infra", None]


@pytest.mark.slow
def test_a_stopped_dispatcher_leaves_its_containers_to_the_next_one(site: DockerSite) -> None:
    command = "while [ ! -e go ]; do sleep 0.1; done; echo x > x"
    run = site.begin({"name": "leave", "tasks": [{"id": "t", "command": command}]})
    wait_for("its container", lambda: site.containers(running=True))
    site.processes[DISPATCHER].terminate()
    assert site.processes[DISPATCHER].wait(20) == 0
    assert len(site.containers(running=True)) == 1
    site.start(DISPATCHER)
    site.processes[DISPATCHER].wait_until_up()
    site.let_go(run, "t")
    assert attempts(site.end(run)) == {"t": 1}
