"""How many pilots there are to be, and what became of attempts that one took."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pto_slurm.evidence import Evidence
from pto_slurm.pilots import (
    Demand,
    Launches,
    Moves,
    Pilot,
    PilotName,
    after_end,
    is_pooled,
    is_starved,
    kind_of,
    lane_of,
    moves,
    name_in,
    pilot_shape,
    shares,
)
from pto_slurm.pooled import POOLED_ROWS, judge_pooled
from pto_slurm.shape import JobShape
from pto_slurm.verdicts import JobFacts

FINE = Launches()


def fly(running: int = 0, pending: int = 0) -> tuple[Pilot, ...]:
    return tuple(Pilot(slot, f"{700 + slot}", slot < running) for slot in range(running + pending))


@pytest.mark.parametrize(
    ("demand", "room", "expected"),
    [
        (Demand(waiting=0, doing=0), 4, Moves()),
        (Demand(waiting=1, doing=0), 4, Moves(submit=(0,))),
        (Demand(waiting=100, doing=0), 4, Moves(submit=(0, 1, 2, 3))),
        (Demand(waiting=100, doing=2, pilots=fly(2)), 2, Moves(submit=(2, 3))),
        (Demand(waiting=100, doing=4, pilots=fly(4)), 0, Moves()),
        (Demand(waiting=3, doing=0, pilots=fly(0, 3)), 4, Moves()),
        (Demand(waiting=3, doing=0, pilots=fly(2)), 4, Moves(submit=(2,))),
        (Demand(waiting=2, doing=1, pilots=fly(1), unsure=frozenset({1})), 4, Moves(submit=(2,))),
        (Demand(waiting=1, doing=0, pilots=(Pilot(1, "7", False),)), 4, Moves()),
        (Demand(waiting=2, doing=0, pilots=(Pilot(1, "7", False),)), 4, Moves(submit=(0,))),
        (Demand(waiting=0, doing=1, pilots=fly(1, 2)), 4, Moves(cancel=("702", "701"))),
        (Demand(waiting=0, doing=1, pilots=fly(3)), 0, Moves(release=2)),
    ],
)
def test_what_a_class_needs(demand, room, expected):
    assert moves(demand, room=room, launches=FINE, now_s=0.0) == expected


def test_after_failed_starts_there_is_a_rest_and_then_an_end():
    launches, rests = FINE, []
    for _ in range(5):
        launches = after_end(launches, ran_s=1.0, has_worked=False, words="no python", now_s=100.0)
        rests.append(launches.rest_until_s - 100.0)
    assert rests == [10.0, 20.0, 40.0, 80.0, 160.0]
    assert (launches.is_hopeless, launches.words) == (True, "no python")
    hungry = Demand(waiting=9, doing=0)
    assert moves(hungry, room=4, launches=launches, now_s=1e9) == Moves()
    once = after_end(FINE, ran_s=1.0, has_worked=False, words="", now_s=100.0)
    assert moves(hungry, room=4, launches=once, now_s=109.0) == Moves()
    assert moves(hungry, room=4, launches=once, now_s=110.0).submit == (0, 1, 2, 3)


@pytest.mark.parametrize(("ran_s", "has_worked"), [(30.0, False), (1.0, True)])
def test_a_pilot_that_lived_or_worked_was_started_well(ran_s, has_worked):
    bad = Launches(3, 99.0, "x")
    assert after_end(bad, ran_s=ran_s, has_worked=has_worked, words="", now_s=0.0) == FINE


def test_classes_share_what_is_allowed_the_poorest_first():
    demands = {
        "a": Demand(waiting=90, doing=2, pilots=fly(2)),
        "b": Demand(waiting=5, doing=0),
        "c": Demand(waiting=1, doing=0),
    }
    assert shares(6, demands) == {"a": 1, "b": 2, "c": 1}
    assert shares(2, demands) == {"a": 0, "b": 0, "c": 0}
    assert is_starved(2, demands)
    assert not is_starved(3, demands)


counts = st.integers(0, 6)
classes = st.builds(
    lambda waiting, doing, running, pending: Demand(waiting=waiting, doing=min(doing, running), pilots=fly(running, pending)),
    counts, counts, counts, counts,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), classes), st.integers(1, 8))
def test_there_are_never_more_pilots_than_allowed_nor_than_work(demands, most):
    room = shares(most, demands)
    have = sum(len(demand.pilots) for demand in demands.values())
    new = 0
    for kind, demand in demands.items():
        made = moves(demand, room=room[kind], launches=FINE, now_s=0.0)
        new += len(made.submit)
        assert len(made.submit) <= room[kind]
        assert not (made.submit and made.cancel)
        assert not set(made.submit) & {pilot.slot for pilot in demand.pilots}
        if made.submit:
            assert len(demand.pilots) + len(made.submit) <= demand.waiting + demand.doing
    assert new <= max(0, most - have)


@pytest.mark.parametrize(
    ("minutes", "most", "expected"), [(60, 0, 240), (5, 0, 60), (60, 90, 90), (60, 30, 60), (600, 1440, 1440)]
)
def test_a_pilot_lives_for_several_of_its_tasks_within_the_site_s_limit(minutes, most, expected):
    assert pilot_shape(JobShape(minutes=minutes), most).minutes == expected


def test_tasks_of_one_shape_share_pilots():
    assert kind_of(JobShape(cpus=2)) == kind_of(JobShape(cpus=2)) != kind_of(JobShape(cpus=3))
    assert is_pooled(JobShape())
    assert not is_pooled(JobShape(gpus=1))
    assert not is_pooled(JobShape(exclude=("n1",)))


def test_names_of_pilots():
    name = PilotName(lane_of("/spool"), kind_of(JobShape()), 3)
    assert name_in(name.job_name) == name
    assert name_in("pto-0123456789abcdef01234567-train") is None
    assert lane_of("/spool") != lane_of("/other")


KILLED = {"outcome": "failed", "failure": "task", "exit_code": 137}
CUT_OFF = {"outcome": "cancelled", "failure": "cancelled", "exit_code": 143}
GONE = {"absent_polls": 3, "absent_s": 60.0}


@pytest.mark.parametrize(
    ("state", "more", "kind", "word"),
    [
        ("RUNNING", {}, "running", ""),
        ("RUNNING", {"result": {"outcome": "succeeded"}}, "result", ""),
        ("RUNNING", {"result": KILLED}, "result", ""),
        ("OUT_OF_MEMORY", {"result": KILLED}, "ended", "oom"),
        ("FAILED", {"result": KILLED, "stderr": "slurmstepd: error: Detected 1 oom_kill event"}, "ended", "oom"),
        ("OUT_OF_MEMORY", {}, "ended", "oom"),
        ("FAILED", {"signal": 9, "stderr": "exceeded memory limit"}, "ended", "oom"),
        ("FAILED", {"signal": 125}, "ended", "oom"),
        ("RUNNING", {"result": CUT_OFF, "ours": True}, "ended", "cancelled"),
        ("RUNNING", {"result": CUT_OFF}, "ended", "pilot_ended"),
        ("TIMEOUT", {"result": CUT_OFF}, "ended", "pilot_ended"),
        ("TIMEOUT", {"ended_s": 61.0}, "ended", "pilot_lost"),
        ("COMPLETED", {"ended_s": 61.0}, "ended", "pilot_lost"),
        ("COMPLETED", {"ended_s": 1.0}, "running", ""),
        ("CANCELLED", {"ended_s": 61.0, "ours": True}, "ended", "cancelled"),
        ("NODE_FAIL", {}, "ended", "node_fail"),
        ("", GONE, "ended", "pilot_lost"),
        ("", {**GONE, "ours": True}, "ended", "cancelled"),
        ("", {}, "wait", ""),
        ("NEW_STATE", {}, "wait", ""),
    ],
)
def test_what_became_of_an_attempt_that_a_pilot_took(state, more: dict[str, Any], kind, word):
    verdict = judge_pooled(Evidence(state=state, node="n2", **more), JobFacts(job="744", memory_mb=100))
    assert (verdict.kind, verdict.word) == (kind, word)
    if word and word not in ("oom", "cancelled"):
        assert verdict.failure == "infra"
    assert (verdict.more == "memory") == (word == "oom")


def test_no_row_of_pilots_hides_a_later_one():
    for place, row in enumerate(POOLED_ROWS[:-1]):
        for earlier in POOLED_ROWS[:place]:
            covers = earlier.states == ("any",) or set(row.states) <= set(earlier.states)
            assert not (covers and set(earlier.signs) <= set(row.signs)), (earlier, row)
