"""The same run without services, faults or waiting: the pure core and executors that answer at once."""

from pto_core.decide import Decision, decide, next_due
from pto_core.fold import evolve
from pto_core.intake import Asked, answer
from pto_core.state import State
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_LOCAL, LANE_PLANNER, MERGE_TASK, PLAN_TASK, Digest, InstanceId
from pto_proto.requests import PlanApproved, RunResumeRequested

from .executors import merged_by, output_of
from .places import CLUSTERS, DOCKER
from .plans import Ask

TASKS = ("noop", "command", "agent:simulated")
ABILITIES = {
    LANE_PLANNER: ("plan", "edit"), LANE_CONSOLIDATOR: ("merge",), DOCKER: ("plan", *TASKS),
    **dict.fromkeys((LANE_LOCAL, *CLUSTERS), TASKS),
}  # fmt: skip


class Undisturbed:
    """One run in a world without time."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._state = State()
        self._now = 1
        self._seq = 0
        self._requests = 0
        self._failed: dict[str, int] = {}
        """Task -> failures since its last success."""
        self._succeeded: set[str] = set()

    def end(self) -> ev.RunFinished:
        """Play it to its end."""
        for lane, can_run in ABILITIES.items():
            up = ev.DispatcherUp(at=1, instance=InstanceId(lane), incarnation="i", capacity=4, can_run=can_run)
            self._write(Decision(lane, None, up))
        self._answer(self._ask.request)
        while True:
            decisions = decide(self._state, self._now)
            self._state.touched.clear()
            for decision in decisions:
                self._write(decision)
            for decision in decisions:
                if isinstance(decision.entry, ev.TaskReady):
                    self._execute(decision, decision.entry)
            run = self._state.runs[self._ask.run]
            if run.finished is not None:
                return run.finished
            if run.plan is not None and not run.settled and self._ask.request.approve:
                self._answer(PlanApproved(run=run.id, plan_digest=run.plan.plan_digest))
            elif run.paused is not None:
                self._answer(RunResumeRequested(run=run.id))
            elif not decisions:
                due = next_due(self._state, self._now)
                assert due is not None, "the undisturbed run does not end"
                self._now = due

    def _write(self, decision: Decision) -> None:
        self._seq += 1
        lane, run, entry = decision
        event = Event(id=f"{self._seq}", source="test", kind=type(entry), lane=lane, run=run, entries=(entry,))
        evolve(self._state, self._seq, event)

    def _answer(self, request: object) -> None:
        self._requests += 1
        asked = Asked(seq=self._requests, request_id="q", request=request)  # type: ignore[arg-type]
        decision = answer(self._state, asked, self._now)
        if decision is not None:
            self._write(decision)

    def _execute(self, decision: Decision, ready: ev.TaskReady) -> None:
        behaviour = self._ask.behaviour(ready.task)
        failures = behaviour.again if ready.task in self._succeeded else behaviour.failures
        failed = self._failed.get(ready.task, 0)
        failure = failures[failed] if failed < len(failures) else None
        base = {"at": self._now, "task": ready.task, "attempt": ready.attempt, "round": ready.round}
        entries: list[ev.Entry] = [ev.TaskStarted(**base, instance=ready.instance)]  # type: ignore[arg-type]
        if failure is None:
            tasks = self._ask.plan.tasks
            if ready.task == PLAN_TASK:
                entries.append(ev.TaskPlanned(at=self._now, plan_digest=Digest("d"), part=0, parts=1, tasks=tasks))
                entries.append(
                    ev.PlanFinished(**base, plan_digest=Digest("d"), name="", parts=1, task_count=len(tasks))  # type: ignore[arg-type]
                )
            if ready.task == MERGE_TASK:
                entries.append(merged_by(self._ask, base))
            self._failed[ready.task] = 0
            self._succeeded.add(ready.task)
        else:
            self._failed[ready.task] = failed + 1
        digest = output_of(self._ask, ready) if failure is None else ""
        outcome = "succeeded" if failure is None else "failed"
        entries.append(
            ev.TaskFinished(
                **base, instance=ready.instance, outcome=outcome, failure=failure, manifest=digest, tree=digest  # type: ignore[arg-type]
            )
        )  # fmt: skip
        for entry in entries:
            self._write(Decision(decision.lane, decision.run, entry))


def end_of(ask: Ask) -> ev.RunFinished:
    """How this run ends without any fault."""
    return Undisturbed(ask).end()


def outcome_of(ask: Ask) -> tuple[str, Digest]:
    """(status, outcome digest) of this run without any fault."""
    end = end_of(ask)
    return end.status, end.outcome_digest
