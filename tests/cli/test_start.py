"""What a start reads: help needs next to nothing, and nothing stands between a checked plan and the broker's start."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from typing_in import ORCHESTRATOR, Cli, runs, summary, write

HEAVY = ("asyncio", "nats", "rich", "structlog", "uvloop")
PARSERS = ("msgspec", "yaml")
PLAN = "name: One\ntasks:\n- {id: a, command: sleep 3}\n"


def read_by(code: str) -> set[str]:
    """The modules that a fresh Python has after this code."""
    show = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_reads_next_to_nothing(word: str) -> None:
    read = read_by(f"from pto_cli.main import run; run([{word!r}])")
    assert not read.intersection((*HEAVY, *PARSERS))


def test_nothing_heavy_is_read_before_the_broker_is_started() -> None:
    read = read_by("import pto_cli.commands.run, pto_client.plan_file, pto_cli.embedded")
    assert not read.intersection(HEAVY)


def test_a_run_without_a_terminal_reads_neither_rich_nor_the_catalogue() -> None:
    read = read_by("from pto_cli.host import _load; from pto_cli.registry import LOCAL_ONLY; _load(LOCAL_ONLY)")
    assert "structlog" in read
    assert not read.intersection(("rich", "pto_engines.simulated.catalogue"))


def test_a_local_run_reads_nothing_of_other_backends() -> None:
    read = read_by("from pto_cli.host import _load; from pto_cli.registry import LOCAL_ONLY; _load(LOCAL_ONLY)")
    assert not {name.partition(".")[0] for name in read} & {"aiodocker", "boto3", "botocore"}
    assert {name for name in read if name.startswith("pto_dispatcher")} >= {"pto_dispatcher_local.main"}
    assert not [name for name in read if name.startswith("pto_dispatcher") and "local" not in name]


@pytest.mark.parametrize("seen", ["store/.lock", "store/nats-server_*.ports", "job.json", "endpoint.json"])
def test_a_start_that_is_broken_off_leaves_a_run_that_goes_on_or_nothing(
    cli: Cli, tmp_path: Path, environment: dict[str, str], seen: str
) -> None:
    plan, out, folders = write(tmp_path, PLAN), tmp_path / "out", tmp_path / "state/parallel-orchestrator/runs"
    process = subprocess.Popen(
        [ORCHESTRATOR, "--plan", plan, "-o", str(out), "-q"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 30
    while not list(folders.glob(f"*/{seen}")) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    known = runs(cli)
    assert len(list(folders.iterdir())) == len(known)
    assert out.exists() == bool(known)
    for run in known:
        cli("resume", run["run"], "-q")
        assert summary(out)["status"] == "succeeded"


def test_an_interrupt_that_an_import_makes_another_error_of_is_still_an_interrupt(tmp_path: Path) -> None:
    """Modules in C may swallow it while they are read."""
    module = tmp_path / "breaks.py"
    module.write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    raise TypeError('expected a message argument') from None\n"
    )
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background
        "import sys, pto_cli.main as m; m._call = lambda *_: __import__('breaks'); sys.argv[1:] = ['list']; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
    code = code.replace("breaks", "broken")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "an error that is nobody's interrupt is told"
    assert "broken" in done.stderr
