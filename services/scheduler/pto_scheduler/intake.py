"""The scheduler's front door: reads ``PTO_REQ``, fetches plans that travel by digest, checks them, and offers answers.

Imports core, ports, proto and runtime. Invariant: a request is forgotten only when an answer with its sequence was
folded, or when it needs none; after a restart all that the log does not answer is read again.
"""

import asyncio

import msgspec

from pto_core.decide import Decision, Reused
from pto_core.intake import Asked, answer, bounded, refuse
from pto_core.limits import MAX_SHOWN, MAX_TASKS
from pto_core.plan_check import check_approval, check_plan, check_request, count_tasks
from pto_core.quotas import USUAL, Counter, Quotas
from pto_core.reuse import wants_reuse
from pto_core.state import State
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogReader, LogUnavailable, Recorded
from pto_proto import events as ev
from pto_proto.envelope import ProtocolError, decode_request
from pto_proto.ids import NO_DIGEST, Digest, digest_of
from pto_proto.plans import Plan, Problem
from pto_proto.requests import PlanApproved, RunRequested
from pto_proto.reuse import Reusable
from pto_proto.subjects import requester_of
from pto_runtime.logs import get_logger
from pto_runtime.reading import open_reader
from pto_scheduler.reusing import LookUps

READ_WAIT_S = 5.0
"""Longest wait for news; only bounds how often the loop looks round."""
FETCH_S = 30.0
"""How long a request waits for the blob store; those behind it wait too, cancels among them."""
FETCH_RETRY_S = 1.0
"""Pause before a plan is fetched again while the blob store is away."""
INLINE_TASKS = 500
"""Plans up to this many tasks are checked at once (a few ms); the way through a thread costs more than that."""
MAX_ANSWERS = 500
"""Requests answered in one tick, so that a flood cannot crowd out hand-outs."""


class Unreadable(msgspec.Struct, frozen=True):
    """A message of the queue that is no request."""

    seq: int
    reason: str
    requester: str
    size: int


class Intake:
    """The requests that wait for an answer, in the order of the queue."""

    def __init__(self, requests: EventLog, blobs: BlobStore, clock: Clock, quotas: Quotas = USUAL) -> None:
        self._requests = requests
        self._blobs = blobs
        self._clock = clock
        self._quotas = quotas
        self._look_ups = LookUps(blobs, clock)
        self._waiting: list[Asked | Unreadable] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._logger = get_logger()

    async def open(self, after: int, wake: asyncio.Event) -> None:
        """Start reading the queue behind sequence ``after``; ``wake`` is set whenever there is something to answer."""
        self._wake = wake
        self._look_ups.open(wake)
        self._waiting = []
        self._pump = asyncio.create_task(self._read(after))

    async def close(self) -> None:
        """Stop reading."""
        await self._look_ups.close()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    def answers(self, state: State, now: int) -> list[Decision]:
        """The answers to what waits; one that changes a run is folded before the next one about it is judged.

        Raises what ended the reading of the queue.
        """
        if self._pump is not None and self._pump.done():
            self._pump.result()
        decisions: list[Decision] = []
        later: list[Asked | Unreadable] = []
        runs: set[str] = set()
        counter = Counter(state, self._quotas, now)
        for asked in self._waiting:
            if asked.seq <= state.request_seq:
                continue
            if later or len(decisions) >= MAX_ANSWERS or (isinstance(asked, Asked) and asked.request.run in runs):
                later.append(asked)
                continue
            decision = self._answer(state, asked, now, counter)
            if decision is not None:
                decisions.append(decision)
            if isinstance(asked, Asked) and decision and not isinstance(decision.entry, ev.RequestRefused):
                runs.add(asked.request.run)
        self._waiting = later
        if later:
            self._wake.set()
        return decisions

    def _answer(self, state: State, asked: Asked | Unreadable, now: int, counter: Counter) -> Decision | None:
        over = counter.over(asked.requester, asked.size)
        if isinstance(asked, Unreadable):
            return _refuse_unreadable(asked, now)
        if over is not None:
            return refuse(asked, now, [over])
        run = state.active.get(asked.request.run)
        is_early = run is not None and wants_reuse(run) and not self._look_ups.is_written(run)
        if isinstance(asked.request, PlanApproved) and not asked.edited and is_early:
            what = "what earlier runs left behind is still being looked up; approve in a moment"
            return refuse(asked, now, [Problem(where="run", what=what)])
        return answer(state, asked, now, self._quotas)

    def reused(self, state: State) -> Reused:
        """What the runs that asked for it take over of earlier ones, as far as that was looked up."""
        return self._look_ups.found(state)

    async def _read(self, after: int) -> None:
        reader: LogReader | None = None
        try:
            reader = await open_reader(self._requests, self._clock, after=after)
            while True:
                for recorded in await reader.next(READ_WAIT_S):
                    asked = await self._examine(recorded)
                    self._waiting.append(asked)  # not in one line: ``answers`` may replace the list during the wait
                    self._wake.set()
        finally:
            self._wake.set()
            if reader is not None:
                await reader.close()

    async def _examine(self, recorded: Recorded) -> Asked | Unreadable:
        requester, size = requester_of(recorded.subject), len(recorded.data)
        try:
            request_id, request = decode_request(recorded.data)
        except ProtocolError as error:
            self._logger.warning("unreadable request", request_seq=recorded.seq, error=str(error))
            return Unreadable(recorded.seq, str(error), requester, size)
        problems: list[Problem] = []
        count, edited = 0, NO_DIGEST
        if isinstance(request, RunRequested):
            problems, count = await self._check(request)
        elif isinstance(request, PlanApproved):
            problems, count, edited = await self._check_edited(request)
        return Asked(
            seq=recorded.seq, request_id=request_id, requester=requester, size=size, request=request,
            problems=tuple(problems), task_count=count, edited=edited,
        )  # fmt: skip

    async def _check(self, request: RunRequested) -> tuple[list[Problem], int]:
        """(problems, tasks after expansion); big plans are checked in a thread, so that the tick goes on."""
        plan = request.plan
        if plan is None or len(plan.tasks) <= INLINE_TASKS:
            problems = check_request(request)
        else:
            problems = await asyncio.to_thread(check_request, request)
        if request.plan_digest and not problems:
            stored = await self._fetch_plan(request.plan_digest)
            if isinstance(stored, str):
                return [Problem(where="plan_digest", what=stored)], 0
            plan = stored
            problems = list((await asyncio.to_thread(check_plan, plan)).problems)
        if request.reuse_digest and not problems:
            problems = await self._check_list(request.reuse_digest)
        return problems, 0 if plan is None or problems else count_tasks(plan)

    async def _check_edited(self, request: PlanApproved) -> tuple[list[Problem], int, Digest]:
        """(problems, tasks after expansion, digest of the plan as it will be written down) of an approval."""
        plan: Plan | str | None = request.plan
        if plan is None and request.edited_digest and not check_approval(request, None)[1]:
            plan = await self._fetch_plan(request.edited_digest)
        if isinstance(plan, str):
            return [Problem(where="edited_digest", what=plan)], 0, NO_DIGEST
        if plan is None or len(plan.tasks) <= INLINE_TASKS:
            edited, problems = check_approval(request, plan)
        else:
            edited, problems = await asyncio.to_thread(check_approval, request, plan)
        if edited is None or problems:
            return problems, 0, NO_DIGEST
        return [], len(edited.tasks), digest_of(msgspec.json.encode(edited))

    async def _fetch_plan(self, digest: Digest) -> Plan | str:
        """The stored plan, or why it cannot be had."""
        try:
            return msgspec.json.decode(await self._fetch(digest), type=Plan)
        except (BlobMissing, BlobDamaged) as error:
            return f"the plan cannot be fetched: {error}; store it, then ask"
        except msgspec.MsgspecError as error:
            return f"the stored plan is not a plan: {error}"

    async def _check_list(self, digest: Digest) -> list[Problem]:
        try:
            listed = msgspec.json.decode(await self._fetch(digest), type=list[Reusable])
        except (BlobMissing, BlobDamaged) as error:
            return [Problem(where="reuse_digest", what=f"the list cannot be fetched: {error}; store it, then ask")]
        except msgspec.MsgspecError as error:
            return [Problem(where="reuse_digest", what=f"the stored list is none of finished tasks: {error}")]
        if len(listed) > MAX_TASKS:
            return [Problem(where="reuse_digest", what=f"the list has {len(listed)} tasks, at most {MAX_TASKS} fit")]
        return []

    async def _fetch(self, digest: Digest) -> bytes:
        """The blob; while the store is away, the request waits for a while. Raises BlobMissing, BlobDamaged."""
        until = self._clock.monotonic_s() + FETCH_S
        while True:
            try:
                return await self._blobs.get(digest)
            except OSError as error:
                raise BlobDamaged(f"{digest}: {error}") from error
            except LogUnavailable as error:
                if self._clock.monotonic_s() >= until:
                    raise BlobMissing(f"{digest}: the blob store is away: {error}") from error
                self._logger.warning("the blob store is away; trying on", reason=str(error))
                await self._clock.sleep(FETCH_RETRY_S)


def _refuse_unreadable(unreadable: Unreadable, now: int) -> Decision:
    entry = ev.RequestRefused(
        at=now,
        request_seq=unreadable.seq,
        requester=unreadable.requester[:MAX_SHOWN],
        request_bytes=unreadable.size,
        kind="unreadable",
        reasons=bounded([Problem(where="request", what=unreadable.reason)]),
    )
    return Decision(None, None, entry)
