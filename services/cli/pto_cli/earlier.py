"""What the log and the blobs say about a task beside its run's own events: earlier successes, and its lane.

Imports core, ports, proto and siblings. Invariant: it reads only, and at most ``MAX_RUNS`` earlier runs; what cannot be
read is left out.
"""

from collections.abc import AsyncIterator

import msgspec

from pto_cli.access import Access
from pto_core.fold import evolve
from pto_core.reuse import left_behind
from pto_core.state import LaneState, Run, State, Task
from pto_core.views import RunView
from pto_ports.blob_store import BlobDamaged, BlobMissing
from pto_ports.event_log import Recorded
from pto_proto import events as ev
from pto_proto.envelope import Event, ProtocolError, decode_event
from pto_proto.ids import Lane, RunId
from pto_proto.reuse import Reusable
from pto_proto.subjects import event_subject, kind_filter, run_filter

MAX_RUNS = 20
"""Earlier runs of the same log that are compared with; each costs reading its events."""
_OF_LANES = (ev.DispatcherUp, ev.DispatcherDraining, ev.LanePaused, ev.LaneResumed)


async def earlier_successes(access: Access, run: Run, task: Task) -> list[Reusable]:
    """What the run could have taken over for a task with this id, the resumed run's first, then the newest."""
    found = await _listed(access, run)
    async for earlier in _earlier_runs(access, run):
        found += left_behind(earlier)
    return [known for known in found if known.task == task.spec.id]


async def lane_state(access: Access, lane: Lane) -> LaneState:
    """Who is there, and whether the lane rests; how many attempts other runs have out is not in it."""
    records: list[Recorded] = []
    for kind in _OF_LANES:
        records += await access.session.view.read_run(event_subject(kind, lane, None))
    state = State()
    for recorded in sorted(records, key=lambda recorded: recorded.seq):
        event = _event(recorded)
        if event is not None:
            evolve(state, recorded.seq, event)
    return state.lane(lane)


async def _listed(access: Access, run: Run) -> list[Reusable]:
    if not run.request.reuse_digest:
        return []
    try:
        return msgspec.json.decode(await access.blobs.get(run.request.reuse_digest), type=list[Reusable])
    except (BlobMissing, BlobDamaged, msgspec.MsgspecError):
        return []


async def _earlier_runs(access: Access, run: Run) -> AsyncIterator[Run]:
    names = [RunId(run.request.resumes)] if run.request.resumes else []
    if run.request.reuse:
        accepted = await access.session.view.read_run(kind_filter(ev.RunAccepted), up_to=run.accepted_seq - 1)
        others = [event.run for recorded in reversed(accepted) if (event := _event(recorded)) and event.run]
        names += others[:MAX_RUNS]
    for name in dict.fromkeys(names):
        view = RunView()
        for recorded in await access.session.view.read_run(run_filter(name)):
            event = _event(recorded)
            if event is not None:
                view.apply(recorded.seq, event)
        if view.run is not None:
            yield view.run


def _event(recorded: Recorded) -> Event | None:
    try:
        return decode_event(recorded.data)
    except ProtocolError:
        return None
