"""An agent's attempt: the harness and the engine run inside, by ``pto-attempt``; their answer comes back in a folder.

Imports attempts, harness, ports and siblings. Invariants: nothing that the container wrote is believed before
``answer`` has looked at it; the credentials are in the container's private folder only.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pto_attempts.agent import agent_task
from pto_attempts.job import AgentJob, Answer, Failure, PlanJob, read_answer
from pto_attempts.outcome import NO_BILL, Bill
from pto_dispatcher_docker.answer import (
    HarnessResult,
    Scope,
    Untrusted,
    check_bill,
    missing_outputs,
    read_result,
    read_small,
    take_outputs,
)
from pto_dispatcher_docker.body import ANSWER, EARLIER, JOB, PRIVATE, WORKSPACE, Mount, container_environment, name_of
from pto_dispatcher_docker.site import Site
from pto_harness.failure import Failed
from pto_harness.limits import MAX_NOTES_BYTES
from pto_harness.process import Ended
from pto_harness.removal import remove_folder
from pto_harness.unfinished import CUT_OFF
from pto_harness.workspace import Workspace
from pto_ports.backend import Order
from pto_ports.engine import EngineError, EngineVariables

ARGV = ("pto-attempt", f"{JOB}/job.json", f"{ANSWER}/answer.json")
CREDENTIALS = "credentials.json"
NOTES, PRICES, MADE = "notes", "prices.json", "made"
READABLE, _FOLDER = 0o644, 0o755
_OTHERS_READ = 0o004
NO_ANSWER = "Does the image hold this version of the product? Build it anew with deploy/docker/build.sh."


Resolve = Callable[[str, str], EngineVariables]
"""(engine, model) -> what it needs; raises EngineError."""


class Places(NamedTuple):
    """Where an attempt's files lie on this host."""

    workspace: Path
    job: Path
    """What the container is told; it can only read it."""
    answer: Path
    """What the container answers."""
    out: Path
    """What was taken over of the answer."""

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> "Places":
        """Beside the workspace, as ``describe`` has it."""
        workspace, out = Path(task["workspace"]), Path(task["out"])
        return cls(
            workspace=workspace,
            job=workspace.with_name(f".{workspace.name}.job"),
            answer=workspace.with_name(f".{workspace.name}.answer"),
            out=out,
        )

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """As the container sees them."""
        return (
            Mount(str(self.workspace), WORKSPACE),
            Mount(str(self.job), JOB, is_read_only=True),
            Mount(str(self.answer), ANSWER),
        )


class Prepared(NamedTuple):
    """What the container needs is there."""

    places: Places
    mounts: tuple[Mount, ...]
    environment: dict[str, str]


def prepare(
    site: Site, order: Order, task: Mapping[str, Any], files: Sequence[Mapping[str, Any]], prices: Path | None
) -> Prepared:
    """Write the job and make the folders. Blocks. Raises OSError, WorkspaceError.

    The credentials come later, by ``hand_over``: what they are may take a while to find out.
    """
    places = Places.of(task)
    mounts, environment = make_places(site, order, places, prices)
    inside = {
        "workspace": WORKSPACE,
        "out": f"{ANSWER}/{MADE}",
        "log": "",
        "unfinished": f"{ANSWER}/unfinished",
        "files": _stage(files, places.job / "in", site.user[0]),
        # The container is the sandbox; one more inside keeps what an agent runs from the engine, where it can be had.
        "sandbox": "wanted" if task["sandbox"] else "",
        "env": environment,
        "memory_bytes": 0,
        "marker": f"PTO_ATTEMPT_ID={environment['PTO_ATTEMPT_ID']}",
        "secrets": [],
    }
    if task.get("earlier"):
        workspace, mark = task["earlier"]
        shutil.copyfile(mark, places.job / NOTES)
        (places.job / NOTES).chmod(READABLE)
        mounts = (*mounts, Mount(workspace, EARLIER, is_read_only=True))
        inside["earlier"] = [EARLIER, f"{JOB}/{NOTES}"]
    job = AgentJob(
        task={**task, "earlier": [], **inside},
        agent=agent_task(order, task["time_limit_s"]),
        engine=order.ready.engine,
        credentials=f"{PRIVATE}/{CREDENTIALS}",
    )
    write_job(places, job)
    return Prepared(places, mounts, environment)


def make_places(
    site: Site, order: Order, places: Places, prices: Path | None
) -> tuple[tuple[Mount, ...], dict[str, str]]:
    """Make the folders, empty; returns how they are mounted, and the environment of the container."""
    remove_places(places)
    owner = site.user if os.getuid() == 0 else None
    Workspace(places.workspace, owner).make()
    Workspace(places.answer, owner).make()
    places.answer.chmod(0o700)
    places.job.mkdir(parents=True)
    places.job.chmod(_FOLDER)
    environment = container_environment(order)
    if prices is not None:
        shutil.copyfile(prices, places.job / PRICES)
        (places.job / PRICES).chmod(READABLE)
        environment["PTO_PRICES"] = f"{JOB}/{PRICES}"
    return places.mounts, environment


def write_job(places: Places, job: AgentJob | PlanJob) -> None:
    """The last step: from here on the container may be made."""
    path = places.job / "job.json"
    path.write_bytes(msgspec.json.encode(job))
    path.chmod(READABLE)


def hand_over(site: Site, order: Order, variables: EngineVariables) -> Mount:
    """Give the container what its engine needs to ask. Raises OSError."""
    folder = site.private.put(name_of(order), CREDENTIALS, json.dumps(variables.variables))
    # It removes the file when it has read it, before anything of an agent runs.
    return Mount(str(folder), PRIVATE)


def resolved(resolve: Resolve, engine: str, model: str) -> EngineVariables:
    """What the engine needs to ask its model. Blocks. Raises Failed."""
    try:
        return resolve(engine, model)
    except EngineError as error:
        raise Failed(error.failure, str(error), error.hint) from error


async def read_end(
    places: Places, task: Mapping[str, Any], files: Sequence[Mapping[str, Any]], ended: Ended, secrets: Sequence[str]
) -> tuple[HarnessResult, dict[str, Any], Bill]:
    """(result, what was taken over, bill) of a container that ended. Raises Failed."""
    scope = Scope(
        outputs=task["outputs"],
        writes=task["writes"],
        given=frozenset(file["path"] for file in files),
        secrets=secrets,
    )
    try:
        answer = await asyncio.to_thread(read_container_answer, places, ended)
        bill = Bill(answer.spent, answer.is_final, answer.retry_after_s)
        if answer.failure is not None:
            failure = answer.failure
            return read_failure(failure, secrets), {}, Bill(failure.spent, True, failure.retry_after_s)
        if answer.result is None:
            raise Untrusted("its answer holds no result")
        result = read_result(answer.result, secrets)
        if result.outcome != "succeeded":
            await asyncio.to_thread(_keep_mark, places, task, result)
            return result, {}, bill
        if not result.files:
            if missing := missing_outputs(scope):
                raise Untrusted(f"declared output {missing[0]!r} is missing")
            return result, {}, bill
        taken = await asyncio.to_thread(take_outputs, places.answer, MADE, places.out, scope)
    except Untrusted as error:
        raise Failed("task", f"what the agent's container left is not taken over: {error}") from error
    return result, taken, bill


def read_container_answer(places: Places, ended: Ended) -> Answer:
    """What the container answered. Raises Untrusted, Failed when it answered nothing."""
    try:
        answer = read_answer(read_small(places.answer, "answer.json"))
    except FileNotFoundError as error:
        if ended.why == "cancelled":
            raise Failed("cancelled", "cancelled", exit_code=ended.exit_code) from error
        if ended.why == "timeout":
            raise overdue(ended) from error
        reason = f"the agent's container ended with exit code {ended.exit_code} and left no answer"
        failure = "config" if ended.exit_code == 2 else "task"
        raise Failed(failure, reason, NO_ANSWER, ended.exit_code) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Untrusted(f"its answer is none: {str(error)[:200]}") from error
    for said in (answer, answer.failure):
        if said is not None:
            check_bill(said.spent.usage, said.spent.cost_usd)
    return answer


def read_failure(failure: Failure, secrets: Sequence[str]) -> HarnessResult:
    """A failure as a result, cut short and without secrets. Raises Untrusted."""
    said = {"failure": failure.failure, "reason": failure.reason, "hint": failure.hint, "tail": [failure.reason]}
    return read_result({"outcome": "cancelled" if failure.failure == "cancelled" else "failed", **said}, secrets)


def overdue(ended: Ended) -> Failed:
    """The container was stopped because its harness did not end at the time limit."""
    reason = "the agent's container did not end at its time limit, and was stopped"
    return Failed("timeout", reason, "Raise the task's time limit (resources: time).", ended.exit_code)


def unasked(ended: Ended) -> Failed:
    """The harness was told to end, and not because of a cancel."""
    if ended.why == "timeout":
        return overdue(ended)
    return Failed(
        "infra", "the agent's container was told to end, and not by its dispatcher", exit_code=ended.exit_code
    )


def remove_places(places: Places) -> None:
    """All but the workspace and its log."""
    for folder in (places.job, places.answer, places.out):
        remove_folder(folder)


def unknown_bill(order: Order) -> Bill:
    """Of an agent whose container said nothing: it may have asked, and be charged for it."""
    return Bill(is_final=False) if order.ready.engine != "simulated" else NO_BILL


def _keep_mark(places: Places, task: Mapping[str, Any], result: HarnessResult) -> None:
    """What an attempt that was cut off leaves for the next one."""
    if result.failure in CUT_OFF:
        with suppress(OSError, Untrusted):
            Path(task["unfinished"]).write_bytes(read_small(places.answer, "unfinished", MAX_NOTES_BYTES))


def _stage(files: Sequence[Mapping[str, Any]], target: Path, user: int) -> list[dict[str, Any]]:
    """The files with their blobs where the container can read them."""
    target.mkdir()
    target.chmod(_FOLDER)
    staged: set[str] = set()
    found = []
    for file in files:
        field = "bundle" if "bundle" in file else "source"
        blob = Path(file[field])
        if blob.name not in staged:
            staged.add(blob.name)
            _bring(blob, target / blob.name, user)
        found.append({**file, field: f"{JOB}/in/{blob.name}"})
    return found


def _bring(blob: Path, target: Path, user: int) -> None:
    status = blob.stat()
    if status.st_mode & _OTHERS_READ or status.st_uid == user:
        with suppress(OSError):  # another disk
            target.hardlink_to(blob)
            return
    shutil.copyfile(blob, target)
    target.chmod(READABLE)
