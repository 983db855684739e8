"""``orchestrator doctor``: whether everything is here that a run needs; each check one line.

Imports siblings; the wiring is in ``access``, ``engines`` and ``preflight``. Invariants: it leaves nothing behind; it
asks a model only when it is told to (``--probe``); no check hides the next one.
"""

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from pto_cli.arguments import command_parser, parse
from pto_cli.backend_flags import BackendChoice, read_backend
from pto_cli.flags import FLAGS
from pto_cli.model_flags import ModelChoice, read_models
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK, WrongUse
from pto_cli.progress import write_lines
from pto_proto.ids import LANE_LOCAL

MIN_FREE_BYTES = 512 * 1024 * 1024
"""Room for a run's log and a few blobs."""
MODEL_FLAGS = (
    "real", "engine", "model", "docker_use_bedrock", "docker_bedrock_region", "docker_bedrock_model",
)  # fmt: skip
"""Of ``run``: what decides which model is asked, but for credentials, which belong into the environment."""
BACKEND_FLAGS = ("docker", "slurm", "aws", "docker_planner_in_docker")
"""Of ``run``: what decides which backend is looked at, beside the flags that need it."""
Found = tuple[str, str, str]
"""(mark, what, what was found)."""


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("doctor", "Check that everything is here that a run needs.")
    parser.add_argument("--probe", action="store_true", help="also ask the model for one token")
    for flag in FLAGS:
        if flag.field not in (*MODEL_FLAGS, *BACKEND_FLAGS) and flag.needs not in ("docker", "slurm", "aws"):
            continue
        if flag.value:
            parser.add_argument(
                flag.name, metavar=flag.value, default=None, choices=flag.choices or None, help=flag.help
            )
        else:
            parser.add_argument(flag.name, action="store_true", help=flag.help)
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    choice, backend = _choices(typed)
    failed = count = 0
    for checks in (_here(typed), _engines(choice, probes=typed.probe), _backend(backend)):
        for mark, name, said in checks:
            write_lines([f"{mark:<4}  {name}: {said}"])
            failed += mark == "FAIL"
            count += 1
    write_lines(["everything is fine" if not failed else f"{failed} of {count} checks failed"])
    return EXIT_ENVIRONMENT if failed else EXIT_OK


def _choices(typed: Namespace) -> tuple[ModelChoice, BackendChoice]:
    values = {flag.field: getattr(typed, flag.field, None) for flag in FLAGS}
    if typed.probe and not (typed.real or typed.engine):
        values["real"] = True
    choice, problems = read_models(values, os.environ, is_remote=False)
    backend, misplaced = read_backend(values, os.environ, is_remote=False)
    if problems or misplaced:
        raise WrongUse(*misplaced, *problems)
    return choice, backend


def _backend(choice: BackendChoice) -> Iterator[Found]:
    """One after the other, each as soon as it is made: a probe may take a minute."""
    if choice.lane == LANE_LOCAL and not choice.planner_backend:
        return
    from pto_cli.preflight import look

    found = look(choice)

    async def next_one() -> Found | None:
        return await anext(found, None)

    with asyncio.Runner() as runner:
        try:
            while (one := runner.run(next_one())) is not None:
                yield one
        except Exception as error:
            yield "FAIL", choice.lane, _said(error)


def _here(typed: Namespace) -> Iterator[Found]:
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("state folder", _state_folder),
        ("output folder", _output_folder),
        ("sandbox", _sandbox),
    ]
    if typed.nats_url:
        checks.append(("broker", lambda: asyncio.run(_remote(typed.nats_url))))
    else:
        checks += [("nats-server", _server), ("embedded broker", lambda: asyncio.run(_embedded()))]
    for name, check in checks:
        yield _checked(name, check)


def _engines(choice: ModelChoice, *, probes: bool) -> Iterator[Found]:
    """The chosen engine has to be usable; of the others it is only said whether they are."""
    from pto_cli.engines import checks, probe

    if not choice.asks_model:
        for name in ("api", "claude-code"):
            _, what, said = next(checks(ModelChoice(engine=name, provider=choice.provider, model=choice.model)))
            yield "note", what, said
        return
    is_fine = True
    try:
        for found in checks(choice):
            is_fine = is_fine and found[0] != "FAIL"
            yield found
    except Exception as error:
        is_fine = False
        yield "FAIL", choice.engine, _said(error)
    if probes and is_fine:
        yield _checked("probe", lambda: probe(choice))


def _checked(name: str, check: Callable[[], str]) -> Found:
    try:
        return "ok", name, check()
    except Exception as error:
        return "FAIL", name, _said(error)


def _said(error: Exception) -> str:
    hint = getattr(error, "hint", "")
    said = str(error) or type(error).__name__
    return f"{said}. {hint}" if hint else said


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _server() -> str:
    from pto_cli.access import server_version

    return server_version()


def _sandbox() -> str:
    from pto_cli.access import confinement

    return confinement()


def _state_folder() -> str:
    from pto_cli.registry import state_home

    folder = state_home()
    folder.mkdir(parents=True, exist_ok=True)
    return _room(folder)


def _output_folder() -> str:
    return _room(Path.cwd())


def _room(folder: Path) -> str:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OSError(f"the disk of {folder} has {free // 2**20} MiB left, {MIN_FREE_BYTES // 2**20} MiB are needed")
    return f"{folder}, {free / 2**30:.1f} GiB free"


async def _embedded() -> str:
    from pto_cli.access import host_run
    from pto_cli.registry import RunFolder

    with tempfile.TemporaryDirectory(prefix="pto-doctor-") as name:
        began = time.monotonic()
        folder = RunFolder(Path(name) / "run")
        access = await host_run(folder, work_dir=Path(name), capacity=1, with_services=False)
        took = time.monotonic() - began
        await access.close()
    return f"started and set up in {took:.2f} s"


async def _remote(url: str) -> str:
    from pto_cli.access import open_remote

    access = await open_remote(url, os.environ)
    try:
        last = await access.session.view.last_seq()
    finally:
        await access.close()
    return f"{url} answers; its log ends at {last}"
