"""A plan as a text to edit: reading it again gives the same plan."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_client.plan_file import PlanFileError, read_edited_plan
from pto_client.plan_yaml import plan_yaml
from pto_proto.ids import TaskId
from pto_proto.plans import Plan, Resources, TaskSpec

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n\t"), min_size=1, max_size=300)
LONG = "Write the server. " * 20 + "Then stop."
SCRIPT = "set -e\nfor name in a b; do\n  echo \"$name: 'x' # no comment\"\ndone"


def again(plan: Plan, stored: tuple[str, ...] = ()) -> Plan:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(plan_yaml(plan))
        return read_edited_plan(path, stored)


def test_a_plan_comes_back_as_it_was() -> None:
    plan = Plan(
        name="yes: 12",
        tasks=(
            TaskSpec(id=TaskId("a"), agent=LONG, writes=("src/**",), checks=("true",), estimate_s=1.5, retries=0),
            TaskSpec(id=TaskId("b"), command=SCRIPT, depends_on=("a",), resources=Resources(memory="4G", time="90")),
            TaskSpec(id=TaskId("c"), command=("ls", "-l", "on"), inputs=("data/*.csv",), title="2026-01-31"),
        ),
        checks=("make test",),
    )
    assert again(plan, ("data/x.csv",)) == plan
    assert f"command: |-\n      {SCRIPT.splitlines()[0]}\n" in plan_yaml(plan)


@given(TEXT.filter(str.strip), TEXT.filter(str.strip))
def test_any_text_comes_back_as_it_was(instructions: str, command: str) -> None:
    tasks = (TaskSpec(id=TaskId("a"), agent=instructions), TaskSpec(id=TaskId("b"), command=command))
    assert again(Plan(tasks=tasks)).tasks == tasks


def test_inputs_must_be_among_those_that_were_stored() -> None:
    plan = Plan(inputs=("x.txt",), tasks=(TaskSpec(id=TaskId("a"), command="x", inputs=("data/*.csv",)),))
    with pytest.raises(PlanFileError) as caught:
        again(plan, ("x.txt", "data/readme"))
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        "plan.yaml:5: tasks[0].inputs[0]: 'data/*.csv' matches no input file that was stored when the run was asked for"
    )
