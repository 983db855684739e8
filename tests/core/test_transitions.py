"""The transition tables and the diagrams made from them."""

from pathlib import Path

from pto_core.transitions import (
    ENDED_PHASES,
    ENDED_STATES,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    RunPhase,
    TaskState,
    TaskTrigger,
    state_diagrams,
)

ARCHITECTURE = Path(__file__).resolve().parents[2] / "docs/architecture.md"


def test_the_diagrams_in_the_docs_are_those_of_the_tables() -> None:
    text = ARCHITECTURE.read_text()
    shown = text[text.index("<!-- states:begin -->") : text.index("<!-- states:end -->")]
    assert shown.removeprefix("<!-- states:begin -->").strip() == state_diagrams().strip()


def test_what_has_ended_moves_only_by_being_reopened_or_by_an_order_that_crossed_its_end() -> None:
    leaving = {(state, trigger) for state, trigger in TASK_TRANSITIONS if state in ENDED_STATES}
    assert {trigger for _, trigger in leaving} == {TaskTrigger.REOPENED, TaskTrigger.HANDED_OUT}
    assert [state for state, trigger in leaving if trigger is TaskTrigger.HANDED_OUT] == [TaskState.SKIPPED]
    assert all(not RUN_TRANSITIONS[phase] for phase in ENDED_PHASES)


def test_every_state_and_phase_can_be_reached() -> None:
    assert {TaskState.PLANNED, *TASK_TRANSITIONS.values()} == set(TaskState)
    assert {RunPhase.PLANNING, *(phase for after in RUN_TRANSITIONS.values() for phase in after)} == set(RunPhase)
