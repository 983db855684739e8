"""What a sandboxed command can see, change and use up; the same questions to every level that there is."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fakes.sandboxes import LEVELS, nothing_here, sandbox

from pto_harness import Cancel, NoSandbox, run_task, sandbox_level
from pto_harness import sandbox as sandbox_module
from pto_harness.box import Box
from pto_harness.limits import SANDBOX_DATA_BYTES
from pto_harness.process import Command, Ended, run_command
from pto_harness.sandbox import LEVELS as ALL_LEVELS
from pto_harness.sandbox import Sandbox

ENV = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}
PYTHON = sys.executable
NOBODY = 65534


class Cell:
    """Runs shell text in one sandbox."""

    def __init__(self, folder: Path, confined: Sandbox) -> None:
        self.workspace = folder / "mine" / "workspace"
        self.workspace.mkdir(parents=True)
        self.confined = confined

    def run(self, text: str, **box: object) -> tuple[Ended, str]:
        out = bytearray()
        wanted = Command(
            text, str(self.workspace), ENV, time_limit_s=60.0,
            wrap=partial(self.confined.wrap, box=Box(str(self.workspace), **box)),  # type: ignore[arg-type]
        )  # fmt: skip
        ended = run_command(wanted, lambda stream, data: out.extend(data), Cancel())
        return ended, out.decode(errors="replace")


@pytest.fixture(params=LEVELS)
def cell(request: pytest.FixtureRequest, tmp_path: Path) -> Cell:
    return Cell(tmp_path, sandbox(request.param))


def test_its_workspace_and_its_temporary_folder_can_be_written_and_programs_run(cell: Cell) -> None:
    text = f"echo hi > made && cat made && echo x > $TMPDIR/x && cd && pwd && {PYTHON} -c 'import pytest; print(7)'"
    ended, said = cell.run(text)
    assert (ended.exit_code, said.split()[0], said.split()[-1]) == (0, "hi", "7"), said
    assert (cell.workspace / "made").read_text() == "hi\n"


def test_exit_codes_and_signals_are_the_commands_own(cell: Cell) -> None:
    assert cell.run("exit 7")[0].exit_code == 7
    assert cell.run("kill -9 $$")[0].exit_code == 137
    assert cell.run("no-such-program")[0].exit_code == 127


@pytest.mark.parametrize(
    "path",
    ["/usr/pto-escape", "/etc/pto-escape", "/pto-escape", "/tmp/pto-escape", "{above}/escape", "{above}/link/escape"],
)
def test_nothing_is_written_outside(cell: Cell, path: str) -> None:
    above = cell.workspace.parent
    (above / "out").mkdir()
    (above / "link").symlink_to(above / "out")
    target = Path(path.format(above=above))
    cell.run(f"echo x > {target}")
    assert not target.exists()


def test_neither_homes_nor_other_workspaces_nor_stores_can_be_read(cell: Cell, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret").write_text("the-canary")
    home = Path.home() / f".pto-canary-{os.getpid()}"
    home.write_text("the-canary")
    try:
        for place in (other / "secret", home, Path("/etc/shadow")):
            ended, said = cell.run(f"cat {place}; ln -s {place} here; cat here; rm -f here")
            assert ended.exit_code == 0
            assert "the-canary" not in said
            assert "root:" not in said
    finally:
        home.unlink()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_there_is_no_network_unless_the_box_has_it(cell: Cell, listening: int) -> None:
    ask = f'{PYTHON} -c \'import socket; socket.create_connection(("127.0.0.1", {listening}), 2); print("through")\''
    assert "through" not in cell.run(ask)[1]
    assert "through" in cell.run(ask, network=True)[1]


def test_loopback_is_its_own_where_the_kernel_lets_it_have_one(cell: Cell) -> None:
    serve = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 2)"
    assert cell.run(f'{PYTHON} -c "{serve}"')[0].exit_code == 0


def test_without_a_network_of_its_own_only_a_lenient_box_has_tcp(
    tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where neither root nor user namespaces are to be had.
    program = tmp_path / "confine.py"
    library = str(Path(sandbox_module.__file__).parents[1])
    program.write_text(
        f"import sys; sys.path.insert(0, {library!r})\nfrom pto_harness import confine\n"
        "confine.enter_own_network = lambda: False\nconfine.main()\n"
    )
    monkeypatch.setattr(sandbox_module, "own_program", lambda _: [sys.executable, "-I", "-S", str(program)])
    ask = f'{PYTHON} -c \'import socket; socket.create_connection(("127.0.0.1", {listening}), 2); print("through")\''
    cell = Cell(tmp_path, sandbox("landlock"))
    assert "PermissionError" in cell.run(ask)[1]
    assert "through" in cell.run(ask, lenient=True)[1]


def test_other_processes_can_neither_be_asked_for_their_secrets_nor_be_ended(cell: Cell) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], env={"CANARY": "the-canary"}) as other:
        _, said = cell.run(f"tr '\\0' ' ' < /proc/{other.pid}/environ; kill -9 {other.pid}; cat /proc/[0-9]*/environ")
        time.sleep(0.05)
        assert other.poll() is None
        assert "the-canary" not in said
        other.kill()


def test_processes_that_hide_are_gone_with_the_command(cell: Cell) -> None:
    hide = "setsid env -i /bin/sh -c 'sleep 0.5; echo late > late' >/dev/null 2>&1 &"
    assert cell.run(f"{hide} {hide} echo done")[0].exit_code == 0
    time.sleep(1.2)
    assert not (cell.workspace / "late").exists()


def test_no_privileges_are_gained(cell: Cell) -> None:
    _, said = cell.run("grep -E 'NoNewPrivs|CapEff' /proc/self/status; unshare -Ur true && echo nested")
    assert "NoNewPrivs:\t1" in said
    assert "CapEff:\t0000000000000000" in said
    assert "nested" not in said


def test_one_file_and_one_process_take_only_so_much(cell: Cell) -> None:
    ended, _ = cell.run(f"{PYTHON} -c 'x = bytearray({SANDBOX_DATA_BYTES + 2**28})'")
    assert ended.exit_code != 0
    ended, _ = cell.run("truncate -s 2G big")
    assert ended.exit_code != 0


def test_processes_are_counted_for_who_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root's processes are not counted by the kernel, so nobody runs them; nobody cannot see root's own Python.
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        many = ["/bin/sh", "-c", "for i in $(seq 3000); do sleep 30 & done; echo all of them"]
        argv = sandbox("bubblewrap").wrap(many, Box(name))
        tried = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=60, **who)  # type: ignore[call-overload]
    assert "fork" in tried.stderr
    assert "all of them" not in tried.stdout


def test_a_cancel_ends_it_soon(cell: Cell) -> None:
    cancel, out = Cancel(), bytearray()

    def feed(stream: str, data: bytes) -> None:
        out.extend(data)
        cancel.request("enough")

    wrap = partial(cell.confined.wrap, box=Box(str(cell.workspace)))
    wanted = Command("echo on; setsid sleep 300; echo never", str(cell.workspace), ENV, wrap=wrap)
    assert run_command(wanted, feed, cancel).why == "cancelled"
    assert out.decode() == "on\n"


def test_the_level_that_is_had_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    had = sandbox_level()
    assert had.level in ALL_LEVELS
    monkeypatch.setattr(sandbox_module, "find_bubblewrap", lambda: (None, "bwrap is not installed"))
    laid = sandbox_level()
    assert (laid.level, "bubblewrap" in laid.hint) == ("landlock", True)
    monkeypatch.setattr(sandbox_module, "_find_landlock", lambda: (None, "the kernel has no Landlock"))
    none = sandbox_level()
    assert none.level == "none"
    assert "bwrap is not installed, and the kernel has no Landlock" in none.meaning
    assert "--sandbox none" in none.hint
    with pytest.raises(NoSandbox):
        sandbox_module.find_sandbox()


@pytest.mark.parametrize(
    ("wish", "outcome", "level"), [("required", "failed", ""), ("wanted", "succeeded", "none"), ("", "succeeded", "")]
)
def test_without_a_sandbox_what_requires_one_is_a_configuration_failure(
    tmp_path: Path, wish: str, outcome: str, level: str
) -> None:
    task = {
        "workspace": str(tmp_path / "w"),
        "out": str(tmp_path / "o"),
        "command": "true",
        "env": ENV,
        "sandbox": wish,
    }
    result = run_task(task, find=nothing_here)
    assert (result["outcome"], result["sandbox"]) == (outcome, level)
    if outcome == "failed":
        assert result["failure"] == "config"
        assert "--sandbox none" in result["hint"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_persons_command_is_confined_with_its_checks_when_all_is_asked_for(tmp_path: Path, level: str) -> None:
    (tmp_path / "secret").write_text("the-canary")
    task = {
        "workspace": str(tmp_path / "w"), "out": str(tmp_path / "o"), "env": ENV, "sandbox": "required",
        "command": f"cat {tmp_path}/secret; echo x > made", "checks": ["test -s made", f"! cat {tmp_path}/secret"],
    }  # fmt: skip
    lines: list[str] = []
    result = run_task(task, find=lambda: sandbox(level), on_line=lambda stream, text: lines.append(text))
    assert (result["outcome"], result["files"], result["sandbox"]) == ("succeeded", 1, level), result
    assert not any("the-canary" in line for line in lines)


@pytest.mark.parametrize("level", LEVELS)
def test_places_may_be_relative_to_where_the_service_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.chdir(tmp_path)
    task = {"workspace": "work/w", "out": "work/o", "env": ENV, "sandbox": "required", "command": "echo x > made"}
    assert run_task(task, find=lambda: sandbox(level))["files"] == 1
    work = {**task, "command": "", "checks": ["test -s made"]}
    done = run_task(work, find=lambda: sandbox(level), work=lambda desk: (desk.workspace / "made").write_text("x"))
    assert (done["outcome"], done["files"]) == ("succeeded", 1), done
