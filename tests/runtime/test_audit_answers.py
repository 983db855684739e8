"""A scheduler's answers to an audit: true, and not too many."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from pto_core.snapshot import FOLD_VERSION, digests
from pto_core.state import Run, State
from pto_memory import MemoryLiveChannel, VirtualClock
from pto_ports.observer import Look
from pto_proto.ids import InstanceId, RunId
from pto_proto.live import StateShown
from pto_proto.requests import RunRequested
from pto_proto.subjects import AUDIT_SUBJECT, STATE_SUBJECT
from pto_runtime.audit_answers import AuditAnswers


@pytest.fixture
def state() -> State:
    state = State()
    state.seq = 17
    state.runs[RunId("run-one")] = Run(
        RunId("run-one"), RunRequested(run=RunId("run-one")), seq=3, at=4, content_digest="c"
    )
    return state


class Place:
    def __init__(self, state: State) -> None:
        self.channel = MemoryLiveChannel()
        self.clock = VirtualClock()
        self.heard: list[StateShown] = []
        self.role = "leading"
        self.state: State | None = state
        self.answers = AuditAnswers(
            self.channel, self.clock, self.look, instance=InstanceId("scheduler"), incarnation="abc"
        )

    def look(self) -> Look:
        assert self.state is not None
        return Look(self.state, self.role)  # type: ignore[arg-type]

    async def ask(self) -> None:
        await self.channel.send(AUDIT_SUBJECT, b"{}")
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def place(state: State) -> AsyncIterator[Place]:
    place = Place(state)
    await place.channel.listen(
        STATE_SUBJECT, lambda subject, data: place.heard.append(msgspec.json.decode(data, type=StateShown))
    )
    await place.answers.open()
    yield place
    await place.answers.close()


async def test_the_answer_says_what_the_state_is(place: Place, state: State) -> None:
    await place.ask()
    (shown,) = place.heard
    assert (shown.instance, shown.incarnation, shown.role, shown.seq) == ("scheduler", "abc", "leading", 17)
    assert (shown.digest, shown.runs) == digests(state)
    assert shown.fold_version == FOLD_VERSION


async def test_many_questions_at_once_get_one_answer_and_the_last_is_not_forgotten(place: Place) -> None:
    for _ in range(5):
        await place.ask()
    assert len(place.heard) == 1
    place.role = "standby"
    await place.clock.advance(1.5)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [shown.role for shown in place.heard] == ["leading", "standby"]
    await place.clock.advance(10)
    assert len(place.heard) == 2


async def test_what_cannot_be_shown_is_not_answered_and_ends_nothing(place: Place, state: State) -> None:
    place.state = None
    await place.ask()
    assert place.heard == []
    place.state = state
    await place.clock.advance(1.5)
    await place.ask()
    assert len(place.heard) == 1


async def test_after_the_close_nothing_is_answered(place: Place) -> None:
    await place.answers.close()
    await place.answers.close()
    await place.ask()
    assert place.heard == []
