"""Tasks held against the nodes that sinfo shows."""

from pto_slurm.preflight import preflight
from pto_slurm.queue import NodeGroup, read_sinfo
from pto_slurm.shape import JobShape

CLUSTER = read_sinfo(
    "compute*|up|7-00:00:00|16|131072|2|idle|intel|(null)\n"
    "compute*|up|7-00:00:00|32|64000|2|idle|amd|(null)\n"
    "gpu|up|1-00:00:00|16|131072|2|mixed|(null)|gpu:4\n"
    "down|down|infinite|4|4000|1|down*|(null)|(null)\n"
    "ill|up|infinite|4|4000|1|drained|(null)|(null)\n"
)


def sentences(shape: JobShape, groups: tuple[NodeGroup, ...] = CLUSTER) -> list[str]:
    return [str(problem) for problem in preflight({"train": shape}, groups).problems]


def test_what_fits_is_fine():
    found = preflight({"a": JobShape(), "b": JobShape(partition="gpu", gpus=4, cpus=16, memory_mb=131072)}, CLUSTER)
    assert (found.problems, found.warnings) == ((), ())


def test_everything_that_no_node_has_is_said_at_once():
    assert sentences(JobShape(cpus=64, memory_mb=999_424, gpus=1, minutes=20_000)) == [
        "train: asked 64 CPUs; partition compute (the default) has at most 32 per node",
        "train: asked 999424M of memory; partition compute (the default) has at most 131072M per node",
        "train: asked 1 GPU; partition compute (the default) has none",
        "train: asked 13-21:20:00 of time; partition compute (the default) allows at most 7-00:00:00",
    ]


def test_no_single_node_has_all_of_it():
    assert sentences(JobShape(cpus=32, memory_mb=100_000)) == [
        "train: asked 32 CPUs, 100000M at once; no single node of partition compute (the default) has all of it"
    ]


def test_gpus_and_constraints():
    assert sentences(JobShape(partition="gpu", gpus=9)) == ["train: asked 9 GPUs; partition gpu has at most 4 per node"]
    assert sentences(JobShape(constraint="arm")) == [
        "train: asked constraint arm; no node of partition compute (the default) has it (features there: amd, intel)"
    ]
    assert sentences(JobShape(constraint="intel|arm")) == []


def test_a_partition_that_is_not_there():
    assert sentences(JobShape(partition="nope")) == [
        "train: asked partition nope, which is not there; there are: compute, down, gpu, ill"
    ]
    no_default = tuple(group for group in CLUSTER if not group.is_default)
    assert sentences(JobShape(), no_default) == [
        "train: asked no partition, and the cluster has no default one; name one of: down, gpu, ill"
    ]


def test_several_partitions_are_one_place():
    assert sentences(JobShape(partition="compute,gpu", gpus=4)) == []


def test_what_is_down_is_a_warning():
    found = preflight(
        {"a": JobShape(partition="down", memory_mb=1), "b": JobShape(partition="ill", memory_mb=1)}, CLUSTER
    )
    assert found.problems == ()
    assert found.warnings == (
        "partition down is down: jobs wait until it is brought up",
        "no node of partition ill takes jobs now (drained): jobs wait until one does",
    )


def test_many_tasks_with_the_same_problem_share_a_sentence():
    shapes = {f"t{n}": JobShape(cpus=64) for n in range(100)}
    (problem,) = preflight(shapes, CLUSTER).problems
    assert problem.where == "t0, t1, t2 and 97 more tasks"
