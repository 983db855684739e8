"""Promise 18: every attempt goes where its plan and its run say, with what they and earlier attempts ask for there."""

from collections.abc import Iterator

from pto_proto import events as ev
from pto_proto.ids import Lane
from pto_proto.plans import DockerOptions, Resources, SlurmOptions

from .stories import RunStory

OFTEN = 2
"""Failures after which a node is avoided."""
NOW = 10**9


def check_place(run: RunStory, entry: ev.TaskReady, lane: Lane, writer_read: int, what: str) -> Iterator[str]:
    """What is wrong with where this attempt goes, and with what it gets there."""
    if lane != (wanted := _lane(run, entry)):
        yield f"promise 18: {what} in lane {lane}, not in {wanted}"
    docker = run.request.docker if lane == "docker" else DockerOptions()
    if entry.docker != docker:
        yield f"promise 18: {what} with {entry.docker}, not with {docker}"
    resources, slurm = _resources(run, entry), _slurm(run, entry)
    if entry.spec.resources != resources:
        yield f"promise 18: {what} with {entry.spec.resources}, not with {resources}"
    if entry.spec.slurm != slurm:
        yield f"promise 18: {what} with {entry.spec.slurm}, not with {slurm}"
    known, latest = _bad_nodes(run, lane, writer_read), _bad_nodes(run, lane, NOW)
    if not known <= {*entry.avoid} <= latest:
        yield f"promise 18: {what} avoiding {entry.avoid}, not {known}"


def _lane(run: RunStory, entry: ev.TaskReady) -> str:
    spec = run.story(entry.task).spec
    if spec is None:
        return {"_plan": run.request.planner_backend or "planner", "_merge": "consolidator"}.get(entry.task, "planner")
    backend = spec.backend or run.request.backend
    return "slurm-default" if backend == "slurm" else backend


def _is_at_home(run: RunStory, entry: ev.TaskReady) -> bool:
    home = "slurm-default" if run.request.backend == "slurm" else run.request.backend
    return run.story(entry.task).spec is not None and _lane(run, entry) == home


def _resources(run: RunStory, entry: ev.TaskReady) -> Resources:
    spec = run.story(entry.task).spec
    own, home = (spec.resources if spec is not None else Resources()), run.request.resources
    if not _is_at_home(run, entry):
        home = Resources()
    asked = Resources()
    for attempt in run.story(entry.task).attempts:
        asked = Resources() if attempt.outcome == "succeeded" else attempt.again or asked
    return Resources(
        cpus=own.cpus or home.cpus, gpus=own.gpus or home.gpus, memory=asked.memory or own.memory or home.memory,
        time=asked.time or own.time or home.time,
    )  # fmt: skip


def _slurm(run: RunStory, entry: ev.TaskReady) -> SlurmOptions:
    spec, request = run.story(entry.task).spec, run.request
    own = spec.slurm if spec is not None else SlurmOptions()
    if not _is_at_home(run, entry):
        return own
    for_gpus = request.gpu_partition if _resources(run, entry).gpus else ""
    return SlurmOptions(
        partition=own.partition or for_gpus or request.slurm.partition, account=own.account or request.slurm.account,
        qos=own.qos or request.slurm.qos, constraint=own.constraint or request.slurm.constraint,
    )  # fmt: skip


def _bad_nodes(run: RunStory, lane: str, up_to: int) -> set[str]:
    failed = [
        attempt.node
        for story in run.tasks.values()
        for attempt in story.attempts
        if attempt.failure == "infra" and attempt.node and attempt.lane == lane and 0 < attempt.end_seq <= up_to
    ]
    return {node for node in failed if failed.count(node) >= OFTEN}
