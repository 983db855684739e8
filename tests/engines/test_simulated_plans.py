"""The plans of the simulated engine: valid for every text, the right size, the same every time."""

import itertools
import time
from dataclasses import replace

import pytest

from pto_core.plan_check import check_plan
from pto_engines.simulated import SimulatedPlanner
from pto_engines.simulated.blueprint import assemble
from pto_engines.simulated.catalogue import Family, families, kinds
from pto_engines.simulated.parts import choose
from pto_engines.simulated.reading import BANDS, PER_SMALLER, read, task_count
from pto_proto.ids import is_task_id
from pto_proto.plans import Plan
from sentences import ALL, LONG, SEED

THINGS = ("aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg", "hhh", "iii", "jjj", "kkk", "lll")


def plan_of(requirement: str) -> Plan:
    return SimulatedPlanner().plan(requirement, 3).plan


def ancestors_by_task(plan: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for spec in plan.tasks:
        assert set(spec.depends_on) <= set(found), "a task comes after what it depends on, so there is no cycle"
        found[spec.id] = set(spec.depends_on).union(*(found[need] for need in spec.depends_on))
    return found


@pytest.mark.parametrize("requirement", ALL, ids=lambda text: ascii(text[:40]))
def test_every_text_gives_a_valid_plan_of_its_size(requirement: str) -> None:
    draft = SimulatedPlanner().plan(requirement, 3)
    least, most = ALL[requirement]
    assert least <= len(draft.plan.tasks) <= most
    band = next(band for band in BANDS if band[0] <= draft.complexity < band[1])
    assert band[2] <= len(draft.plan.tasks) <= band[3]
    assert "SIMULATED" in draft.rationale
    ids = [spec.id for spec in draft.plan.tasks]
    assert len(set(ids)) == len(ids)
    assert all(map(is_task_id, ids))
    for spec in draft.plan.tasks:
        assert spec.title
        assert spec.agent
        assert spec.checks
        assert spec.outputs
        assert spec.writes == spec.outputs
        assert spec.estimate_s is not None
        assert spec.estimate_s > 0
    ancestors_by_task(draft.plan)
    assert check_plan(draft.plan).problems == ()


@pytest.mark.parametrize("requirement", ALL, ids=lambda text: ascii(text[:40]))
def test_no_file_belongs_to_two_tasks(requirement: str) -> None:
    plan = plan_of(requirement)
    for first, second in itertools.combinations(plan.tasks, 2):
        assert not {path.lower() for path in first.writes} & {path.lower() for path in second.writes}


@pytest.mark.parametrize("requirement", SEED)
def test_dependencies_are_direct_and_all_tasks_build_on_the_one_with_the_test_configuration(requirement: str) -> None:
    plan = plan_of(requirement)
    beyond = ancestors_by_task(plan)
    (first,) = (spec.id for spec in plan.tasks if "pytest.ini" in spec.writes)
    for spec in plan.tasks:
        assert spec.id == first or first in beyond[spec.id]
        for need in spec.depends_on:
            assert not any(need in beyond[other] for other in spec.depends_on if other != need)


@pytest.mark.parametrize("requirement", [text for text, band in SEED.items() if band[0] > 3])
def test_bigger_plans_have_tasks_that_can_run_at_the_same_time(requirement: str) -> None:
    plan = plan_of(requirement)
    beyond = ancestors_by_task(plan)
    pairs = itertools.combinations(beyond, 2)
    assert any(a not in beyond[b] and b not in beyond[a] for a, b in pairs)


def test_examples_of_the_seed_have_its_numbers() -> None:
    assert len(plan_of("Build todo list with backend and frontend").tasks) == 6
    assert len(plan_of("Contact form with validation").tasks) == 4
    assert len(plan_of("Todo list with local storage").tasks) == 6


def test_budget_of_executors_makes_no_difference() -> None:
    drafts = [SimulatedPlanner().plan("Build ML pipeline", budget) for budget in (1, 5, 100)]
    assert drafts[0] == drafts[1] == drafts[2]


def test_more_named_parts_make_more_tasks() -> None:
    sizes = [
        len(plan_of(text).tasks) for text in ("Build a todo app", "Build a todo app with search, login, chat and admin")
    ]
    assert sizes[0] < sizes[1]


def test_task_count_rises_with_complexity_through_the_whole_table() -> None:
    counts = [task_count(complexity) for complexity in range(101)]
    assert counts == sorted(counts)
    assert {counts[0], counts[24], counts[25], counts[49], counts[50], counts[74], counts[75], counts[100]} == {
        1, 3, 4, 8, 9, 15, 16, 24
    }  # fmt: skip


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_every_kind_of_project_can_have_any_size_it_may_get(family: Family) -> None:
    reading = replace(read("Words"), family=family, things=(*family.entities, *THINGS))
    for complexity, login in itertools.product(range(family.base - PER_SMALLER, 101), (False, True)):
        count = task_count(complexity)
        tasks = assemble(replace(reading, complexity=complexity, tasks=count, wants_login=login)).tasks
        assert count <= len(tasks) <= next(band[3] for band in BANDS if complexity < band[1])
        made: set[str] = set()
        for task in tasks:
            assert set(task.depends_on) <= made
            made.add(task.id)
        assert len(made) == len(tasks)
        paths = [path for task in tasks for path in task.paths]
        assert len(set(paths)) == len(paths)


def test_catalogue_names_only_kinds_and_templates_that_are_there() -> None:
    for family in families().values():
        assert {selector.partition(":")[0] for selector in family.core + family.extra} <= set(kinds())
    for kind in kinds().values():
        assert {selector.partition(":")[0] for selector in kind.needs + kind.fold} <= {*kinds(), "*", "*first"}


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_chosen_parts_have_all_that_they_need(family: Family) -> None:
    reading = replace(read("Words"), family=family, things=(*family.entities, *THINGS))
    for count, login in itertools.product(range(1, 25), (False, True)):
        parts = choose(replace(reading, tasks=count, wants_login=login))
        chosen = {part.kind for part in parts}
        for part in parts:
            assert {need.partition(":")[0] for need in kinds()[part.kind].needs} <= {*chosen, "*"}


def test_long_texts_are_planned_quickly() -> None:
    for requirement in LONG:
        before = time.process_time()
        SimulatedPlanner().plan(requirement + " indeed", 3)
        assert time.process_time() - before < 2
