"""Deliberate bugs in what concerns places: lanes, what tasks get there, bad nodes, and silence there."""

from typing import Any

import msgspec

from pto_core import fold, hand_out, lanes, movements, silence
from pto_core.limits import DOCKER_LOST_S, LOCAL_LOST_S
from pto_core.nodes import Nodes
from pto_core.state import Run, Task
from pto_proto.ids import LANE_DOCKER, LANE_PLANNER, PLAN_TASK
from pto_proto.plans import DockerOptions, SlurmOptions

from .breaking import mutant, put

# --- lanes -----------------------------------------------------------------------------------------------------------


@mutant
def plans_are_made_in_the_planners_lane_only() -> None:
    honest = Run.lane_of
    put(Run, "lane_of", lambda self, task: LANE_PLANNER if task.spec.id == PLAN_TASK else honest(self, task))


@mutant
def everything_about_plans_goes_to_containers() -> None:
    honest = Run.lane_of

    def lane_of(self: Any, task: Task) -> Any:
        lane = honest(self, task)
        return LANE_DOCKER if lane == LANE_PLANNER and self.request.planner_backend else lane

    put(Run, "lane_of", lane_of)


@mutant
def short_word_is_a_lane_of_its_own() -> None:
    lanes.SHORT.clear()


# --- what a task gets ------------------------------------------------------------------------------------------------


@mutant
def values_of_the_run_are_forgotten() -> None:
    honest = lanes.placed
    nothing = {"resources": lanes.Resources(), "slurm": SlurmOptions(), "gpu_partition": ""}
    put(hand_out, "placed", lambda request, *rest: honest(msgspec.structs.replace(request, **nothing), *rest))


@mutant
def values_of_the_run_replace_those_of_the_plan() -> None:
    honest = lanes._filled
    put(lanes, "_filled", lambda own, whole_run: honest(whole_run, own))


@mutant
def values_of_the_run_reach_every_lane() -> None:
    put(lanes, "_is_at_home", lambda request, spec: True)


@mutant
def gpus_are_looked_for_in_every_partition() -> None:
    honest = lanes.placed
    put(
        hand_out,
        "placed",
        lambda request, *rest: honest(msgspec.structs.replace(request, gpu_partition=""), *rest),
    )


@mutant
def containers_are_made_of_the_default_image() -> None:
    put(hand_out, "containers", lambda request, lane: DockerOptions())


# --- what a failed attempt tells ---------------------------------------------------------------------------------------


@mutant
def what_the_next_attempt_needs_is_forgotten() -> None:
    honest = movements.settle

    def settle(state: Any, run: Any, task: Task, ended: Any) -> None:
        honest(state, run, task, ended)
        task.again = None

    put(fold, "settle", settle)


@mutant
def what_was_needed_is_forgotten_by_the_next_failure() -> None:
    honest = movements.settle

    def settle(state: Any, run: Any, task: Task, ended: Any) -> None:
        honest(state, run, task, ended)
        task.again = ended.again if ended is not None else None

    put(fold, "settle", settle)


@mutant
def what_was_needed_outlives_a_success() -> None:
    honest = movements.settle

    def settle(state: Any, run: Any, task: Task, ended: Any) -> None:
        before = task.again
        honest(state, run, task, ended)
        task.again = task.again or before

    put(fold, "settle", settle)


@mutant
def bad_nodes_are_not_avoided() -> None:
    put(Nodes, "note", lambda self, lane, node: None)


@mutant
def every_failure_is_the_nodes_fault() -> None:
    honest = movements.settle

    def settle(state: Any, run: Any, task: Task, ended: Any) -> None:
        honest(state, run, task, ended)
        if ended is not None and ended.node and ended.failure != "infra":
            run.nodes.note(run.lane_of(task), ended.node)

    put(fold, "settle", settle)


# --- silence ---------------------------------------------------------------------------------------------------------


@mutant
def jobs_of_a_silent_cluster_are_lost() -> None:
    honest = silence._is_lost

    def is_lost(lane: Any, silent_s: float, *rest: Any) -> bool:
        is_cluster = lane.partition("-")[0] in lanes.LANE_PER_PLACE
        return silent_s >= DOCKER_LOST_S if is_cluster else honest(lane, silent_s, *rest)

    put(silence, "_is_lost", is_lost)


@mutant
def containers_are_lost_as_soon_as_local_tasks() -> None:
    put(silence, "DOCKER_LOST_S", LOCAL_LOST_S)


@mutant
def container_is_lost_although_nobody_can_take_its_place() -> None:
    honest = silence._is_lost

    def is_lost(lane: Any, silent_s: float, *rest: Any) -> bool:
        return silent_s >= DOCKER_LOST_S if lane == LANE_DOCKER else honest(lane, silent_s, *rest)

    put(silence, "_is_lost", is_lost)
