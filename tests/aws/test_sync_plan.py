"""The plan of a sync, as a pure function: by cases, and for anything on either side."""

from hypothesis import given
from hypothesis import strategies as st

from pto_s3 import Area, LocalFile, Settled, SyncPlan, pause_s, plan_sync
from pto_s3.sync_plan import Name

A, B = LocalFile(1, 1), LocalFile(1, 2)
RESULT: Name = (Area.RESULTS, "a.1.7.0.json")
TASK: Name = (Area.TASKS, "a.json")
JOBS: Name = (Area.STATE, "jobs.json")


def test_what_is_only_here_goes_up() -> None:
    plan = plan_sync({RESULT: A, TASK: A, JOBS: A}, set(), Settled())
    assert plan == SyncPlan(uploads=(RESULT, TASK), replacements=("jobs.json",))


def test_what_is_only_there_comes_down() -> None:
    assert plan_sync({}, {RESULT, TASK, JOBS}, Settled()) == SyncPlan(downloads=(RESULT, JOBS, TASK))


def test_what_is_on_both_sides_is_compared_once() -> None:
    assert plan_sync({RESULT: A}, {RESULT}, Settled()) == SyncPlan(compares=(RESULT,))
    assert plan_sync({RESULT: A}, {RESULT}, Settled(once={RESULT})).is_empty


def test_without_a_look_nothing_comes_down() -> None:
    assert plan_sync({TASK: A}, None, Settled()) == SyncPlan(uploads=(TASK,))


def test_what_is_written_once_is_not_looked_at_again_even_if_it_changed() -> None:
    assert plan_sync({RESULT: B}, None, Settled(once={RESULT})).is_empty


def test_state_goes_up_again_only_when_it_changed() -> None:
    settled = Settled(replaced={"jobs.json": (A, "etag")})
    assert plan_sync({JOBS: A}, {JOBS}, settled).is_empty
    assert plan_sync({JOBS: B}, {JOBS}, settled) == SyncPlan(replacements=("jobs.json",))


def test_what_was_cleaned_away_here_does_not_come_back() -> None:
    settled = Settled(once={RESULT}, replaced={"jobs.json": (A, "etag")})
    assert plan_sync({}, {RESULT, JOBS}, settled).is_empty


def test_unfinished_and_strange_names_are_left_alone() -> None:
    names = [(Area.RESULTS, name) for name in (".a.json", "a.json.tmp", "~a", "b/a.json", "")]
    assert plan_sync(dict.fromkeys(names, A), set(), Settled()).is_empty
    assert plan_sync({}, set(names), Settled()).is_empty


names = st.tuples(st.sampled_from(Area), st.sampled_from(["a", "b", "c", ".d", "e.tmp"]))
files = st.builds(LocalFile, st.integers(0, 2), st.integers(0, 2))


@given(st.dictionaries(names, files), st.sets(names), st.sets(names), st.dictionaries(st.sampled_from("abc"), files))
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    local: dict[Name, LocalFile], remote: set[Name], once: set[Name], known: dict[str, LocalFile]
) -> None:
    settled = Settled({name for name in once if not name[0].is_replaced}, {n: (f, "e") for n, f in known.items()})
    plan = plan_sync(local, remote, settled)
    assert not set(plan.uploads) & remote
    assert not set(plan.downloads) & set(local)
    remote |= set(plan.uploads) | {(Area.STATE, name) for name in plan.replacements}
    local |= dict.fromkeys(plan.downloads, A)
    settled.once |= {n for n in (*plan.uploads, *plan.compares, *plan.downloads) if not n[0].is_replaced}
    for name in (*plan.replacements, *(name[1] for name in plan.downloads if name[0].is_replaced)):
        settled.replaced[name] = (local[Area.STATE, name], "e")
    assert plan_sync(local, remote, settled).is_empty


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_a_cap_and_are_spread(failures: int, chance: float) -> None:
    assert 0.5 <= pause_s(failures, chance) <= 60
    assert pause_s(failures, chance) <= pause_s(failures + 1, chance)
    assert pause_s(failures, 0) < pause_s(failures, 1)


def test_a_name_too_long_for_a_file_does_not_come_down() -> None:
    long = (Area.RESULTS, "é" * 128)
    assert plan_sync({}, {long}, Settled()).is_empty
