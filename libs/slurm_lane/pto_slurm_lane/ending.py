"""From a verdict to the attempt's TaskFinished: stored, with the last words and with what the next attempt needs.

Imports attempts, ports, proto, pto_slurm and siblings. Invariant: what an end names is stored before the end is made.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from pto_attempts.outcome import with_bill
from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_proto.plans import Resources
from pto_slurm.preflight import preflight
from pto_slurm.shape import more_memory, more_time, shape_of
from pto_slurm.verdicts import Verdict
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.clients import ClientFailed
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record


class Ending:
    """Of one attempt. Its methods raise LogUnavailable while nothing can be stored."""

    def __init__(self, record: Record, assignment: Assignment, lane: Lane) -> None:
        self._record = record
        self._assignment = assignment
        self._lane = lane

    async def by_result(self, result: Mapping[str, Any], verdict: Verdict) -> ev.TaskFinished:
        """What the executor's result says."""
        try:
            end = await self._assignment.keep(result)
        except LogUnavailable:
            raise
        except Exception as error:
            end = self._lane.outcomes.failed_by(self._record.order, error)
        return await self._wishing(end, verdict)

    async def by_verdict(self, verdict: Verdict, node: str = "") -> ev.TaskFinished:
        """What the table says; with the last words of the job's log."""
        record, lane = self._record, self._lane
        if verdict.failure == "cancelled" and record.stop_reason is not None:
            return await self._assignment.with_log(lane.outcomes.cancelled(record.order, record.stop_reason))
        end = lane.outcomes.failed(record.order, verdict.failure or "infra", verdict.reason, verdict.hint)
        if verdict.failure == "cancelled":
            end = msgspec.structs.replace(end, outcome="cancelled")
        if verdict.exclude:
            end = msgspec.structs.replace(end, node=node)
        end = await self._assignment.with_log(end)
        return await self._wishing(with_bill(record.order, end, self._assignment.bill(None)), verdict)

    async def _wishing(self, end: ev.TaskFinished, verdict: Verdict) -> ev.TaskFinished:
        """With what the next attempt needs more of, where any node can give it."""
        record, lane = self._record, self._lane
        if not verdict.more or end.outcome != "failed" or record.shape is None:
            return end
        is_memory = verdict.more == "memory"
        more = (more_memory if is_memory else more_time)(record.shape, record.ready.spec, lane.settings.site)
        if more is None or not await self._can_be_had(more):
            return end
        hint = f"{end.hint} The next attempt asks for {more.memory or more.time}.".strip()
        return msgspec.structs.replace(end, again=more, hint=hint)

    async def _can_be_had(self, more: Resources) -> bool:
        lane, spec = self._lane, self._record.ready.spec
        bigger = msgspec.structs.replace(spec.resources, memory=more.memory or spec.resources.memory)
        bigger = msgspec.structs.replace(bigger, time=more.time or spec.resources.time)
        shape = shape_of(msgspec.structs.replace(spec, resources=bigger), lane.settings.site)
        try:
            return not preflight({spec.id: shape}, await lane.clients.node_groups()).problems
        except ClientFailed:
            return False
