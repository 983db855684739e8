"""The projects of the simulated engine: real code whose parts need each other, and whose tests pass."""

import ast
from pathlib import Path

import pytest

from projects import check, execute, files, merge, run_pytest, simulate
from pto_engines.simulated import SimulatedPlanner
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec
from sentences import ALIKE, ALL, FAST, SEED

WIDE = [pytest.param(text, marks=() if text in FAST else pytest.mark.slow, id=ascii(text[:40])) for text in ALL]


@pytest.mark.parametrize("requirement", WIDE)
def test_every_text_gives_a_project_whose_tests_pass(requirement: str, tmp_path: Path) -> None:
    plan = SimulatedPlanner().plan(requirement, 3).plan
    execute(
        requirement, plan, tmp_path, checked=requirement in set(SEED) - set(ALIKE)
    )  # a process per task is what takes the time here
    merged = merge(plan, tmp_path)
    if requirement in FAST:
        check(plan.checks, merged)
    assert run_pytest(merged, plugins=requirement in FAST) > 0
    for path in files(merged):
        text = (merged / path).read_text(encoding="utf-8")
        assert "SIMULATED" in text, path
        if path.endswith(".py"):
            assert ast.get_docstring(ast.parse(text, feature_version=(3, 8))), path


@pytest.mark.parametrize("requirement", SEED)
def test_two_executions_give_the_same_bytes(requirement: str, tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        for spec in SimulatedPlanner().plan(requirement, 3).plan.tasks:
            simulate(requirement, spec, tmp_path / name)
        trees.append(files(tmp_path / name))
    assert trees[0] == trees[1]


def test_parts_import_each_other(tmp_path: Path) -> None:
    for spec in SimulatedPlanner().plan("Build a todo app", 3).plan.tasks:
        simulate("Build a todo app", spec, tmp_path)
    service = (tmp_path / "src/todo_app/todo_service.py").read_text()
    assert "from todo_app.store import Store" in service
    assert "from todo_app.todo import Todo" in service


def test_text_of_the_requirement_cannot_become_code(tmp_path: Path) -> None:
    requirement = '""" \nimport os; os.system("touch owned") # </title><script>x()</script> contact form'
    for spec in SimulatedPlanner().plan(requirement, 3).plan.tasks:
        simulate(requirement, spec, tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".py", ".html", ".js", ".css"):
            text = path.read_text()
            assert "os.system(" not in text
            assert "<script>x" not in text


def test_task_of_somebody_elses_plan_gets_a_stand_in_for_each_output(tmp_path: Path) -> None:
    globs = ("src/**/*.py", "tests/test_*.py", "data/result.json", "docs/", "notes-?.txt", "../outside", "/etc/outside")
    spec = TaskSpec(id=TaskId("my-task"), title='quote """ and more', agent="do it", outputs=globs)
    simulate("anything", spec, tmp_path / "inside")
    assert set(files(tmp_path)) == {
        "inside/src/my_task.py",
        "inside/tests/test_my_task.py",
        "inside/data/result.json",
        "inside/docs/my_task.md",
        "inside/notes-x.txt",
    }
    for path in files(tmp_path):
        assert "SIMULATED" in (tmp_path / path).read_text()
    check(("PYTHONPATH=tests python3 -B -m unittest -q test_my_task", "python3 -B src/my_task.py"), tmp_path / "inside")


def test_edited_task_of_a_simulated_plan_gets_what_it_declares_now(tmp_path: Path) -> None:
    first = SimulatedPlanner().plan("Create a calculator function", 3).plan.tasks[0]
    simulate("Create a calculator function", TaskSpec(id=first.id, outputs=("docs/a.md",)), tmp_path)
    assert set(files(tmp_path)) == {"docs/a.md"}
