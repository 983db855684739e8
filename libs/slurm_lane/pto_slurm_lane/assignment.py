"""One attempt as the executor on its node is told of it, and what the executor brings back.

Imports attempts, ports, proto, pto_slurm and pto_slurm_node. Invariants: no secret is in an order, a script or an
argument vector, only in a file that nobody else may read; everything about an attempt lies below its own names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pto_attempts.agent import agent_task
from pto_attempts.assignment import describe
from pto_attempts.outcome import NO_BILL, Bill, with_bill
from pto_core.task_check import MODEL_KEYS
from pto_ports.engine import Spent
from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_slurm.identity import Attempt
from pto_slurm.shape import JobShape
from pto_slurm.submission import Job, sbatch_argv
from pto_slurm_lane.sighting import tail_of
from pto_slurm_node.spool import EARLY, ORDER, private_folder, write_json, write_secrets

if TYPE_CHECKING:
    from pto_ports.backend import Order
    from pto_slurm_lane.lane import Lane

OWNER = "slurm"
TAIL_LINES = 20
_MB = 2**20
ENGINE_VARIABLES = MODEL_KEYS | frozenset(
    (
        "ALL_PROXY", "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE",
        "AWS_REGION", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PTO_CLAUDE_CODE", "PTO_MODEL", "PTO_MODEL_PROVIDER",
        "PTO_PRICES",
    )
)  # fmt: skip
"""What an engine on a node is told of this process's environment."""


class Assignment:
    """Of one attempt."""

    def __init__(self, order: "Order", attempt: Attempt, lane: "Lane") -> None:
        self._order = order
        self._attempt = attempt
        self._lane = lane
        self._run_folder = lane.spool.run(order.run)
        self.folder = lane.spool.attempt(order.run, attempt.name)
        self._described = describe(order, self._run_folder / "work", lane.host_environment, OWNER)
        self.task_log = Path(self._described["log"])
        """What the harness keeps of the task's output."""

    def log(self, stream: str) -> Path:
        """``out`` or ``err`` of the job itself."""
        return self._lane.spool.job_log(self._order.run, self._attempt.name, stream)

    async def prepare(self) -> None:
        """Bring everything to the shared folder, the executor's order too. Raises what Materials and the disk raise."""
        told = await self.told()
        private_folder(self.folder)
        write_json(self.folder / ORDER, told)

    async def told(self, limit_s: float = 0.0) -> dict[str, Any]:
        """What the executor is told, with what that names in its place; ``limit_s``: of a task that says no time.

        Raises what Materials and the disk raise.
        """
        order, lane, ready = self._order, self._lane, self._order.ready
        lane.spool.prepare_run(order.run)
        seen = await lane.materials.seen_by(ready)
        task = {**self._described, "env": dict(self._described["env"])}
        task["time_limit_s"] = task["time_limit_s"] or limit_s
        task["files"] = await lane.materials.files_for(ready, seen)
        secrets = {name: task["env"].pop(name) for name in ready.spec.env if name in task["env"]}
        task["secrets"] = []
        task["memory_bytes"] = 0  # SLURM's own limit is of memory that is used, and its word for it is known
        told: dict[str, Any] = {"task": task, "secrets": "", "secret_names": sorted(secrets)}
        if secrets:
            path = self.folder / "secrets.json"
            write_secrets(path, secrets)
            told["secrets"] = str(path)
        if ready.spec.agent:
            told |= self._agent(task["time_limit_s"])
        return told

    def announce(self, wait_s: float) -> None:
        """A job may come before its order, and is to wait so long for it."""
        self._lane.spool.prepare_run(self._order.run)
        private_folder(self.folder)
        write_json(self.folder / EARLY, {"wait_s": wait_s})

    def job(self, shape: JobShape, after: tuple[str, ...] = ()) -> Job:
        """What is submitted, to start after these jobs."""
        lane = self._lane
        return Job(
            name=self._attempt.job_name,
            comment=self._attempt.comment,
            shape=shape,
            script=lane.installed.script,
            arguments=lane.installed.arguments("run", self.folder, lane.settings.python),
            folder=str(self._run_folder),
            stdout=str(self.log("out")),
            stderr=str(self.log("err")),
            after=after,
        )

    def argv(self, shape: JobShape, after: tuple[str, ...] = ()) -> tuple[str, ...]:
        """How it is submitted."""
        return sbatch_argv(self.job(shape, after))

    async def keep(self, result: Mapping[str, Any]) -> ev.TaskFinished:
        """The end that this result of the executor is, with everything stored. Raises what the blob store raises."""
        order, outcomes = self._order, self._lane.outcomes
        if outcomes.needs_keeping(order, result):
            seen = await self._lane.materials.seen_by(order.ready)
            # A bundle stays until its end is in the log: whoever restarts before that stores it again.
            places = {**result, "kept": True} if result["outcome"] == "succeeded" else result
            end = await outcomes.keep(order, seen, places, result)
        else:
            end = outcomes.without_keeping(order, result)
        return with_bill(order, end, self.bill(result))

    def bill(self, result: Mapping[str, Any] | None) -> Bill:
        """What the attempt's agent has cost; without its word nobody knows."""
        if not self._order.ready.spec.agent:
            return NO_BILL
        given = (result or {}).get("bill")
        if not isinstance(given, dict):
            return Bill(is_final=result is not None and self._order.ready.engine == "simulated")
        spent = msgspec.convert(given.get("spent", {}), Spent, strict=False)
        return Bill(spent, bool(given.get("is_final", True)), float(given.get("retry_after_s", 0.0)))

    async def with_log(self, end: ev.TaskFinished) -> ev.TaskFinished:
        """An end that the executor did not tell, with what was written until then."""
        said = [line for line in tail_of(self.log("err")).splitlines() if line.strip()]
        shown = [line for line in tail_of(self.task_log).splitlines() if line.strip()]
        tail = (*end.tail, *shown[-TAIL_LINES:], *said[-TAIL_LINES:])[:TAIL_LINES]
        for path in (self.task_log, self.log("out"), self.log("err")):
            if path.is_file() and path.stat().st_size:
                try:
                    digest = await self._lane.outcomes.keep_log(path)
                except (LogUnavailable, OSError):
                    break
                return msgspec.structs.replace(end, log=digest, tail=tail if end.outcome == "failed" else end.tail)
        return msgspec.structs.replace(end, tail=tail) if end.outcome == "failed" else end

    def _agent(self, time_limit_s: float) -> dict[str, Any]:
        environment = self._lane.host_environment
        known = {name: environment[name] for name in ENGINE_VARIABLES if environment.get(name)}
        credentials = self.folder / "credentials.json"
        write_secrets(credentials, known)
        agent = {
            "agent": msgspec.to_builtins(agent_task(self._order, time_limit_s)),
            "engine": self._order.ready.engine,
            "credentials": str(credentials),
        }
        return {"agent": agent, "agent_python": self._lane.settings.agent_python}
