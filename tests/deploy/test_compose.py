"""The compose files: the whole system in containers, as the make targets start it, asked for two runs and ended."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ports import free_port

from .servers import ROOT

BIN = Path(sys.executable).parent
SERVICES = {"scheduler-1", "scheduler-2", "planner", "consolidator", "dispatcher-local", "dispatcher-docker"}
IDLE_BYTES = 500_000_000
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Compose:
    """A project of its own in a folder of its own."""

    def __init__(self, folder: Path, engine: Any) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PTO_", "NATS_"))},
            "COMPOSE_PROJECT_NAME": f"ptotest{os.getpid()}", "COMPOSE_STATE": str(folder / "state"),
            "COMPOSE_ENV": str(folder / "env"), "PTO_IMAGE": engine.slim, "NATS_IMAGE": engine.nats,
            "PTO_LISTEN": f"127.0.0.1:{free_port()}",
        }  # fmt: skip

    def run(self, *words: str, timeout_s: float = 240) -> str:
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def compose(self, *words: str) -> str:
        return self.run("docker", "compose", "--env-file", str(self.folder / "env"), *words)


@pytest.fixture
def system(tmp_path: Path, docker_engine: Any) -> Iterator[Compose]:
    running = Compose(tmp_path, docker_engine)
    yield running
    if (tmp_path / "env").exists():
        running.compose("logs", "--no-color")
        running.compose("down", "--volumes", "--timeout", "5")


@pytest.mark.slow
def test_the_whole_system_comes_up_works_and_goes_down(system: Compose) -> None:
    system.run("make", "up")
    shown = [json.loads(line) for line in system.compose("ps", "--format", "json").splitlines()]
    assert {row["Service"] for row in shown if row["Health"] == "healthy"} == SERVICES
    names = [row["Name"] for row in shown if row["Service"] != "nats"]
    used = system.run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *names).splitlines()
    found = [re.match(r"([\d.]+)([KMG]?i?B)", line) for line in used]
    total = sum(float(match[1]) * UNITS[match[2]] for match in found if match)
    print(f"\nidle memory of all services: {total / 1e6:.0f} MB", end="")
    assert 0 < total < IDLE_BYTES
    for name in names:
        (state,) = json.loads(system.run("docker", "inspect", name))
        host = state["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert state["Config"]["User"].split(":")[0] not in ("", "0")
        assert not [line for line in state["Config"]["Env"] if line.startswith(("PTO_PASSWORD=", "ANTHROPIC_"))]
    assert system.run("deploy/compose/replace.sh", "scheduler-1") == "replace: scheduler-1 is ready\n"
    said = system.run("make", "smoke")
    assert "smoke: local: run" in said
    assert "smoke: docker: run" in said
    system.run("make", "down")
    assert system.run("docker", "ps", "-aq", "--filter", f"name={system.environment['COMPOSE_PROJECT_NAME']}") == ""
    assert (system.folder / "state" / "accounts" / "accounts.json").exists()


@pytest.mark.slow
def test_the_files_are_what_compose_understands(tmp_path: Path, docker_engine: Any) -> None:
    system = Compose(tmp_path, docker_engine)
    (tmp_path / "env").write_text("PTO_STATE=/srv/pto\n")
    shown = json.loads(system.compose("--profile", "observe", "config", "--format", "json"))["services"]
    assert set(shown) == {*SERVICES, "nats", "bootstrap", "prometheus", "grafana"}
    files = ("-f", "docker-compose.yml", "-f", "deploy/compose/ha.yml")
    three = json.loads(system.compose(*files, "config", "--format", "json"))["services"]
    assert {"nats", "n2", "n3"} <= set(three)
    for name in SERVICES:
        assert three[name]["environment"]["NATS_URL"].count("tls://") == 3
        assert three[name]["environment"]["PTO_CREDS"] == shown[name]["environment"]["PTO_CREDS"]


def test_every_variable_of_the_compose_files_is_explained() -> None:
    files = [ROOT / "docker-compose.yml", ROOT / "deploy/compose/ha.yml"]
    asked = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())} - {"PWD"}
    explained = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked == explained
