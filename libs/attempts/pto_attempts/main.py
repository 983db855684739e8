"""``pto-attempt JOB.json ANSWER.json``: does one agent's task, or makes one plan, where no dispatcher runs.

Wires harness and engines, as a service's main does. Invariants: the answer appears complete or not at all; SIGTERM ends
the work in order; what the file of credentials holds is in this process's memory and nowhere else: the file is removed
if that is allowed, and the kernel shows this process's memory and environment to no other of the same user.
"""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pto_attempts.agent import AgentWork
from pto_attempts.job import AgentJob, Answer, Failure, PlanJob, read_job
from pto_engines.offer import Offer
from pto_harness import Cancel, run_task
from pto_harness.stopwatch import notice_stops
from pto_harness.termination import cancel_on_signal
from pto_ports.engine import EngineError
from pto_runtime.clock import SystemClock
from pto_runtime.settings import read_settings

EXIT_USAGE = 2
_PR_SET_DUMPABLE = 4


def main() -> None:
    """The exit code is 0 when an answer was written, whatever it says."""
    if len(sys.argv) != 3:
        sys.stderr.write("usage: pto-attempt JOB.json ANSWER.json\n")
        sys.exit(EXIT_USAGE)
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        job = read_job(source)
        environment = {**os.environ, **_credentials(job.credentials)}
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"pto-attempt: {source} cannot be read: {error}\n")
        sys.exit(EXIT_USAGE)
    cancel = Cancel()
    cancel_on_signal(cancel.request)
    notice_stops()
    answer = answer_to(job, environment, cancel)
    part = target.with_name(target.name + ".part")
    part.write_bytes(msgspec.json.encode(answer))
    part.replace(target)


def answer_to(job: AgentJob | PlanJob, environment: Mapping[str, str], cancel: Cancel) -> Answer:
    """Do the job with the engines that this environment offers."""
    settings = read_settings({**environment, "PTO_ENGINES": job.engine}, "attempt")
    offer = Offer(environment, SystemClock(), settings, lambda line: _show("stderr", line))
    try:
        missing = offer.missing.get(job.engine)
        if missing is not None:
            return Answer(failure=Failure(reason=missing.reason, failure="config", hint=missing.hint))
        return _plan(job, offer, cancel) if isinstance(job, PlanJob) else _work(job, offer, cancel)
    finally:
        offer.close()


def _plan(job: PlanJob, offer: Offer, cancel: Cancel) -> Answer:
    try:
        draft = offer.planners()[job.engine].plan(job.requirement, job.max_executors, cancel, job.model)
    except EngineError as error:
        return Answer(failure=Failure.of(error))
    return Answer(draft=draft)


def _work(job: AgentJob, offer: Offer, cancel: Cancel) -> Answer:
    work = AgentWork(offer.executors()[job.engine], job.agent)
    result = run_task({**job.task, "inline_bytes": 0}, work=work, cancel=cancel, on_line=_show)
    return Answer(result=result, spent=work.spent, is_final=work.is_final, retry_after_s=work.retry_after_s)


def _show(stream: str, text: str) -> None:
    (sys.stdout if stream == "stdout" else sys.stderr).write(text + "\n")
    sys.stdout.flush()


def _credentials(path: str) -> dict[str, str]:
    if not path:
        return {}
    _hide_memory()
    file = Path(path)
    found = json.loads(file.read_bytes())
    with contextlib.suppress(OSError):
        file.unlink()
    return {str(name): str(value) for name, value in found.items()}


def _hide_memory() -> None:
    """What an agent runs has the same user as this process, and must not look into it."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
