"""Starting programs: by the C library and, where it lacks something, by ``subprocess``, with the same result."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pto_harness.spawn
from pto_harness.spawn import prepare

PATH = os.environ["PATH"]


class Started:
    """Starts programs and reads what they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def output(self, argv: list[str], env: dict[str, str] | None = None) -> str:
        out, into = os.pipe()
        try:
            pid = prepare(argv, str(self.folder), {"PATH": PATH} if env is None else env, into, into)()
        finally:
            os.close(into)
            with os.fdopen(out, "rb") as file:
                data = file.read()
        assert os.waitpid(pid, 0)[0] == pid
        return data.decode()


@pytest.fixture(params=["library", "subprocess"])
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    if request.param == "subprocess":
        monkeypatch.setattr(pto_harness.spawn, "_library", lambda: None)
    elif sys.platform == "linux":
        assert pto_harness.spawn._library() is not None, "the C library here lacks what a quick start needs"
    return Started(tmp_path)


def test_a_program_gets_its_arguments_environment_and_folder(started: Started) -> None:
    assert started.output(["/bin/sh", "-c", 'echo "$0|$1|$PWD|$A"', "x", "ä b"], {"A": "ü"}) == (
        f"x|ä b|{started.folder}|ü\n"
    )
    assert started.output(["env"], {"PATH": PATH, "ONLY": "this"}).splitlines() == [f"PATH={PATH}", "ONLY=this"]


def test_it_has_a_session_of_its_own(started: Started) -> None:
    assert started.output([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]) == "True\n"


def test_signals_that_python_ignores_are_not_ignored_by_what_it_starts(started: Started) -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    found = started.output(["/bin/sh", "-c", 'trap "" HUP; grep SigIgn /proc/self/status']).split()[1]
    # The C library keeps two numbers to itself, which no program can see.
    ignored = {number for number in signal.valid_signals() if int(found, 16) >> (number - 1) & 1}
    # A shell makes what it runs in its background ignore these two, tests as well: what it starts may then, too.
    inherited = {number for number in (signal.SIGINT, signal.SIGQUIT) if signal.getsignal(number) == signal.SIG_IGN}
    assert ignored - inherited == {signal.SIGHUP}


def test_no_descriptor_is_passed_on(started: Started) -> None:
    leaky = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leaky, True)
    try:
        listed = started.output(["/bin/sh", "-c", "ls -l /proc/$$/fd"])
    finally:
        os.close(leaky)
    assert sorted(line.split(" -> ")[0].split()[-1] for line in listed.splitlines() if " -> " in line) == [
        "0",
        "1",
        "2",
    ]
    assert "0 -> /dev/null" in listed


def test_programs_are_found_in_the_path_that_they_will_have(started: Started) -> None:
    tools = started.folder / "tools"
    tools.mkdir()
    (tools / "mine").write_text("#!/bin/sh\necho found\n")
    (tools / "mine").chmod(0o755)
    (started.folder / "mine").write_text("no program")
    for path in (f"/nowhere:{tools}:{PATH}", "tools", f"{started.folder}:{tools}"):
        assert started.output(["mine"], {"PATH": path}) == "found\n"
    assert started.output(["tools/mine"]) == "found\n"


def test_what_cannot_be_started_is_told_as_an_error(started: Started) -> None:
    (started.folder / "plain").write_text("no program")
    (started.folder / "empty").write_text("")
    (started.folder / "odd").write_bytes(b"\x01\x02")
    (started.folder / "odd").chmod(0o755)
    here = {"PATH": str(started.folder)}
    for argv, env, expected in (
        (["no-such-program"], None, FileNotFoundError),
        (["/no/such/program"], None, FileNotFoundError),
        (["plain"], here, PermissionError),
        (["./plain"], None, PermissionError),
        (["./odd"], None, OSError),
        (["a\0b"], None, ValueError),
        (["/bin/echo", "a\0b"], None, ValueError),
        (["/bin/echo"], {"A": "a\0b"}, ValueError),
        (["/bin/echo"], {"A=B": "c"}, ValueError),
    ):
        with pytest.raises(expected):
            started.output(argv, env)


def test_an_empty_environment_and_empty_arguments_stay_empty(started: Started) -> None:
    assert started.output(["/usr/bin/env"], {}) == ""
    assert started.output(["/bin/sh", "-c", 'echo "$#[$1]"', "sh", "", "b"]) == "2[]\n"
    assert started.output(["/bin/sh", "-c", "printenv A"], {"PATH": PATH, "A": ""}) == "\n"


def test_what_is_never_started_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pto_harness.spawn._library()
    assert library is not None
    held = [0]
    made, freed = library._init, library._destroy

    def counted(function: Callable[[object], int], change: int) -> Callable[[object], int]:
        def call(actions: object) -> int:
            held[0] += change
            return function(actions)

        return call

    monkeypatch.setattr(library, "_init", counted(made, 1))
    monkeypatch.setattr(library, "_destroy", counted(freed, -1))
    never = prepare(["/bin/true"], str(tmp_path), {}, 5, 6)
    assert held == [0]
    del never
    out, into = os.pipe()
    os.waitpid(prepare(["/bin/true"], str(tmp_path), {}, into, into)(), 0)
    with pytest.raises(FileNotFoundError):
        prepare(["/no/such"], str(tmp_path), {}, into, into)()
    os.close(out)
    os.close(into)
    assert held == [0]
