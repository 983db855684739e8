"""What a plan says about the input files of its tasks."""

from pto_planning.seen_inputs import seen_inputs
from pto_proto.ids import TaskId
from pto_proto.plans import InputFile, Plan, TaskSpec

FILES = [
    InputFile(path="a.txt", sha256="1", size=1),
    InputFile(path="data/b.csv", sha256="2", size=1),
    InputFile(path="data/deep/c.csv", sha256="3", size=1),
]


def plan(*globs: tuple[str, ...], wide: tuple[str, ...] = ()) -> Plan:
    tasks = tuple(TaskSpec(id=TaskId(f"t{at}"), noop=True, inputs=inputs) for at, inputs in enumerate(globs))
    return Plan(tasks=tasks, inputs=wide)


def test_the_same_files_give_the_same_digest_however_they_are_named() -> None:
    one, all_, folder, none, some = seen_inputs(
        plan(("a.txt",), ("**/*.csv", "*.txt"), ("data",), (), ("data/*.csv",)), FILES
    )
    assert len({one, all_, folder, some}) == 4
    assert none == ""
    assert (all_, folder) == seen_inputs(plan(("*.txt", "data/**"), ("**/*.csv",)), list(reversed(FILES)))


def test_plan_wide_inputs_are_seen_by_every_task() -> None:
    assert seen_inputs(plan((), ("a.txt",), wide=("a.txt",)), FILES) == seen_inputs(plan(("a.txt",), ("*.txt",)), FILES)


def test_content_mode_and_path_count_and_other_files_do_not() -> None:
    before = seen_inputs(plan(("a.txt",)), FILES)
    assert seen_inputs(plan(("a.txt",)), FILES[:1]) == before
    for other in (
        InputFile(path="a.txt", sha256="9", size=1),
        InputFile(path="a.txt", sha256="1", size=1, mode=0o755),
    ):
        assert seen_inputs(plan(("a.txt",)), [other]) != before
    assert seen_inputs(plan(("b.txt",)), [InputFile(path="b.txt", sha256="1", size=1)]) != before


def test_nothing_is_said_when_no_task_sees_anything() -> None:
    assert seen_inputs(plan((), ("missing.txt",)), FILES) == ()
