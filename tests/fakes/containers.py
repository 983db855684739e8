"""The real Docker engine with our images, for tests: ``deploy/testbed/docker.sh`` prepares it under CI, where it must not be missing.

Invariant: what a session starts bears ``DockerEngine.labels``; what sessions that are gone left is removed, and nothing else.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "testbed" / "docker.sh"
UP_TIMEOUT_S = 900
"""A fresh machine takes two minutes; other sessions may be at it first."""
NOT_ALLOWED = 3
SESSION = "pto.test.session"


@dataclass(frozen=True)
class DockerEngine:
    """An engine that answers. Images are ids: names move when another tree is built on the same machine."""

    base: str
    """What they were built from; a name, because builds take no ids."""
    full: str
    slim: str
    nats: str

    @property
    def labels(self) -> dict[str, str]:
        """For each container of a test, so that it is removed even when the session is killed."""
        return {SESSION: _session(os.getpid())}

    def docker(self, *words: str, timeout_s: float = 120) -> str:
        """Run the command line and return what it prints; a failure says what it said."""
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, image: str, *words: str, options: tuple[str, ...] = (), timeout_s: float = 120) -> str:
        """Run a command in a new container, confined as attempts are, and return what it prints."""
        labels = [f"--label={name}={value}" for name, value in self.labels.items()]
        confined = (
            "--rm", "--init", "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp",
        )  # fmt: skip
        return self.docker("run", *confined, *labels, *options, image, *words, timeout_s=timeout_s)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """The engine, with the images of this tree. Under CI it is installed and started if need be; elsewhere its absence is a skip."""
    required = os.environ.get("CI") == "true"
    answers = shutil.which("docker") and not subprocess.run(["docker", "version"], capture_output=True).returncode
    if not answers and not required:
        pytest.skip("no Docker engine answers; as root: deploy/testbed/docker.sh up")
    made = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, timeout=UP_TIMEOUT_S, check=False)
    if made.returncode == NOT_ALLOWED and not required:
        pytest.skip(made.stderr.strip())
    if made.returncode:
        pytest.fail(f"docker.sh up failed:\n{made.stderr}", pytrace=False)
    ids = dict(line.split("=", 1) for line in made.stdout.splitlines())
    engine = DockerEngine(*(ids[f"PTO_TEST_IMAGE_{target}"] for target in ("BASE", "FULL", "SLIM", "NATS")))
    sweep(engine, ended=False)
    yield engine
    sweep(engine, ended=True)


def _session(pid: int) -> str:
    """A process and when it started: its id alone may be another's later."""
    try:
        return f"{pid}.{Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[19]}"
    except OSError:
        return "gone"


def sweep(engine: DockerEngine, *, ended: bool) -> None:
    """Remove containers of sessions that are gone, and this one's own when it has ``ended``."""
    listing = engine.docker(
        "ps", "--all", f"--filter=label={SESSION}", f'--format={{{{.ID}}}} {{{{.Label "{SESSION}"}}}}'
    )
    for container, session in (line.split() for line in listing.splitlines()):
        pid = int(session.partition(".")[0])
        if session != _session(pid) or (ended and pid == os.getpid()):
            subprocess.run(["docker", "rm", "--force", "--volumes", container], capture_output=True, check=False)
