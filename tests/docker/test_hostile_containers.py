"""Containers that do what they must not: each is held, and each is told for what it is."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.containers import DockerEngine

from pto_dispatcher_docker.daemon import Daemon
from pto_dispatcher_docker.limits import LATE_KILL_S
from systems import DockerSite, wait_for

PLAN: dict[str, dict[str, Any]] = {
    "outside": {
        "command": "for path in /etc/x /usr/x /x /run/x /proc/sys/kernel/hostname /sys/x; do touch $path && echo $path >> written; done; "
        "mount -t tmpfs none /mnt && echo mount >> written; mknod device c 1 3 && echo device >> written; touch mine",
        "outputs": ["mine"],
        "checks": ["test ! -e written", "test $(id -u) = 10001", "grep -q 'CapEff:.*0000000000000000' /proc/self/status", "grep -q 'NoNewPrivs:.*1' /proc/self/status"],
    },
    "network": {"command": "python3 -c \"import socket; socket.create_connection(('192.0.2.1', 80), 3)\""},
    "forks": {"command": "i=0; while [ $i -lt 10000 ]; do sleep 60 & i=$((i+1)); done"},
    "memory": {"command": "tail /dev/zero", "resources": {"memory": "64M"}},
    "memory-of-a-child": {"command": "tail /dev/zero; while [ ! -e go ]; do sleep 0.1; done; echo went on", "resources": {"memory": "64M"}},
    "temporary": {"command": "dd if=/dev/zero of=/tmp/big bs=1M count=4096"},
    "disk": {"command": "i=0; while dd if=/dev/zero of=big.$i bs=1M count=16 2>/dev/null; do i=$((i+1)); sleep 0.2; done"},
    "hole": {"command": "truncate -s 1T hole", "outputs": ["hole"]},
    "deep": {"command": "i=0; while [ $i -lt 3000 ]; do mkdir d && cd d || break; i=$((i+1)); done; exit 0"},
    "link": {"command": "ln -s /etc/passwd stolen", "outputs": ["stolen"]},
    "pipe": {"command": "mkfifo pipe", "outputs": ["pipe"]},
    "time": {"command": "trap '' TERM; while :; do sleep 1; done", "resources": {"time": "2"}},
    "program": {"command": ["no-such-program"]},
    "exit": {"command": "echo last words; exit 3"},
}  # fmt: skip
CLASSES = {"time": "timeout", "outside": None} | {name: "task" for name in PLAN if name not in ("time", "outside")}


@pytest.mark.slow
def test_each_is_contained_and_told_by_its_class(make_site: Any) -> None:
    site: DockerSite = make_site(PTO_DOCKER_NETWORK="none", PTO_DOCKER_WORKSPACE="96M")
    site.start()
    tasks = [{"id": name, "retries": 0, **fields} for name, fields in PLAN.items()]
    began = time.time()
    run = site.begin({"name": "hostile", "tasks": tasks})
    child = "memory-of-a-child"
    wait_for("the kill of a child", lambda: site.told("oom", began, f"pto.task={child}"), 180)
    site.let_go(run, child)
    summary = site.end(run, code=1)
    ends = {task["id"]: task["attempts"][-1] for task in summary["tasks"]}
    assert {name: end["failure"] for name, end in ends.items()} == CLASSES, ends
    assert {name: len(task["attempts"]) for name, task in zip(ends, summary["tasks"], strict=True)} == dict.fromkeys(
        PLAN, 1
    )
    said = {name: end["reason"] for name, end in ends.items()}
    assert "memory of 64 MiB" in said["memory"]
    assert "went on" in said["memory-of-a-child"]
    assert ends["memory-of-a-child"]["exit_code"] == 0
    assert "workspace" in said["disk"]
    assert "workspace" in said["hole"]
    assert "workspace" in said["deep"]
    assert "stolen" in said["link"]
    assert ends["program"]["exit_code"] == 127
    assert ends["exit"]["exit_code"] == 3
    assert all(end["sandbox"] == "container" for name, end in ends.items() if name not in ("program",)), ends
    owners = {path.stat().st_uid for path in site.folder.glob("work/*/executor_*/outside.1/mine")}
    assert owners == {10001}
    wait_for("all containers to be deleted", lambda: not site.containers())


async def test_engine_tells_what_befell_a_container(docker_engine: DockerEngine) -> None:
    daemon = Daemon("/var/run/docker.sock", calls=2)
    await daemon.open()
    told = {}
    for name, command in (("oom", "tail /dev/zero"), ("kill", "sleep 60"), ("", "exit 1")):
        limits = {"Memory": 64 * 2**20, "MemorySwap": 64 * 2**20, "NetworkMode": "none", "Init": True}
        body = {"Image": docker_engine.slim, "Cmd": ["sh", "-c", command], "HostConfig": limits}
        container = await daemon.create(f"pto-test-{os.getpid()}-{name or 'exit'}", body)
        try:
            await daemon.start(container)
            if name == "kill":
                await daemon.stop(container, 1)
            await daemon.wait(container)
            seen = await daemon.inspect(container)
            told[name] = await daemon.told_of(container, seen.started_ms, seen.finished_ms + int(LATE_KILL_S * 1000))
        finally:
            await daemon.remove(container)
    await daemon.close()
    assert told == {"oom": {"oom"}, "kill": {"kill"}, "": set()}


@pytest.mark.slow
def test_what_runs_on_after_a_cancel_is_killed(site: DockerSite) -> None:
    deaf = {
        "id": "deaf",
        "command": "trap '' TERM INT HUP; setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done",
    }
    run = site.begin({"name": "cancel", "tasks": [deaf]})
    (container,) = wait_for("the container", lambda: site.containers(running=True))
    pid = int(site.docker("inspect", "--format", "{{.State.Pid}}", container))
    site.orchestrator("cancel", run)
    summary = site.end(run, code=1)
    assert summary["status"] == "cancelled"
    assert [task["state"] for task in summary["tasks"]] == ["cancelled"]
    assert not summary.get("unconfirmed")
    assert not Path(f"/proc/{pid}").exists()
    wait_for("the container to be deleted", lambda: not site.containers())


@pytest.mark.slow
def test_fifty_containers_run_at_once(site: DockerSite) -> None:
    tasks = [{"id": f"t{number}", "command": "sleep 600", "resources": {"memory": "32M"}} for number in range(50)]
    run = site.begin({"name": "fifty", "tasks": tasks})
    wait_for("fifty running containers", lambda: len(site.containers(running=True)) == 50, 300)
    site.orchestrator("cancel", run)
    summary = site.end(run, code=1)
    assert summary["counts"] == {"cancelled": 50}
    wait_for("all containers to be deleted", lambda: not site.containers(), 180)
