"""Logs of whole runs, as released versions wrote them, replay to the same outcome for ever."""

import json
from pathlib import Path

import pytest

from pto_core.fold import evolve
from pto_core.outcome import outcome_digest
from pto_core.state import State
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.jsonl"))


def read(path: Path) -> list[tuple[int, Event]]:
    found = []
    for line in path.read_text().splitlines():
        message = json.loads(line)
        found.append((message["seq"], decode_event(json.dumps(message["data"]).encode())))
    return found


def test_there_are_histories_of_several_ends() -> None:
    assert {path.stem.rpartition("-")[2] for path in HISTORIES} >= {"succeeded", "partial", "cancelled"}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_stored_log_replays_to_the_outcome_that_was_written_then(path: Path) -> None:
    state = State()
    ends: dict[str, ev.RunFinished] = {}
    for seq, event in read(path):
        evolve(state, seq, event)
        if event.kind is ev.RunFinished and event.run is not None:
            ends[event.run] = event.entries[0]
            run = state.runs[event.run]
            assert outcome_digest(run, event.entries[0].status) == event.entries[0].outcome_digest
    assert ends
    assert not state.active
    for name, run in state.runs.items():
        assert run.poisoned is None
        assert run.phase.value == ends[name].status
        assert {task.state.value for task in run.tasks} == set(ends[name].tasks)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_reader_of_one_run_sees_the_same_end(path: Path) -> None:
    view = RunView()
    for seq, event in read(path):
        if event.run is not None:
            view.apply(seq, event)
    assert view.finished is not None
    assert view.run is not None
    assert view.run.phase.value == view.finished.status
