"""One command in the hands of a poller: what goes wrong with it is its own affair."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pto_harness.process
from pto_harness import Cancel
from pto_harness.failure import Failed
from pto_harness.poller import Poller
from pto_harness.process import Command, Ended, Process
from pto_harness.spawn import prepare
from pto_harness.strays import find_strays

ENV = {"PATH": os.environ["PATH"]}


class Commands:
    """Starts commands and keeps how they ended."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.ended: dict[str, Any] = {}
        self.written: dict[str, bytes] = {}

    def start(self, name: str, command: str, cancel: Cancel | None = None, **fields: Any) -> Process:
        marker = f"PTO_ATTEMPT_ID={os.getpid()}-{name}"
        env = {**ENV, "PTO_ATTEMPT_ID": marker.partition("=")[2]}

        def feed(_: str, data: bytes) -> None:
            self.written[name] = self.written.get(name, b"") + data

        def then(ended: Any, error: BaseException | None) -> None:
            assert name not in self.ended, "told twice"
            self.ended[name] = error or ended

        wanted = Command(command, "/", env, marker=marker, **fields)
        process = Process(wanted, self.poller, feed, cancel or Cancel(), then)
        process.start()
        return process

    def wait(self, *names: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not set(names) <= set(self.ended):
            self.poller.step(0.05)
        assert set(names) <= set(self.ended), f"only {sorted(self.ended)} have ended"

    def left(self, name: str) -> list[int]:
        return find_strays(f"PTO_ATTEMPT_ID={os.getpid()}-{name}")


@pytest.fixture
def commands() -> Iterator[Commands]:
    poller = Poller(starters=2, workers=2)
    yield Commands(poller)
    poller.close()


@pytest.mark.parametrize("callback", ["_watch", "_look", "_read"])
def test_a_fault_in_the_watch_ends_this_command_and_no_other(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, callback: str
) -> None:
    sound = getattr(Process, callback)

    def faulty(self: Process, *arguments: Any) -> None:
        if "faulty" in self._command.marker:
            raise ChildProcessError("deliberate")
        sound(self, *arguments)

    monkeypatch.setattr(Process, callback, faulty)
    commands.start("faulty", "echo x; sleep 0.1" if callback == "_look" else "echo x; sleep 60")
    commands.start("sound", "sleep 0.2; echo x")
    commands.wait("faulty", "sound")
    assert commands.ended["sound"] == Ended(0, "exited")
    error = commands.ended["faulty"]
    assert isinstance(error, Failed)
    assert (error.failure, "deliberate" in str(error)) == ("infra", True)
    assert commands.left("faulty") == []


def test_an_end_that_somebody_else_has_seen_is_told_as_unknown() -> None:
    script = """
        import os, signal, tempfile
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        from pto_harness import run_task
        d = tempfile.mkdtemp()
        task = {"workspace": d + "/e/w", "out": d + "/e/o", "log": d + "/e/l", "command": "echo x",
                "env": {"PATH": os.environ["PATH"]}}
        result = run_task(task)
        print(result["outcome"], result["failure"], result["reason"])
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert shown.startswith("failed infra nobody knows how the command ended")


def test_nothing_that_waits_for_its_start_runs_after_a_cancel(tmp_path: Path) -> None:
    poller = Poller(starters=1)
    commands, may_go, cancel = Commands(poller), threading.Event(), Cancel()
    commands.start("first", f"echo x >> {tmp_path}/ran", cancel, before=lambda: bool(may_go.wait(20)) or None)
    names = [f"waiting-{number}" for number in range(20)]
    for name in names:
        commands.start(name, f"echo x >> {tmp_path}/ran", cancel)
    cancel.request("enough")
    may_go.set()
    commands.wait("first", *names)
    poller.close()
    assert {ended.why for ended in commands.ended.values()} == {"cancelled"}
    assert not (tmp_path / "ran").exists()


def test_a_start_that_hangs_can_be_ended_and_holds_up_no_other(tmp_path: Path) -> None:
    poller = Poller(starters=2)
    commands, may_go, cancel = Commands(poller), threading.Event(), Cancel()

    def hang() -> None:
        may_go.wait(60)

    for number in range(3):
        commands.start(f"limited-{number}", f"touch {tmp_path}/ran", before=hang, time_limit_s=0.1)
        commands.start(f"cancelled-{number}", f"touch {tmp_path}/ran", cancel, before=hang)
    commands.start("sound", "echo x")
    cancel.request("enough")
    commands.wait("sound", *(f"{kind}-{number}" for kind in ("limited", "cancelled") for number in range(3)))
    assert not may_go.is_set()
    assert {name: ended.why for name, ended in commands.ended.items()} == {
        "sound": "exited",
        **{f"limited-{number}": "timeout" for number in range(3)},
        **{f"cancelled-{number}": "cancelled" for number in range(3)},
    }
    poller.close()  # waits for nobody
    may_go.set()
    _until(lambda: not [thread for thread in threading.enumerate() if thread.name == "start"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_process_that_comes_after_it_was_given_up_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_closed: bool
) -> None:
    loaded, may_go = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Callable[[], int]:
        start = prepare(*arguments)

        def load() -> int:
            loaded.set()
            may_go.wait(60)
            return start()

        return load

    monkeypatch.setattr(pto_harness.process, "prepare", slow)
    poller = Poller(starters=1, workers=1)
    commands = Commands(poller)
    cancel = Cancel()
    commands.start("late", "sleep 60 & sleep 60", cancel)
    _until(loaded.is_set)
    cancel.request("enough")
    commands.wait("late")
    assert commands.ended["late"].why == "cancelled"
    if is_closed:
        poller.close()
    may_go.set()
    if is_closed:
        _until(lambda: not [thread for thread in threading.enumerate() if thread.name == "start"])
    else:
        monkeypatch.undo()
        commands.start("next", "true")
        commands.wait("next")
        poller.close()
    _until(lambda: not commands.left("late"))
    _until(_no_child_is_left)


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def _no_child_is_left() -> bool:
    """Whether all were waited for."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return True
