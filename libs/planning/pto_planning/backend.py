"""Planning as the backend of a lane: ``_plan`` and ``_edit`` orders become TaskPlanned and PlanFinished.

Imports core, harness, ports, proto and runtime. Invariant: a plan is checked whole before any part of it is reported:
one that an engine made is checked here, one that a person brought or edited was checked before it was accepted.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypedDict

import msgspec

from pto_core.matrix import expand
from pto_core.plan_check import check_plan, count_tasks
from pto_harness import Cancel
from pto_planning.seen_inputs import seen_inputs
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.clock import Clock
from pto_ports.engine import EngineError, PlanDraft, PlanEngine, Spent
from pto_ports.event_log import EventLog, LogUnavailable
from pto_proto import events as ev
from pto_proto.envelope import MAX_EVENT_BYTES, decode_event
from pto_proto.ids import EDIT_TASK, Digest, InstanceId, TaskId, digest_of
from pto_proto.plans import InputFile, Plan, TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.subjects import event_subject
from pto_runtime.logs import get_logger

INLINE_TASKS = 500
"""Plans up to this many tasks are checked at once (a few ms); the way through a thread costs more than that."""
MAX_PLANS = 64
"""Engines asked at once; each only waits, for minutes, and more of them wait for a turn."""
PART_BYTES = MAX_EVENT_BYTES * 3 // 4
"""Size of one part of a plan, so that its event with the envelope stays below the limit."""
SEEN_BYTES = 68
"""What ``seen_inputs`` adds for each task, and the comma between two tasks."""


EngineFor = Callable[[Order, RunRequested], PlanEngine | None]
"""The engine for one order; None: there is none of this name."""
NONE_MISSING: Mapping[str, object] = {}
NOTHING = Spent()
CANCEL_GRACE_S = 6.0
"""How long an engine that was cancelled may take to end and say what it has cost: it closes a connection."""


class PlanFailed(Exception):
    """No plan could be made; ``failure`` says whose fault it is, ``spent`` what was paid all the same."""

    def __init__(
        self,
        failure: ev.FailureClass,
        reason: str,
        *,
        hint: str = "",
        retry_after_s: float = 0.0,
        spent: Spent | None = None,
    ) -> None:
        super().__init__(reason)
        self.failure = failure
        self.hint = hint
        self.retry_after_s = retry_after_s
        self.spent = spent or Spent()


class _Identity(TypedDict):
    """What every entry about an attempt starts with."""

    at: int
    cause: int
    task: TaskId
    attempt: int
    round: int


class PlannerBackend:
    """Plans in worker threads, several runs at once."""

    def __init__(
        self,
        *,
        log: EventLog,
        blobs: BlobStore,
        clock: Clock,
        instance: InstanceId,
        engines: Mapping[str, PlanEngine] | EngineFor,
        missing: Mapping[str, object] = NONE_MISSING,
    ) -> None:
        """``missing``: why engines that others have cannot be used here."""
        self._log = log
        self._blobs = blobs
        self._clock = clock
        self._instance = instance
        self._engines = engines
        self._asks_others = callable(engines)
        """Whether even a simulated plan is made elsewhere and has to be told to end."""
        self._missing = missing
        self._cancels: dict[tuple[str, TaskId, int], Cancel] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._working: dict[tuple[str, TaskId, int], asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(MAX_PLANS, "plan")
        """Not the loop's own, which plans would take away from what they wait for themselves."""
        self._report: Report | None = None
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """It plans and writes down what people make of a plan, and nothing else."""
        return ("plan", "edit")

    async def open(self, report: Report, live: LiveLine) -> None:
        """Keep where to report; a plan has no live lines."""
        self._report = report

    async def start(self, order: Order) -> None:
        """Plan in the background."""
        name = (order.run, order.ready.task, order.ready.attempt)
        task = asyncio.create_task(self._work(order))
        self._working[name] = task

        def forget(_: object) -> None:
            self._working.pop(name, None)
            self._cancels.pop(name, None)

        task.add_done_callback(forget)

    async def stop(self, order: Order, reason: str) -> bool:
        """Give up the attempt; nothing of its plan is reported."""
        name = (order.run, order.ready.task, order.ready.attempt)
        task, cancel = self._working.get(name), self._cancels.get(name)
        if task is None:
            return False
        if cancel is None:
            await self._give_up(order, task, reason, cost_usd=0.0)
            return True
        cancel.request(reason)
        ending = asyncio.create_task(self._let_end(order, task, reason))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return True

    async def _let_end(self, order: Order, task: asyncio.Task[None], reason: str) -> None:
        """Its engine was cancelled and soon says what it has cost; if not, nobody knows that."""
        await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        await self._give_up(order, task, reason, cost_usd=None)

    async def _give_up(self, order: Order, task: asyncio.Task[None], reason: str, *, cost_usd: float | None) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if task.cancelled():
            failed = PlanFailed("cancelled", reason, spent=Spent(cost_usd=cost_usd))
            self._end(order, 0.0, outcome="cancelled", failed=failed)

    async def adopt(self, order: Order) -> bool:
        """Planning lives in this process only."""
        return False

    async def sweep(self) -> None:
        """Nothing is kept for a restart."""

    def forget(self, order: Order) -> None:
        """Nothing is kept for a restart."""

    async def close(self) -> None:
        """Give up everything; it is found again after a restart."""
        for cancel in list(self._cancels.values()):
            cancel.request("the planner was stopped")
        for task in (*self._working.values(), *self._endings):
            task.cancel()
        await asyncio.gather(*self._working.values(), *self._endings, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- one attempt ---

    async def _work(self, order: Order) -> None:
        ready = order.ready
        began = self._clock.monotonic_s()
        self._say(order, ev.TaskStarted(**self._identity(order), instance=self._instance))
        bill: list[Spent] = []
        try:
            request = await self._request(order)
            draft, is_brought = await self._draft(order, request)
            bill.append(Spent(usage=draft.usage, cost_usd=draft.cost_usd))
            seen = await self._seen(request, draft.plan)
        except PlanFailed as failed:
            failed.spent = bill[0] if bill else failed.spent
            self._end(order, began, outcome="cancelled" if failed.failure == "cancelled" else "failed", failed=failed)
            return
        except (LogUnavailable, OSError) as error:
            away = PlanFailed("infra", f"the log or a blob is away: {error}", spent=bill[0] if bill else NOTHING)
            self._end(order, began, outcome="failed", failed=away)
            return
        except Exception as error:
            self._logger.exception("planning failed", run=order.run)
            # An engine that was asked and did not say is charged for all the same; nobody knows how much.
            unknown = Spent(cost_usd=None) if ready.reserved_usd else NOTHING
            fault = PlanFailed("task", f"a fault of the planner: {error!r}", spent=bill[0] if bill else unknown)
            self._end(order, began, outcome="failed", failed=fault)
            return
        parts = split(draft.plan)
        digest = digest_of(msgspec.json.encode(draft.plan))
        self._say(
            order,
            *(
                ev.TaskPlanned(
                    at=self._clock.now_ms(),
                    cause=order.seq,
                    plan_digest=digest,
                    part=at,
                    parts=len(parts),
                    tasks=part,
                    seen_inputs=seen[sum(map(len, parts[:at])) :][: len(part)],
                )
                for at, part in enumerate(parts)
            ),
            ev.PlanFinished(
                **self._identity(order),
                plan_digest=digest,
                name=draft.plan.name,
                parts=len(parts),
                task_count=len(draft.plan.tasks),
                inputs=draft.plan.inputs,
                checks=draft.plan.checks,
                complexity=None if is_brought else draft.complexity,
                rationale=draft.rationale,
                engine="" if is_brought else ready.engine,
                usage=draft.usage,
                cost_usd=draft.cost_usd,
                model=draft.model,
                prompt_digest=draft.prompt_digest,
                repairs=draft.repairs,
            ),
        )
        self._end(order, began, outcome="succeeded", spent=Spent(usage=draft.usage, cost_usd=draft.cost_usd))

    async def _request(self, order: Order) -> RunRequested:
        accepted: ev.RunAccepted = await self._first(order, ev.RunAccepted)
        return accepted.request

    async def _first(self, order: Order, kind: type[ev.Entry]) -> Any:
        """The first entry of this kind about the order's run, behind which there is never another that counts."""
        for recorded in await self._log.read_run(event_subject(kind, None, order.run), up_to=order.seq):
            return decode_event(recorded.data).entries[0]
        raise PlanFailed("infra", f"the run's {kind.__name__} is not in the log")

    async def _draft(self, order: Order, request: RunRequested) -> tuple[PlanDraft, bool]:
        """(plan, whether a person brought it), checked."""
        plan, digest = request.plan, request.plan_digest
        if order.ready.task == EDIT_TASK:
            edit: ev.PlanEditAccepted = await self._first(order, ev.PlanEditAccepted)
            plan, digest = edit.plan, edit.edited_digest
            if plan is None and not digest:
                raise PlanFailed("task", "the log holds an edit without a plan")
        if digest:
            try:
                plan = msgspec.json.decode(await self._blobs.get(digest), type=Plan)
            except (BlobMissing, BlobDamaged) as error:
                raise PlanFailed("infra", f"the plan cannot be fetched: {error}") from error
            except msgspec.MsgspecError as error:
                raise PlanFailed("task", f"the stored plan is not a plan: {error}") from error
        if plan is not None:
            expansion = await asyncio.to_thread(expand, plan.tasks) if _is_big(plan) else expand(plan.tasks)
            written_out = msgspec.structs.replace(plan, tasks=expansion.tasks)
            return PlanDraft(plan=written_out, complexity=0, rationale=""), True
        draft = await self._ask_engine(order, request)
        if len(draft.plan.tasks) <= INLINE_TASKS:
            expanded, problems = check_plan(draft.plan)
        else:
            expanded, problems = await asyncio.to_thread(check_plan, draft.plan)
        if problems:
            spent = Spent(usage=draft.usage, cost_usd=draft.cost_usd)
            raise PlanFailed("task", "the plan is not valid: " + "; ".join(map(str, problems)), spent=spent)
        return msgspec.structs.replace(draft, plan=expanded), False

    async def _seen(self, request: RunRequested, plan: Plan) -> tuple[Digest, ...]:
        if not request.inputs_digest:
            return ()
        try:
            files = msgspec.json.decode(await self._blobs.get(request.inputs_digest), type=list[InputFile])
        except (BlobMissing, BlobDamaged) as error:
            raise PlanFailed("infra", f"the list of inputs cannot be fetched: {error}") from error
        except msgspec.MsgspecError as error:
            raise PlanFailed("task", f"the stored list of inputs is none: {error}") from error
        if len(plan.tasks) + len(files) <= INLINE_TASKS:
            return seen_inputs(plan, files)
        return await asyncio.to_thread(seen_inputs, plan, files)

    async def _ask_engine(self, order: Order, request: RunRequested) -> PlanDraft:
        engines = self._engines
        engine = engines(order, request) if callable(engines) else engines.get(request.engine)
        if engine is None:
            why = self._missing.get(request.engine)
            reason = f"this planner has no engine {request.engine!r}"
            raise PlanFailed("config", f"{reason}: {why}" if why is not None else reason)
        cancel = None
        if request.engine != "simulated" or self._asks_others:
            cancel = self._cancels[(order.run, order.ready.task, order.ready.attempt)] = Cancel()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, engine.plan, request.requirement, request.max_executors, cancel, request.model
            )
        except EngineError as error:
            raise PlanFailed(
                error.failure, str(error), hint=error.hint, retry_after_s=error.retry_after_s, spent=error.spent
            ) from error

    def _identity(self, order: Order) -> _Identity:
        ready = order.ready
        return _Identity(
            at=self._clock.now_ms(), cause=order.seq, task=ready.task, attempt=ready.attempt, round=ready.round
        )

    def _end(
        self,
        order: Order,
        began: float,
        *,
        outcome: ev.Outcome,
        spent: Spent = NOTHING,
        failed: PlanFailed | None = None,
    ) -> None:
        took = self._clock.monotonic_s() - began if began else 0.0
        spent = spent if failed is None else failed.spent
        finished = ev.TaskFinished(
            **self._identity(order),
            instance=self._instance,
            outcome=outcome,
            failure=None if failed is None else failed.failure,
            reason="" if failed is None else str(failed),
            hint="" if failed is None else failed.hint,
            retry_after_s=0.0 if failed is None else failed.retry_after_s,
            duration_s=round(took, 6),
            usage=spent.usage,
            cost_usd=spent.cost_usd,
        )
        self._say(order, finished)

    def _say(self, order: Order, *entries: ev.Entry) -> None:
        if self._report is not None:
            self._report(order, *entries)


def split(plan: Plan) -> list[tuple[TaskSpec, ...]]:
    """The plan's tasks in parts of at most ``PART_BYTES``, at least one part, in order."""
    parts: list[tuple[TaskSpec, ...]] = []
    part: list[TaskSpec] = []
    size = 0
    for spec in plan.tasks:
        length = len(msgspec.json.encode(spec)) + SEEN_BYTES
        if part and size + length > PART_BYTES:
            parts.append(tuple(part))
            part, size = [], 0
        part.append(spec)
        size += length
    return [*parts, tuple(part)]


def _is_big(plan: Plan) -> bool:
    """Whether writing out its matrices would hold up the event loop."""
    return any(spec.matrix for spec in plan.tasks) and count_tasks(plan) > INLINE_TASKS
