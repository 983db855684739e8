"""Snapshots: exact at every event, canonical, complete in their fields, and refused when they do not fit."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driver import Driver, fail
from pto_core import packing, snapshot
from pto_core.decide import decide
from pto_core.fold import evolve
from pto_core.packing import fields_of, pack, pack_column, unpack, unpack_column
from pto_core.snapshot import Sealed, digest, digests, dump, load, seal, unseal
from pto_core.state import Attempt, Instance, LaneState, PlanParts, Run, State, Task
from pto_core.transitions import RunPhase, TaskState
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunCancelRequested

WHOLE = (Task, Run, State, LaneState, Instance, PlanParts)


def refer(value: object) -> object:
    raise AssertionError(value)


def plan_of(size: int, every: int = 3) -> Plan:
    tasks = [
        TaskSpec(id=TaskId(f"t{at}"), noop=True, depends_on=(TaskId(f"t{at // 2}"),) if at and at % every == 0 else ())
        for at in range(size)
    ]
    return Plan(name="plan", tasks=tuple(tasks))


def history(
    seed: int, *, size: int, failures: list[str], executors: int, cancel_after: int | None, stop: bool
) -> Driver:
    """Two runs one after the other, with failures, lost attempts, and perhaps a cancel in the middle."""
    driver = Driver(plan_of(size), capacity=3, seed=seed)
    for at, failure in enumerate(failures):
        driver.behaviours[f"t{at}"] = [fail(failure)]  # type: ignore[arg-type]
    for name in ("run-one", "run-two"):
        driver.start(name, max_executors=executors, on_failure="stop" if stop else "continue")
    for step in range(40):
        if step == cancel_after:
            driver.ask(RunCancelRequested(run=RunId("run-one")))
        if not driver.tick():
            driver.act()
        if step % 7 == 6 and driver.out:
            lane, run, ready = driver.out[0]
            identity = {"at": driver.now, "task": ready.task, "attempt": ready.attempt, "instance": ready.instance}
            driver.write(lane, run, ev.AttemptUnknown(**identity))
            if step % 2:
                driver.write(lane, run, ev.AttemptLost(**identity, reason="silence"))
    driver.drain()
    return driver


HISTORIES = st.builds(
    history,
    st.integers(0, 1000),
    size=st.integers(1, 9),
    failures=st.lists(st.sampled_from(["task", "timeout", "infra", "capacity", "config", "cancelled"]), max_size=4),
    executors=st.integers(1, 4),
    cancel_after=st.none() | st.integers(0, 20),
    stop=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(HISTORIES)
def test_folding_on_from_a_snapshot_at_any_event_gives_the_same(driver: Driver) -> None:
    whole = State()
    restarted = State()
    for seq, data in enumerate(driver.log, 1):
        evolve(whole, seq, decode_event(data))
        restarted = load(dump(restarted))
        evolve(restarted, seq, decode_event(data))
        assert dump(whole) == dump(restarted)
        restarted.touched = set(whole.touched)
        assert decide(restarted, driver.now) == decide(whole, driver.now)
    assert digests(restarted) == digests(driver.state)


@settings(max_examples=10, deadline=None)
@given(HISTORIES, st.data())
def test_folding_the_rest_from_one_snapshot_gives_the_same(driver: Driver, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(driver.log)))
    state = State()
    for seq, message in enumerate(driver.log[:cut], 1):
        evolve(state, seq, decode_event(message))
    state = load(dump(state))
    for seq, message in enumerate(driver.log[cut:], cut + 1):
        evolve(state, seq, decode_event(message))
    assert digest(state) == digest(driver.state)


def test_every_field_of_the_state_is_kept() -> None:
    """A field that is new in the state is in the snapshot without anybody's doing; if it cannot be, this says so."""
    stored = {*snapshot._STATE_FIELDS, "active", "hungry", "runs", "touched"}
    assert set(vars(State())) == stored
    driver = history(1, size=4, failures=["task"], executors=2, cancel_after=None, stop=False)
    run = driver.state.runs[RunId("run-one")]
    assert set(vars(run)) == {*snapshot._HEAD, *snapshot._HEAVY, "system"}
    assert {*snapshot._TASK_FIELDS, "index", "spec"} == set(Task.__slots__)
    for kind in WHOLE:
        assert fields_of(kind)


@pytest.mark.parametrize("field", sorted({*snapshot._HEAD, "system"} - {"phase", "id"}))
def test_a_difference_in_any_field_of_a_run_shows_in_its_digest(field: str) -> None:
    driver = history(1, size=4, failures=["task"], executors=2, cancel_after=None, stop=False)
    before = digests(driver.state)
    run = driver.state.runs[RunId("run-one")]
    old = getattr(run, field)
    setattr(run, field, {} if old and isinstance(old, dict) else {"something": "else"})
    after = digests(driver.state)
    assert before.state != after.state
    assert [name for name in after.runs if after.runs[name] != before.runs[name]] == ["run-one"]


@pytest.mark.parametrize("field", snapshot._TASK_FIELDS)
def test_a_difference_in_any_field_of_a_task_shows(field: str) -> None:
    driver = history(1, size=4, failures=["task"], executors=2, cancel_after=None, stop=False)
    before = digest(driver.state)
    setattr(driver.state.runs[RunId("run-two")].tasks[2], field, "something else")
    assert digest(driver.state) != before
    assert digest(load(dump(driver.state))) == digest(driver.state)


def test_tasks_stay_the_same_objects_wherever_they_are_named() -> None:
    driver = Driver(plan_of(6), capacity=2)
    driver.start(max_executors=3)
    driver.tick()
    driver.act()
    driver.tick()
    driver.tick()
    run = load(dump(driver.state)).runs[RunId("run-one")]
    assert run.open
    for name, task in run.open.items():
        assert run.task(name) is task
    assert load(dump(driver.state)).active.keys() == {"run-one"}


def test_an_ended_run_rests_until_it_is_asked_for() -> None:
    driver = history(2, size=5, failures=[], executors=2, cancel_after=None, stop=False)
    state = load(dump(driver.state))
    run = state.runs[RunId("run-one")]
    assert run.phase is RunPhase.SUCCEEDED
    assert run.finished == driver.state.runs[RunId("run-one")].finished
    assert type(run) is not Run
    assert dump(state) == dump(driver.state)
    assert run.task(TaskId("t3")).state is TaskState.SUCCEEDED  # type: ignore[union-attr]
    assert type(run) is Run
    assert run.graph == driver.state.runs[RunId("run-one")].graph
    assert dump(state) == dump(driver.state)
    with pytest.raises(AttributeError):
        _ = load(dump(driver.state)).runs[RunId("run-one")].no_such_thing  # type: ignore[attr-defined]


def test_a_run_that_ended_is_packed_once_and_goes_on_to_be_asked_for() -> None:
    driver = Driver(plan_of(9))
    run = driver.start()
    driver.drain()
    tasks = {task.spec.id: task.state for task in driver.state.runs[run].tasks}
    first = dump(driver.state)
    ended = driver.state.runs[run]
    assert "tasks" not in vars(ended)
    assert dump(driver.state) == first
    assert "tasks" not in vars(ended)
    assert {task.spec.id: task.state for task in ended.tasks} == tasks
    assert dump(driver.state) == first


def test_threads_that_ask_for_the_same_run_get_the_same_tasks() -> None:
    driver = history(2, size=200, failures=[], executors=50, cancel_after=None, stop=False)
    data = dump(driver.state)
    for _ in range(20):
        run = load(data).runs[RunId("run-one")]
        assert type(run) is not Run
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _, run=run: run.tasks, range(8)))  # type: ignore[misc]
        assert all(tasks is found[0] for tasks in found)


def test_what_a_dict_without_order_was_filled_by_does_not_show() -> None:
    states = []
    for names in (("a", "b"), ("b", "a")):
        state = State()
        lane = state.lane(Lane("local"))
        for name in names:
            lane.in_use[InstanceId(name)] = 1
        states.append(state)
    assert dump(states[0]) == dump(states[1])
    for state, order in zip(states, (("a", "b"), ("b", "a")), strict=True):
        for name in order:
            state.lanes[Lane("local")].instances[InstanceId(name)] = Instance("1", 1, ())
    assert dump(states[0]) != dump(states[1]), "who came first is asked first"


def test_news_about_runs_is_no_part_of_a_snapshot() -> None:
    driver = Driver(plan_of(1))
    driver.start()
    assert driver.state.touched
    assert load(dump(driver.state)).touched == set()


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 0, -1.5, "", "text", b"bytes", 2**80, -(2**90), (), (1, "a", None), [1, True, 1.0], {"b": 1, "a": [2]},
        {(1, "x"): {1}}, frozenset({1, 2}), TaskState.RUNNING, [TaskState.RUNNING, TaskState.FAILED], {TaskState.FAILED: 2},
        Attempt(TaskId("t"), 0, 1), {Attempt(TaskId("t"), 0, 1): InstanceId("i")}, [1, 2**70], [None, 1, None, 2],
        ev.RunPaused(at=1, kind="asked"), [ev.RunPaused(at=1, kind="asked")], (ev.LaneResumed(at=1), ev.RunExecuted(at=2)),
        ev.PlanFinished(at=2**70, task=TaskId("_plan"), attempt=1, plan_digest="d", name="n", parts=1, task_count=1),
    ],
)  # fmt: skip
def test_values_come_back_with_their_types(value: object) -> None:
    wire = msgspec.msgpack.decode(msgspec.msgpack.encode(pack(value, refer)))
    back = unpack(wire, refer)
    assert back == value
    assert repr(back) == repr(value)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=5)


@given(
    st.lists(PLAIN, max_size=600)
    | st.lists(st.integers(0, 3), min_size=2)
    | st.lists(st.integers(0, 2000), min_size=300)
)
def test_columns_come_back_with_their_types(values: list[object]) -> None:
    wire = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_column(values, refer)))
    assert repr(unpack_column(wire, refer)) == repr(values)


def test_what_a_state_must_not_hold_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="object"):
        pack([object()], refer)


# --- the envelope ----------------------------------------------------------------------------------------------------


@pytest.fixture
def driver() -> Driver:
    return history(3, size=6, failures=["task"], executors=2, cancel_after=None, stop=False)


def test_a_sealed_snapshot_says_where_in_the_log_it_is(driver: Driver) -> None:
    found = unseal(seal(driver.state, "PTO", "1.7"), "PTO")
    assert isinstance(found, Sealed)
    assert (found.seq, found.last_id) == (len(driver.log), "1.7")
    assert digests(found.state) == digests(driver.state)


def test_a_snapshot_of_another_stream_is_refused(driver: Driver) -> None:
    assert unseal(seal(driver.state, "PTO", "1.7"), "OTHER") == "it is of the stream 'PTO', not 'OTHER'"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FOLD_VERSION", 0, "another version of the fold"),
        ("_LAYOUT", "f" * 64, "another version of the fold"),
        ("SCHEMA_LEVEL", 99, "schema level 99"),
    ],
)
def test_a_snapshot_of_another_version_is_refused(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, name: str, value: object, words: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, name, value)
        data = seal(driver.state, "PTO", "1.7")
    reason = unseal(data, "PTO")
    assert isinstance(reason, str)
    assert words in reason


def test_a_damaged_snapshot_is_refused_wherever_the_damage_is(driver: Driver) -> None:
    data = seal(driver.state, "PTO", "1.7")
    for at in (*range(300), *range(300, len(data), 97), len(data) - 1):
        assert isinstance(unseal(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "PTO"), str), at
        assert isinstance(unseal(data[:at], "PTO"), str), at
    assert isinstance(unseal(data + b"x", "PTO"), str)


@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    assert isinstance(unseal(data, "PTO"), str)
    assert isinstance(unseal(b"pto-snapshot\n" + data, "PTO"), str)


def test_a_new_field_changes_the_layout() -> None:
    before = packing.layout()
    assert "Task(again,attempt" in before
    assert "TaskSpec(id,title" in before
