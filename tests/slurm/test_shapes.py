"""What a job asks for: defaults, the task's own words, what earlier attempts showed, and what is refused."""

import pytest

from pto_proto.plans import Resources, SlurmOptions, TaskSpec
from pto_slurm.shape import JobShape, Site, Unplaceable, more_memory, more_time, shape_of


def spec(slurm: SlurmOptions | None = None, **resources: object) -> TaskSpec:
    return TaskSpec(id="train", command="x", resources=Resources(**resources), slurm=slurm or SlurmOptions())


def test_a_task_that_says_nothing_gets_the_sites_defaults():
    assert shape_of(spec(), Site()) == JobShape(cpus=1, memory_mb=4096, gpus=0, minutes=60)


def test_a_task_s_own_words_come_first():
    site = Site(partition="compute", account="a", qos="normal", constraint="intel")
    mine = SlurmOptions(partition="research", qos="high", constraint="(intel|amd)&ib")
    shape = shape_of(spec(mine, cpus=16, memory="1536M", gpus=4, time="1-02:00:00"), site)
    assert shape == JobShape(
        cpus=16, memory_mb=1536, gpus=4, minutes=1560, partition="research", account="a", qos="high",
        constraint="(intel|amd)&ib",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("memory", "megabytes", "time", "minutes"),
    [
        ("500M", 500, "01:00:00", 60),
        ("4G", 4096, "90", 2),
        ("1T", 2**20, "02:30", 3),
        ("1048577", 2, "1-0", 1440),
        ("2048K", 2, "59", 1),
    ],
)
def test_memory_and_time_are_rounded_up_to_what_slurm_counts_in(memory, megabytes, time, minutes):
    shape = shape_of(spec(memory=memory, time=time), Site())
    assert (shape.memory_mb, shape.minutes) == (megabytes, minutes)


@pytest.mark.parametrize(
    ("gpus", "named", "site", "expected"),
    [
        (0, "", Site(partition="default"), ""),
        (0, "default", Site(partition="compute"), ""),
        (1, "", Site(partition="compute", gpu_partition="gpu"), "gpu"),
        (1, "research", Site(partition="compute", gpu_partition="gpu"), "research"),
        (1, "", Site(partition="compute"), "compute"),
        (0, "", Site(partition="compute", gpu_partition="gpu"), "compute"),
    ],
)
def test_where_a_job_goes(gpus, named, site, expected):
    assert shape_of(spec(SlurmOptions(partition=named), gpus=gpus), site).partition == expected


def test_all_that_is_wrong_is_said_at_once():
    bad = SlurmOptions(partition="--wrap=id", account="a b", qos="x;y", constraint="-x")
    with pytest.raises(Unplaceable) as raised:
        shape_of(spec(bad, cpus=-1, memory="4Q", time="0"), Site())
    assert [problem.where for problem in raised.value.problems] == [
        "train.resources.memory",
        "train.resources.time",
        "train.resources.cpus",
        "train.slurm.partition",
        "train.slurm.account",
        "train.slurm.qos",
        "train.slurm.constraint",
    ]


def test_a_name_of_a_node_that_is_an_option_is_refused():
    with pytest.raises(Unplaceable, match="no name of a node"):
        shape_of(spec(), Site(), exclude=("n1", "--wrap"))


def test_the_attempt_after_too_little_memory_asks_for_twice_as_much_once():
    again = more_memory(shape_of(spec(memory="1G"), Site()), spec(memory="1G"), Site())
    assert again == Resources(memory="2048M")
    bigger = shape_of(spec(memory="1G"), Site(), again=again)
    assert bigger.memory_mb == 2048
    assert more_memory(bigger, spec(memory="1G"), Site()) is None


def test_memory_and_time_grow_up_to_the_site_s_cap():
    site = Site(max_memory="5G", max_time="02:00:00")
    assert more_memory(JobShape(memory_mb=4096), spec(), site) == Resources(memory="5120M")
    assert more_memory(JobShape(memory_mb=5120), spec(), site) is None
    assert more_time(JobShape(minutes=60), spec(), site) == Resources(time="01:30:00")
    assert more_time(JobShape(minutes=90), spec(), site) == Resources(time="02:00:00")
    assert more_time(JobShape(minutes=120), spec(), site) is None


def test_what_was_learnt_never_makes_a_job_smaller():
    shape = shape_of(spec(memory="8G", time="03:00:00"), Site(), again=Resources(memory="2048M", time="01:30:00"))
    assert (shape.memory_mb, shape.minutes) == (8192, 180)


@pytest.mark.parametrize(("minutes", "lead_s"), [(1, 0), (9, 0), (10, 90), (60, 90), (10_000, 90)])
def test_short_jobs_are_not_told_to_end_early(minutes, lead_s):
    assert JobShape(minutes=minutes).lead_s == lead_s
