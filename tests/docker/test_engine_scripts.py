"""What the scripts say when they are used wrongly or there is no engine, and that leftovers of dead sessions are swept."""

import os
import subprocess
from pathlib import Path

import pytest
from fakes.containers import SESSION, DockerEngine, sweep

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "deploy" / "docker" / "build.sh"
TESTBED = ROOT / "deploy" / "testbed" / "docker.sh"


def call(script: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code, and what it says on standard error; it must keep standard output for results."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PTO_", "DOCKER_"))}
    done = subprocess.run(
        [script, *words], env={**plain, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "tiny"], "--target is slim, full, nats or all, not tiny"),
        (["--tag"], "--tag needs a value"),
        (["--tag", "mine:1"], "--tag names one image: choose a --target"),
        (["--push"], "--push is unknown"),
    ],
)
def test_build_refuses_wrong_use_with_one_sentence(words: list[str], said: str) -> None:
    assert call(BUILD, *words) == (2, f"build: {said}; see build.sh --help")


def test_without_an_engine_the_scripts_say_how_to_get_one(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PTO_TESTBED_STATE": str(tmp_path / "state")}
    code, said = call(BUILD, **nowhere)
    assert (code, said.count("\n")) == (1, 0)
    assert "no Docker engine answers" in said
    assert "deploy/testbed/docker.sh up" in said
    code, said = call(TESTBED, "status", **nowhere)
    assert (code, said.count("\n")) == (1, 0)
    assert said.startswith("docker: no engine answers")
    code, said = call(TESTBED, "down", **nowhere)
    assert (code, said.count("\n")) == (0, 0)
    assert "nothing to end" in said


def test_testbed_starts_no_engine_beside_one_that_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    code, said = call(TESTBED, "up", DOCKER_HOST=f"unix://{tmp_path}/none.sock", PTO_TESTBED_STATE=str(state))
    assert code == 3
    assert "DOCKER_HOST" in said
    assert not (state / "dockerd.started").exists()


def test_leftovers_of_dead_sessions_are_swept_and_others_are_not(docker_engine: DockerEngine) -> None:
    def leave(session: str) -> str:
        words = ("create", "--network=none", f"--label={SESSION}={session}", docker_engine.slim, "true")
        return docker_engine.docker(*words).strip()

    ended, reused, own = leave("999999999.1"), leave(f"{os.getppid()}.1"), leave(docker_engine.labels[SESSION])
    sweep(docker_engine, ended=False)
    left = docker_engine.docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={SESSION}").split()
    assert own in left
    assert ended not in left
    assert reused not in left
