"""A plan made in a container: a planning engine for ``PlannerBackend`` whose work ``pto-attempt`` does inside.

Imports attempts, harness, ports and siblings. Invariants: it is called in a thread and waits for the event loop of the
service; whatever the container left is looked at as a stranger's.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from pto_attempts.job import Answer, PlanJob
from pto_dispatcher_docker.agent import (
    ARGV,
    CREDENTIALS,
    Places,
    Resolve,
    hand_over,
    make_places,
    read_container_answer,
    read_failure,
    remove_places,
    resolved,
    write_job,
)
from pto_dispatcher_docker.answer import Untrusted, check_bill
from pto_dispatcher_docker.body import PRIVATE, allowance, name_of
from pto_dispatcher_docker.limits import AGENT_GRACE_S, PLAN_S, RATIONALE_CHARS, TEXT_CHARS
from pto_dispatcher_docker.site import Site, Wanted
from pto_harness import Cancel
from pto_harness.failure import Failed
from pto_harness.limits import LOG_HEAD_BYTES, LOG_TAIL_BYTES, MIN_SECRET_CHARS
from pto_harness.log import TaskLog
from pto_harness.removal import remove_folder
from pto_ports import engine as port
from pto_ports.backend import LiveLine, Order
from pto_ports.engine import EngineError, EngineVariables, PlanDraft, Spent

FOLDER = "planner"


class ContainerPlanner:
    """Makes the plan of one order."""

    def __init__(
        self,
        *,
        name: str,
        site: Site,
        resolve: Resolve,
        order: Order,
        folder: Path,
        prices: Path | None,
        live: LiveLine | None,
    ) -> None:
        """``folder``: the run's work folder. Make it inside the event loop."""
        self.name = name
        self._site = site
        self._resolve = resolve
        self._order = order
        self._folder = folder / FOLDER
        self._prices = prices
        self._live = live
        self._loop = asyncio.get_running_loop()

    def plan(
        self, requirement: str, max_executors: int, cancel: port.Cancel | None = None, model: str = ""
    ) -> PlanDraft:
        """As the port says."""
        job = PlanJob(
            requirement=requirement,
            max_executors=max_executors,
            engine=self.name,
            model=model,
            credentials=f"{PRIVATE}/{CREDENTIALS}",
        )
        inner = Cancel()
        if cancel is not None:
            cancel.listen(lambda: inner.request(cancel.reason))
        try:
            variables = resolved(self._resolve, self.name, model)
            return asyncio.run_coroutine_threadsafe(self._plan(job, variables, inner), self._loop).result()
        except Failed as failed:
            unknown = Spent(cost_usd=None) if self._order.ready.reserved_usd else Spent()
            raise EngineError(str(failed), failure=failed.failure, hint=failed.hint, spent=unknown) from failed  # type: ignore[arg-type]

    async def _plan(self, job: PlanJob, variables: EngineVariables, cancel: Cancel) -> PlanDraft:
        site, order = self._site, self._order
        attempt = f"attempt.{order.ready.attempt}"
        places = Places.of({"workspace": self._folder / attempt, "out": self._folder / f".{attempt}.out"})
        mounts, environment = await asyncio.to_thread(make_places, site, order, places, self._prices)
        await asyncio.to_thread(write_job, places, job)
        log = TaskLog(
            str(self._folder / f"{attempt}.log"), LOG_HEAD_BYTES, LOG_TAIL_BYTES, self._on_line(), variables.secrets
        )
        wanted = Wanted(
            order=order,
            what="the planner",
            argv=ARGV,
            environment=environment,
            mounts=(*mounts, hand_over(site, order, variables)),
            folders=(places.workspace, places.answer),
            room_bytes=site.rooms.limit(self._folder),
            allowed=allowance(site.defaults, order.ready.docker, order.ready.spec.resources),
            limit_s=PLAN_S,
            whole_limit_s=PLAN_S,
            grace_s=AGENT_GRACE_S,
        )
        try:
            ended = await site.run(wanted, log.feed, cancel)
            answer = await asyncio.to_thread(read_container_answer, places, ended)
            draft = read_draft(answer, variables.secrets, is_cancelled=cancel.requested)
        except Untrusted as error:
            raise Failed("task", f"what the planner's container left is not taken over: {error}") from error
        finally:
            log.close()
            site.private.drop(name_of(order))
        text = msgspec.json.format(msgspec.json.encode(draft.plan), indent=2)
        with suppress(OSError):  # a projection; the log has the plan
            (self._folder / "execution_plan.json").write_bytes(text)
        await asyncio.to_thread(remove_places, places)
        await asyncio.to_thread(remove_folder, places.workspace)
        return draft

    def _on_line(self) -> Callable[[str, str], None] | None:
        live, order = self._live, self._order
        return None if live is None else lambda stream, text: live(order, stream, text)


def read_draft(answer: Answer, secrets: Sequence[str], *, is_cancelled: bool) -> PlanDraft:
    """The plan that a container answered with; whether it is a sound one is for ``PlannerBackend`` to check.

    Raises Untrusted, Failed, and EngineError in the container's words.
    """
    if answer.failure is not None:
        said = read_failure(answer.failure, secrets)
        if said.outcome == "cancelled" and not is_cancelled:
            raise Failed("infra", "the planner's container was told to end, and not by its dispatcher")
        raise EngineError(
            said.reason,
            failure=said.failure or "task",
            hint=said.hint,
            retry_after_s=answer.failure.retry_after_s,
            spent=answer.failure.spent,
        )
    draft = answer.draft
    if draft is None:
        raise Failed("task", "the planner's container answered with no plan")
    check_bill(draft.usage, draft.cost_usd)
    if not 0 <= draft.complexity <= 100 or not 0 <= draft.repairs <= TEXT_CHARS:
        raise Untrusted("its complexity or its number of repairs cannot be")
    if max(len(draft.model), len(draft.prompt_digest)) > TEXT_CHARS:
        raise Untrusted("its model is no name, or its prompts have none")
    encoded = msgspec.json.encode(draft)
    if any(secret.encode() in encoded for secret in secrets if len(secret) >= MIN_SECRET_CHARS):
        raise Untrusted("its plan holds a credential")
    return msgspec.structs.replace(draft, rationale=draft.rationale[:RATIONALE_CHARS])
