"""What a failed attempt tells about the next one: what it needs, and which nodes had better be left out."""

from driver import Behaviour, Driver, fail, succeed
from pto_core.limits import MAX_AVOIDED, MAX_NODES_KNOWN
from pto_core.nodes import Nodes
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import InstanceId, Lane, TaskId
from pto_proto.plans import Plan, Resources, TaskSpec


def cluster(*tasks: str, lanes: tuple[str, ...] = ("slurm-default",)) -> Driver:
    driver = Driver(Plan(tasks=tuple(TaskSpec(id=TaskId(name), command="true") for name in tasks)))
    for lane in lanes:
        up = ev.DispatcherUp(
            at=driver.now, instance=InstanceId(f"{lane}-1"), incarnation="1", capacity=100, can_run=("command",)
        )
        driver.write(Lane(lane), None, up)
    return driver


def failed(failure: ev.FailureClass, again: Resources | None = None, node: str = "") -> Behaviour:
    def finish(ready: ev.TaskReady, now: int) -> ev.TaskFinished:
        return ev.TaskFinished(
            at=now, task=ready.task, attempt=ready.attempt, round=ready.round, instance=ready.instance,
            outcome="failed", failure=failure, again=again, node=node,
        )  # fmt: skip

    return finish


def handed_out(driver: Driver, task: str) -> list[ev.TaskReady]:
    entries = [entry for data in driver.log for entry in decode_event(data).entries]
    return [entry for entry in entries if isinstance(entry, ev.TaskReady) and entry.task == task]


def test_the_next_attempt_gets_what_the_last_one_asked_for() -> None:
    driver = cluster("t")
    driver.behaviours["t"] = [failed("task", Resources(memory="8G")), failed("timeout", Resources(time="02:00:00"))]
    driver.start(backend="slurm", resources=Resources(cpus=2, memory="4G", time="01:00:00"))
    driver.drain()
    first, second, third = (ready.spec.resources for ready in handed_out(driver, "t"))
    assert first == Resources(cpus=2, memory="4G", time="01:00:00")
    assert second == Resources(cpus=2, memory="8G", time="01:00:00")
    assert third == Resources(cpus=2, memory="4G", time="02:00:00")


def test_what_it_asked_for_stays_when_something_else_fails() -> None:
    driver = cluster("t")
    driver.behaviours["t"] = [failed("task", Resources(memory="8G")), fail("infra"), fail("task")]
    driver.start(backend="slurm")
    driver.drain()
    assert [ready.spec.resources.memory for ready in handed_out(driver, "t")] == ["", "8G", "8G", "8G"]


def test_more_memory_makes_no_other_key_and_cpus_cannot_be_asked_for() -> None:
    driver = cluster("t")
    driver.behaviours["t"] = [failed("task", Resources(memory="8G", cpus=64, gpus=8))]
    driver.start(backend="slurm")
    driver.drain()
    first, second = handed_out(driver, "t")
    assert first.key == second.key
    assert second.spec.resources == Resources(memory="8G")
    assert driver.state.runs["run-one"].tasks[0].again is None


def test_a_node_that_failed_two_attempts_of_the_run_is_avoided() -> None:
    driver = cluster("a", "b", "c")
    driver.behaviours["a"] = [failed("infra", node="n1")]
    driver.behaviours["b"] = [failed("infra", node="n2"), failed("infra", node="n1")]
    driver.start(backend="slurm", max_executors=1)
    driver.drain()
    avoided = [ready.avoid for name in "abc" for ready in handed_out(driver, name)]
    assert [*map(set, avoided)].count({"n1"}) >= 1
    assert {names for names in avoided if names} == {("n1",)}
    assert driver.state.runs["run-one"].phase.value == "succeeded"


def test_what_a_task_does_wrong_is_no_nodes_fault() -> None:
    driver = cluster("a")
    driver.behaviours["a"] = [failed("task", node="n1"), failed("timeout", node="n1"), failed("infra", node="n1")]
    driver.start(backend="slurm")
    driver.drain()
    assert [ready.avoid for ready in handed_out(driver, "a")] == [(), (), (), ()]


def test_nodes_of_one_site_are_not_avoided_at_another() -> None:
    nodes = Nodes()
    for lane in ("slurm-a", "slurm-b"):
        nodes.note(Lane(lane), "n1")
    assert nodes.avoided == {}
    nodes.note(Lane("slurm-a"), "n1")
    assert nodes.avoided == {"slurm-a": ("n1",)}


def test_what_is_remembered_of_nodes_is_bounded_and_the_latest_counts() -> None:
    nodes, lane = Nodes(), Lane("slurm-a")
    for name in (f"n{at}" for at in range(MAX_NODES_KNOWN + 5)):
        nodes.note(lane, name)
        nodes.note(lane, name)
    assert len(nodes.failures[lane]) == MAX_NODES_KNOWN
    assert nodes.avoided[lane] == tuple(f"n{MAX_NODES_KNOWN + 5 - left}" for left in range(MAX_AVOIDED, 0, -1))


def lanes_of(driver: Driver, count: int) -> list[str]:
    return [lane for lane, _, ready in driver.out if not ready.task.startswith("_")][:count]


def two_lanes(executors: int) -> Driver:
    tasks = [TaskSpec(id=TaskId(f"l{at}"), command="true") for at in range(6)]
    tasks += [TaskSpec(id=TaskId(f"s{at}"), command="true", backend="slurm") for at in range(6)]
    driver = cluster()
    driver.plan = Plan(tasks=tuple(tasks))
    driver.start(max_executors=executors)
    while not any(ready.task[0] in "ls" for _, _, ready in driver.out):
        driver.tick() or driver.act()
    return driver


def test_lanes_are_served_by_turns() -> None:
    driver = two_lanes(executors=6)
    assert sorted(lanes_of(driver, 6)) == ["local"] * 3 + ["slurm-default"] * 3


def test_with_one_executor_the_lanes_take_turns_from_tick_to_tick() -> None:
    driver = two_lanes(executors=1)
    driver.otherwise = succeed
    while driver.tick() or driver.act():
        pass
    order = [name[0] for name in driver.order if not name.startswith("_")]
    assert order in (["l", "s"] * 6, ["s", "l"] * 6)


def test_a_run_with_two_lanes_gets_a_full_message_for_each() -> None:
    tasks = [TaskSpec(id=TaskId(f"l{at}"), command="true") for at in range(300)]
    tasks += [TaskSpec(id=TaskId(f"s{at}"), command="true", backend="slurm") for at in range(300)]
    driver = Driver(Plan(tasks=tuple(tasks)), capacity=1_000)
    up = ev.DispatcherUp(at=1, instance=InstanceId("s-1"), incarnation="1", capacity=1_000, can_run=("command",))
    driver.write(Lane("slurm-default"), None, up)
    driver.start(max_executors=1_000)
    driver.tick()
    driver.act()
    driver.tick()
    assert driver.tick() == 200
    assert sorted({*lanes_of(driver, 200)}) == ["local", "slurm-default"]


def test_a_run_that_has_much_out_in_one_lane_waits_in_the_other_for_one_that_has_little() -> None:
    """What a run gets in one lane in this tick counts in the others."""
    both = [TaskSpec(id=TaskId(f"d{at}"), command="true", backend="docker") for at in range(9)]
    both += [TaskSpec(id=TaskId(f"s{at}"), command="true", backend="slurm") for at in range(9)]
    driver = Driver()
    for name, tasks in (("run-both", both), ("run-slurm", both[9:])):
        driver.plan = Plan(tasks=tuple(tasks))
        driver.start(name, max_executors=50)
        while driver.tick() or driver.act():
            pass
    for lane, capacity in (("docker", 9), ("slurm-default", 4)):
        up = ev.DispatcherUp(
            at=1, instance=InstanceId(f"{lane}-1"), incarnation="1", capacity=capacity, can_run=("command",)
        )
        driver.write(Lane(lane), None, up)
    driver.tick()
    share = [run for lane, run, _ in driver.out if lane == "slurm-default"]
    assert (share.count("run-slurm"), share.count("run-both")) == (4, 0)
