"""A task with a matrix becomes one task per combination."""

from hypothesis import given
from hypothesis import strategies as st

from pto_core.matrix import count_of, expand, value_text
from pto_proto.ids import TaskId, is_task_id
from pto_proto.plans import Resources, SlurmOptions, TaskSpec


def task(id_: str, **fields: object) -> TaskSpec:
    return TaskSpec(id=TaskId(id_), **fields)  # type: ignore[arg-type]


def ids(*tasks: TaskSpec) -> list[str]:
    return [spec.id for spec in expand(tasks).tasks]


def test_one_task_per_combination_in_the_order_written() -> None:
    train = task("train", command="true", matrix={"rate": (0.1, 0.01), "depth": (2, 3)})
    assert count_of(train) == 4
    assert ids(train) == ["train-0.1-2", "train-0.1-3", "train-0.01-2", "train-0.01-3"]


def test_parameters_are_filled_in_everywhere_and_the_shells_are_left_alone() -> None:
    spec = task(
        "t",
        title="depth ${matrix.d}",
        agent="use ${matrix.d}",
        command="run ${matrix.d} ${HOME} ${matrix}",
        inputs=("in/${matrix.d}.csv",),
        outputs=("out/${matrix.d}.csv",),
        writes=("w/${matrix.d}",),
        checks=("test ${matrix.d} -gt 0",),
        env=("VAR_${matrix.d}",),
        backend="${matrix.b}",
        resources=Resources(memory="${matrix.d}G", time="${matrix.d}:00", cpus=2),
        slurm=SlurmOptions(partition="p${matrix.d}"),
        matrix={"d": (4,), "b": ("local",)},
    )
    (filled,) = expand([spec]).tasks
    assert filled == task(
        "t-4-local",
        title="depth 4",
        agent="use 4",
        command="run 4 ${HOME} ${matrix}",
        inputs=("in/4.csv",),
        outputs=("out/4.csv",),
        writes=("w/4",),
        checks=("test 4 -gt 0",),
        env=("VAR_4",),
        backend="local",
        resources=Resources(memory="4G", time="4:00", cpus=2),
        slurm=SlurmOptions(partition="p4"),
    )


def test_argument_vectors_are_filled_word_by_word() -> None:
    (filled,) = expand([task("t", command=("run", "--rate=${matrix.r}"), matrix={"r": ("a b",)})]).tasks
    assert filled.command == ("run", "--rate=a b")
    assert filled.id == "t-a-b"


def test_a_dependency_on_a_matrix_means_all_its_expansions() -> None:
    tasks = expand([task("train", noop=True, matrix={"x": (1, 2)}), task("best", depends_on=("train",))]).tasks
    assert tasks[-1].depends_on == ("train-1", "train-2")


def test_a_dependency_may_follow_the_own_parameter() -> None:
    tasks = [
        task("prep", noop=True, matrix={"x": (1, 2)}),
        task("train", noop=True, matrix={"x": (1, 2)}, depends_on=("prep-${matrix.x}",)),
    ]
    assert [spec.depends_on for spec in expand(tasks).tasks[2:]] == [("prep-1",), ("prep-2",)]


def test_ids_stay_unique_whatever_the_values_are() -> None:
    assert ids(task("t", matrix={"x": ("a/b", "a b", "a?b")}), task("t-a-b")) == [
        "t-a-b-2",
        "t-a-b-3",
        "t-a-b-4",
        "t-a-b",
    ]


def test_sources_name_the_task_that_was_written() -> None:
    expansion = expand([task("a", matrix={"x": (1, 2)}), task("b")])
    assert expansion.sources == (0, 0, 1)


def test_values_look_like_json_without_quotes() -> None:
    assert [value_text(value) for value in (True, 1, 0.01, "x y")] == ["true", "1", "0.01", "x y"]


@given(st.lists(st.text(max_size=80), min_size=1, max_size=30))
def test_every_expansion_has_a_legal_id_of_its_own(values: list[str]) -> None:
    found = ids(task("t", matrix={"x": tuple(values)}))
    assert len(set(found)) == len(values)
    assert all(is_task_id(id_) and id_.isascii() for id_ in found)


def test_the_same_tasks_give_the_same_expansion() -> None:
    tasks = [task("t" * 60, matrix={"x": tuple(range(50))}), task("u", depends_on=("t" * 60,))]
    assert expand(tasks) == expand(tasks)
