"""Commands that read a run while the process that hosts it leaves: its store tells from then on."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pto_cli import conduct
from pto_cli.conduct import ask_and_wait, catch_up
from pto_cli.main import run
from pto_cli.problems import HostGone
from pto_client.follower import Follower
from pto_memory import MemoryEventLog
from pto_ports.event_log import LogReader, LogUnavailable
from pto_proto.ids import RunId
from pto_proto.requests import RunPauseRequested
from typing_in import Cli, runs, write

RUN = RunId("run-0001")
PLAN = "tasks: [{id: a, noop: true}]"


def left() -> Any:
    """A run's access whose host has gone."""
    session = SimpleNamespace(connection=SimpleNamespace(user="requester"), queue=None)
    return SimpleNamespace(session=session, host=None, folder=SimpleNamespace(is_hosted=lambda: False))


class Away(MemoryEventLog):
    async def read(self, **_: Any) -> LogReader:
        raise LogUnavailable("gone")


class Silent:
    """A reader that was not shown all and gets nothing more."""

    caught_up = False
    interruptions = 0

    async def next(self, max_wait_s: float) -> list[Any]:
        return []

    async def close(self) -> None:
        """Nothing was held."""


class Mute(MemoryEventLog):
    async def read(self, **_: Any) -> Any:
        return Silent()


@pytest.mark.parametrize("log", [Away(), Mute()])
async def test_who_reads_notices_that_the_host_has_left(log: MemoryEventLog) -> None:
    async with asyncio.timeout(5):  # less than the patience with a broker that is there
        with pytest.raises(HostGone):
            await catch_up(left(), Follower(log, RUN))


async def test_who_asks_notices_that_the_host_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(*_: Any, **__: Any) -> None:
        """Sent."""

    monkeypatch.setattr(conduct, "ask", ask)
    with pytest.raises(HostGone):
        await ask_and_wait(left(), Follower(Mute(), RUN), RunPauseRequested(run=RUN))


def test_a_command_goes_on_with_the_store(
    cli: Cli, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cli("run", "--plan", write(tmp_path, PLAN), "-o", "out", "-q")
    name, tries = runs(cli)[0]["run"], []

    async def leave_once(*words: Any) -> Any:
        tries.append(words)
        if len(tries) == 1:
            raise HostGone
        return await catch_up(*words)

    monkeypatch.setattr(conduct, "catch_up", leave_once)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert run(["status", name]) == 0
    assert "succeeded" in capsys.readouterr().out
    assert len(tries) == 2
