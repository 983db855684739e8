"""All that is wrong with a plan or a request, at once and with its place."""

import time

import pytest

from pto_core.graph import build_graph
from pto_core.limits import MAX_TASKS
from pto_core.plan_check import check_plan, check_request, count_tasks
from pto_proto.ids import Digest, RunId, TaskId
from pto_proto.plans import DockerOptions, Plan, Resources, SlurmOptions, TaskSpec
from pto_proto.requests import RunRequested


def task(id_: str, **fields: object) -> TaskSpec:
    if not {"agent", "command", "noop"} & fields.keys():
        fields["noop"] = True
    return TaskSpec(id=TaskId(id_), **fields)  # type: ignore[arg-type]


def problems(*tasks: TaskSpec, **fields: object) -> list[str]:
    return [str(problem) for problem in check_plan(Plan(tasks=tasks, **fields)).problems]  # type: ignore[arg-type]


def request(**fields: object) -> RunRequested:
    return RunRequested(**({"run": RunId("run-123456"), "requirement": "Build it"} | fields))  # type: ignore[arg-type]


def test_a_good_plan_has_no_problems_and_can_be_folded() -> None:
    plan = Plan(
        name="Sweep",
        inputs=("data/*.csv",),
        checks=("test -f report.md",),
        tasks=(
            task(
                "train",
                command="echo ${matrix.x}",
                matrix={"x": (1, 2)},
                outputs=("m/${matrix.x}.json",),
                env=("HOME",),
            ),
            task(
                "best",
                command=["sh", "-c", "true"],
                depends_on=("train",),
                resources=Resources(memory="1G", time="1:00"),
            ),
        ),
    )
    expanded, found = check_plan(plan)
    assert found == ()
    assert [spec.id for spec in expanded.tasks] == ["train-1", "train-2", "best"]
    assert count_tasks(plan) == 3
    build_graph(expanded.tasks)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (task("-x"), "tasks[0].id: '-x' is not a task id"),
        (task(""), "tasks[0].id: is empty"),
        (task("\u212aelvin"), "tasks[0].id:"),
        (task("t", noop=False), "tasks[0]: does nothing; give exactly one of"),
        (task("t", agent="a", command="b"), "tasks[0]: has agent and command; give exactly one"),
        (task("t", command="  "), "tasks[0].command: is blank"),
        (task("t", command=("", "x")), "tasks[0].command[0]: is blank"),
        (task("t", outputs=("ok", "../x")), "tasks[0].outputs[1]: '../x' leaves its folder"),
        (task("t", inputs=("a/../../b",)), "tasks[0].inputs[0]: 'a/../../b' leaves its folder"),
        (task("t", writes=("/etc/passwd",)), "tasks[0].writes[0]: '/etc/passwd' is an absolute path"),
        (
            task("t", noop=False, agent="a", writes=("src/**",), outputs=("src/a.py", "docs/a.md")),
            "tasks[0].outputs[1]: 'docs/a.md' lies outside of what the task may write (src/**)",
        ),
        (
            task("t", noop=False, agent="a", env=("LANG", "ANTHROPIC_API_KEY")),
            "tasks[0].env[1]: ANTHROPIC_API_KEY pays for models",
        ),
        (task("t", outputs=("",)), "tasks[0].outputs[0]: is empty"),
        (task("t", outputs=("a\nb",)), "tasks[0].outputs[0]: holds a control character"),
        (task("t", outputs=("x" * 300,)), "tasks[0].outputs[0]: is too long"),
        (task("t", outputs=("a//b",)), "tasks[0].outputs[0]: 'a//b' has an empty part"),
        (task("t", checks=(" ",)), "tasks[0].checks[0]: is blank"),
        (task("t", resources=Resources(memory="4X")), "tasks[0].resources.memory: '4X' is not a memory size"),
        (task("t", resources=Resources(time="1h")), "tasks[0].resources.time: '1h' is not a time"),
        (task("t", resources=Resources(cpus=-1)), "tasks[0].resources.cpus: must be 0 to"),
        (task("t", retries=-1), "tasks[0].retries: must be 0 to 100, not -1"),
        (task("t", estimate_s=-0.5), "tasks[0].estimate_s: must be"),
        (task("t", estimate_s=float("nan")), "tasks[0].estimate_s: must be"),
        (task("t", backend="aws"), "tasks[0].backend: 'aws' does not say which cluster; write parallelcluster-<cluster>"),
        (task("t", backend="parallelcluster"), "tasks[0].backend: 'parallelcluster' does not say which cluster"),
        (task("t", backend="slurm-HPC"), "tasks[0].backend: 'slurm-HPC' names no lane; write slurm- and a name of a-z"),
        (task("t", backend="slurm-"), "tasks[0].backend: 'slurm-' names no lane"),
        (task("t", backend="docker-two"), "tasks[0].backend: there is no backend 'docker-two'; tasks run on local, docker"),
        (task("t", backend="moon"), "tasks[0].backend: there is no backend 'moon'"),
        (task("t", backend="planner"), "tasks[0].backend: there is no backend 'planner'"),
        (task("t", env=("A=1",)), "tasks[0].env[0]: 'A=1' is not the name of an environment variable; only names"),
        (task("t", slurm=SlurmOptions(partition="a b")), "tasks[0].slurm.partition:"),
        (task("t", title="a\nb"), "tasks[0].title: holds a line break"),
        (task("t", command="a\0b"), "tasks[0]: holds a NUL character"),
        (task("t", agent="x" * 100_000), "tasks[0]: is 100"),
        (task("t", command="echo ${matrix.x}"), "tasks[0]: names ${matrix.x}, a parameter that"),
        (task("t", command="echo ${matrix.y}", matrix={"x": (1, 2)}), "tasks[0]: names ${matrix.y}"),
        (task("t", matrix={"x": ()}), "tasks[0].matrix.x: has no values"),
        (task("t", matrix={"a b": (1,)}), "tasks[0].matrix: 'a b' cannot name a parameter"),
        (task("t", matrix={"x": ((1, 2),)}), "tasks[0].matrix.x[0]: must be text, a number or true/false"),
        (task("t", matrix={"x": (1, 1)}), "tasks[0].matrix.x[1]: repeats the value 1"),
        (task("t", depends_on=("t",)), "tasks[0].depends_on[0]: task 't' waits for itself"),
        (task("t", depends_on=("t",), matrix={"x": (1, 2)}), "tasks[0].depends_on[0]: task 't' waits for itself"),
        (task("t", depends_on=("nope",)), "tasks[0].depends_on[0]: there is no task 'nope'"),
    ],
)  # fmt: skip
def test_each_mistake_of_a_task_is_one_sentence_with_its_place(spec: TaskSpec, expected: str) -> None:
    (found,) = problems(spec)
    assert found.startswith(expected)


def test_the_nearest_task_is_suggested() -> None:
    (found,) = problems(task("build-api"), task("t", depends_on=("build-ap",)))
    assert found == "tasks[1].depends_on[0]: there is no task 'build-ap'; did you mean 'build-api'?"


def test_a_circle_is_named_and_so_is_the_next_one() -> None:
    found = problems(
        task("a", depends_on=("c",)), task("b", depends_on=("a",)), task("c", depends_on=("b",)),
        task("x", depends_on=("y",)), task("y", depends_on=("x",)),
    )  # fmt: skip
    assert found == [
        "tasks[0].depends_on: tasks depend on each other in a circle: a -> b -> c -> a",
        "tasks[3].depends_on: tasks depend on each other in a circle: x -> y -> x",
    ]


def test_everything_is_said_at_once() -> None:
    found = problems(
        task("a", outputs=("../x",), retries=-1), task("a", depends_on=("zzz",)), task("m", matrix={"x": ()}),
        name="a\nb", inputs=("/abs",), checks=("", "echo ${matrix.x}"),
    )  # fmt: skip
    assert len(found) == 9, found


def test_a_place_in_a_fan_in_counts_what_was_written() -> None:
    tasks = (task("m", matrix={"x": (1, 2, 3)}), task("t", depends_on=("m", "nope")))
    assert problems(*tasks)[0].startswith("tasks[1].depends_on[1]: ")


def test_a_matrix_repeats_no_problem_for_each_of_its_tasks() -> None:
    assert len(problems(task("t", outputs=("../${matrix.x}",), matrix={"x": tuple(range(50))}))) == 1


def test_a_plan_of_no_tasks_is_refused() -> None:
    assert problems() == ["tasks: is empty; a plan needs at least one task"]


def test_too_many_tasks_are_counted_and_not_expanded() -> None:
    (found,) = problems(task("t", matrix={"x": tuple(range(1_000)), "y": tuple(range(1_000))}))
    assert found == f"tasks: there are 1000000 tasks; a plan has at most {MAX_TASKS}"


def test_too_many_dependencies_are_counted_and_not_expanded() -> None:
    many = tuple(range(40_000))
    (found,) = problems(task("a", matrix={"x": many}), task("b", matrix={"x": many}, depends_on=("a",)))
    assert "1600000000 dependencies" in found


def test_problems_beyond_a_hundred_are_counted() -> None:
    found = problems(*(task("t", retries=-1, estimate_s=-1) for _ in range(100)))
    assert len(found) == 101
    assert found[-1] == "and 199 more problems"


def test_a_hundred_thousand_tasks_are_checked_in_seconds() -> None:
    plan = Plan(tasks=tuple(task(f"t{n}", depends_on=(f"t{n - 1}",) if n % 10 else ()) for n in range(MAX_TASKS)))
    started = time.process_time()
    assert check_plan(plan).problems == ()
    assert time.process_time() - started < 6


def test_a_hundred_thousand_tasks_in_one_circle_are_checked() -> None:
    plan = Plan(tasks=tuple(task(f"t{n}", depends_on=(f"t{(n - 1) % MAX_TASKS}",)) for n in range(MAX_TASKS)))
    (found,) = check_plan(plan).problems
    assert "t0 -> t1 -> " in found.what
    assert len(found.what) < 300


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run": RunId("x")}, "run: 'x' is not a run id"),
        ({"requirement": ""}, "requirement: is empty"),
        ({"requirement": " \n"}, "requirement: is blank"),
        ({"requirement": "x" * 70_000}, "requirement: is 70000 bytes long"),
        ({"requirement": "a", "plan": Plan(tasks=(task("t"),))}, "requirement: and plan are given; give exactly one"),
        ({"max_executors": 0}, "max_executors: must be 1 to 10000, not 0"),
        ({"max_executors": 10_001}, "max_executors: must be"),
        ({"max_retries": -1}, "max_retries: must be 0 to 100, not -1"),
        ({"backend": "aws"}, "backend: 'aws' does not say which cluster; write parallelcluster-<cluster>"),
        ({"planner_backend": "slurm"}, "planner_backend: 'slurm' cannot plan; write docker, or leave it out"),
        ({"resources": Resources(memory="lots")}, "resources.memory: 'lots' is not a memory size"),
        ({"resources": Resources(gpus=-1)}, "resources.gpus: must be 0 to"),
        ({"slurm": SlurmOptions(qos="a b")}, "slurm.qos: 'a b' is nothing that SLURM takes here"),
        ({"gpu_partition": "-p"}, "gpu_partition: '-p' is nothing that SLURM takes here"),
        ({"docker": DockerOptions(image="My Image")}, "docker.image: 'My Image' names no image; write for example"),
        ({"docker": DockerOptions(image="--privileged")}, "docker.image: '--privileged' names no image"),
        ({"docker": DockerOptions(image="a/" * 128 + "a")}, "docker.image: "),
        ({"docker": DockerOptions(network="container:db")}, "docker.network: 'container:db' names no network"),
        ({"engine": "gpt"}, "engine: there is no engine 'gpt'; this version has simulated, api, claude-code"),
        ({"resumes": "Other run"}, "resumes: 'Other run' is not the id of an earlier run"),
        ({"inputs_digest": Digest("abc")}, "inputs_digest:"),
        ({"requirement": "", "plan": Plan(tasks=(task("t", retries=-1),))}, "plan.tasks[0].retries: must be"),
    ],
)
def test_each_reason_to_refuse_a_request_is_one_sentence(fields: dict[str, object], expected: str) -> None:
    (found,) = check_request(request(**fields))
    assert str(found).startswith(expected)


def test_good_requests_are_taken() -> None:
    assert check_request(request()) == []
    assert check_request(request(requirement="", plan=Plan(tasks=(task("t"),)))) == []
    assert check_request(request(requirement="", plan_digest=Digest("a" * 64))) == []


@pytest.mark.parametrize("backend", ["local", "docker", "slurm", "slurm-hpc1", "parallelcluster-my-cluster"])
def test_tasks_and_runs_may_name_every_lane_that_runs_tasks(backend: str) -> None:
    assert problems(task("t", backend=backend)) == []
    assert check_request(request(backend=backend, planner_backend="docker", gpu_partition="gpu")) == []


@pytest.mark.parametrize(
    "image",
    ["parallel-orchestrator:latest", "localhost:5000/a/b_c", "registry.example.org/team/tools@sha256:" + "0" * 64],
)
def test_names_of_images_are_taken_as_docker_takes_them(image: str) -> None:
    assert check_request(request(docker=DockerOptions(image=image, network="none"))) == []


def test_every_mistake_about_where_a_run_runs_is_said_at_once() -> None:
    wrong = request(
        backend="moon", planner_backend="moon", resources=Resources(cpus=-1, time="soon"),
        slurm=SlurmOptions(account="a b"), gpu_partition="a b", docker=DockerOptions(image="A", network="-"),
    )  # fmt: skip
    assert [problem.where for problem in check_request(wrong)] == [
        "backend", "planner_backend", "resources.cpus", "resources.time", "slurm.account", "gpu_partition",
        "docker.image", "docker.network",
    ]  # fmt: skip
