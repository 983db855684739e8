"""People who review plans: they approve, edit and reject, early, late, twice, and not always the plan that waits.

Invariant: sooner or later somebody gives an answer that counts, so that every run can end.
"""

from random import Random

import msgspec

from pto_proto.ids import Digest, RunId, TaskId, digest_of
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import PlanApproved, PlanRejected, Request

from .plans import Ask
from .stories import RunStory
from .wires import at_once
from .world import World

LATE_S = 40.0
"""How long after the plan a late answer may come: most runs are over by then."""


class Approvers:
    """Everybody who may answer in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.seed}/approvers")

    def too_early(self, ask: Ask) -> list[tuple[float, Request]]:
        """(delay, answer) of those who do not wait for the plan."""
        if not ask.request.approve or self._random.random() > 0.3:
            return []
        return [(self._random.choice((0.0, 0.1, 1.0)), self._good(ask.run, ask.plan, digest_of_plan(ask.plan)))]

    def answers(self, run: RunStory) -> list[tuple[float, Request]]:
        """(delay, answer) to the plan that waits, at least one."""
        random, ask, waits = self._random, self._world.asks[run.run], run.plans[0]
        found: list[tuple[float, Request]] = []
        if random.random() < 0.2:
            found.append((0.0, self._good(run.run, ask.plan, digest_of(b"another plan"))))
        if random.random() < 0.2:
            found.append((0.0, PlanApproved(run=run.run, plan_digest=waits, plan=broken(ask.plan))))
        found.append((0.0, self._good(run.run, ask.plan, waits)))
        if random.random() < 0.4:
            found.append((random.choice((0.0, 0.05, 1.0)), self._good(run.run, ask.plan, waits)))
        if random.random() < 0.3:
            found.append((random.uniform(1.0, LATE_S), self._good(run.run, ask.plan, waits)))
        return found

    def _good(self, run: RunId, plan: Plan, digest: Digest) -> Request:
        """An answer that nothing is wrong with, if ``digest`` is right."""
        draw = self._random.random()
        if draw < 0.15:
            return PlanRejected(run=run, plan_digest=digest, reason=self._random.choice(("", "too big")))
        if draw < 0.5:
            return PlanApproved(run=run, plan_digest=digest)
        edited = self._edit(plan)
        if self._random.random() < 0.3:
            stored = at_once(self._world.blobs.put(msgspec.json.encode(edited)))
            return PlanApproved(run=run, plan_digest=digest, edited_digest=stored)
        return PlanApproved(run=run, plan_digest=digest, plan=edited)

    def _edit(self, plan: Plan) -> Plan:
        """Without some tasks, with one more, or just as it was."""
        random = self._random
        gone = {spec.id for spec in plan.tasks if random.random() < random.choice((0.0, 0.3))}
        kept = [
            msgspec.structs.replace(spec, depends_on=tuple(name for name in spec.depends_on if name not in gone))
            for spec in plan.tasks
            if spec.id not in gone
        ]
        if not kept or random.random() < 0.6:
            after = tuple(spec.id for spec in kept if random.random() < 0.3)
            kept.append(TaskSpec(id=TaskId("added"), noop=True, depends_on=after))
        return msgspec.structs.replace(plan, tasks=tuple(kept))


def broken(plan: Plan) -> Plan:
    """The plan with a task that waits for one that is not there."""
    lost = TaskSpec(id=TaskId("lost"), noop=True, depends_on=(TaskId("nowhere"),))
    return msgspec.structs.replace(plan, tasks=(*plan.tasks, lost))


def digest_of_plan(plan: Plan) -> Digest:
    """What a planner calls this plan, which has no matrix."""
    return digest_of(msgspec.json.encode(plan))
