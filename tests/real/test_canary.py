"""Keys are where they are needed and nowhere else: not in the log, the outputs, the state folder, or any child."""

import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.fakes.canaries import holders

from playing import ACCESS_KEY, KEY, ORCHESTRATOR, REQUIREMENT, SECRET_KEY, Api, orchestrator

TOKEN = "token-canary-7f3a"


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*"):
            try:
                children = {int(word) for word in (task / "children").read_text().split()}
            except OSError:
                continue
            waiting += children - found
            found |= children
    return found


class Watch(threading.Thread):
    """Looks at arguments and environment of all children, all the time."""

    def __init__(self, pid: int, secrets: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._secrets = [secret.encode() for secret in secrets]
        self.ended = threading.Event()
        self.seen: set[str] = set()
        self.leaks: set[str] = set()

    def run(self) -> None:
        while not self.ended.is_set():
            for pid in descendants(self._pid):
                self._look_at(pid)
            time.sleep(0.005)

    def _look_at(self, pid: int) -> None:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            arguments, environment = (Path(f"/proc/{pid}/{what}").read_bytes() for what in ("cmdline", "environ"))
            own = Path(f"/proc/{self._pid}/cmdline").read_bytes()
        except OSError:
            return
        if arguments in (own, b""):  # forked just now, and not yet another program
            return
        self.seen.add(name)
        for what, data in (("arguments", arguments), ("environment", environment)):
            if any(secret in data for secret in self._secrets):
                self.leaks.add(f"{what} of {name}: {arguments[:200]!r}")


def run_watched(folder: Path, environment: dict[str, str], *words: str, secrets: tuple[str, ...]) -> tuple[str, Watch]:
    process = subprocess.Popen(
        [ORCHESTRATOR, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = Watch(process.pid, secrets)
    watch.start()
    said, _ = process.communicate(timeout=120)
    watch.ended.set()
    watch.join()
    assert process.returncode == 0, said
    return said, watch


def test_key_of_the_api_is_nowhere(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    said, watch = run_watched(
        tmp_path, environment, REQUIREMENT, "--real", "-v", "-m", "3", "-o", "out", secrets=(KEY,)
    )
    assert KEY not in said
    assert not holders(KEY, below=(tmp_path,))
    assert "nats-server" in watch.seen
    assert not watch.leaks
    assert all(request.keys == ("canary",) and not request.leaked for request in api.requests)


@pytest.mark.parametrize("way", ["here", "detached"])
def test_typed_credentials_stay_in_the_process(way: str, aws: Api, environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.pop(name)
    typed = ("--docker-aws-access-key-id", ACCESS_KEY, "--docker-aws-secret-access-key", SECRET_KEY,
             "--docker-aws-session-token", TOKEN)  # fmt: skip
    words = (REQUIREMENT, "--real", "--docker-use-bedrock", *typed, "-m", "3", "-o", "out")
    secrets = (ACCESS_KEY, SECRET_KEY, TOKEN)
    if way == "here":
        said, watch = run_watched(tmp_path, environment, *words, secrets=secrets)
        assert not watch.leaks
    else:
        run = orchestrator(tmp_path, environment, *words, "--detach").stdout.strip()
        said = orchestrator(tmp_path, environment, "watch", run).stdout
        until = time.monotonic() + 30
        while not (tmp_path / "out/execution_summary.json").exists() and time.monotonic() < until:
            time.sleep(0.1)
    for secret in secrets:
        assert secret not in said
        assert not holders(secret, below=(tmp_path,))
    assert aws.requests
    assert all(request.keys == ("aws-canary",) for request in aws.requests)
