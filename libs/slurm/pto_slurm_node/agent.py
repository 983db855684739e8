"""An agent's task on a node: ``pto-attempt`` of the shared environment does it, since engines need more than the
standard library.

Imports the standard library and siblings only, Python >= 3.8. Invariants: what is missing for it is said in one
sentence that names the node, before anything is asked of a model; its answer becomes a result like any other.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_slurm_node.order import BadOrder
from pto_slurm_node.route import route_of, why_not
from pto_slurm_node.spool import InsecureSecrets, private_folder, read_json, read_secrets, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pto_harness import Cancel

MODULE = "pto_attempts.main"
LAST_LINES = 20
KILL_S = 25.0
"""After a request to end: SLURM kills 30 s after its own."""
LOOK_S = 0.5
SHARED = (
    "Install this distribution in an environment on a file system that the nodes mount, and name its python as the "
    "agents' one (PTO_SLURM_AGENT_PYTHON)."
)
ROUTE = (
    "Use a partition whose nodes reach it, name a proxy (HTTPS_PROXY) where the dispatcher is started, or run agents "
    "on another backend."
)


def run_agent(
    order: dict[str, Any],
    task: dict[str, Any],
    folder: Path,
    node: str,
    environment: Mapping[str, str],
    cancel: Cancel,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The harness's result of an agent's task, with its ``bill``. Raises BadOrder when it cannot be done here."""
    agent = order["agent"]
    python = str(order.get("agent_python") or "")
    if not python or not Path(python).exists():
        raise BadOrder(f"node {node} has no {python or 'python for agents'}, which runs agents", "config", SHARED)
    _check_route(agent, node, environment)
    private_folder(folder)
    job, answer = folder / "job.json", folder / "answer.json"
    write_json(job, {"kind": "agent", **agent, "task": task})
    answer.unlink() if answer.exists() else None
    exit_code, said = _run([python, "-m", MODULE, str(job), str(answer)], environment, cancel, say)
    given = read_json(answer)
    if isinstance(given, dict):
        return _result(given)
    last = next((line for line in reversed(said) if line.strip()), "it said nothing")
    if any("No module named" in line for line in said):
        raise BadOrder(f"the environment of {python} on node {node} lacks this distribution: {last}", "config", SHARED)
    if cancel.requested:
        return _ended("cancelled", "cancelled", cancel.reason or "cancelled", "", said)
    raise BadOrder(f"pto-attempt on node {node} ended with exit code {exit_code} and no answer: {last}")


def _check_route(agent: dict[str, Any], node: str, environment: Mapping[str, str]) -> None:
    engine = str(agent.get("engine", ""))
    credentials: dict[str, str] = {}
    if agent.get("credentials"):
        try:
            credentials = read_secrets(Path(agent["credentials"]))
        except InsecureSecrets as error:
            raise BadOrder(str(error), "config", "Nobody but you may read or write the spool.") from error
    route = route_of(engine, {**environment, **credentials})
    reason = why_not(route) if route else ""
    if route and reason:
        what = "the proxy" if route.is_proxy else "the model at"
        raise BadOrder(f"node {node} has no route to {what} {route.host}:{route.port} ({reason})", "config", ROUTE)


def _run(
    argv: list[str], environment: Mapping[str, str], cancel: Cancel, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """(exit code, last lines) of the program; asked to end when ``cancel`` is, and killed when it does not."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(environment)
    )

    def read() -> None:
        for line in process.stdout or ():
            text = line.decode(errors="replace").rstrip("\n")
            last.append(text)
            say(text)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    cancel.listen(process.terminate)
    waited_s = 0.0
    while True:
        try:
            process.wait(LOOK_S)
            break
        except subprocess.TimeoutExpired:
            waited_s = waited_s + LOOK_S if cancel.requested else 0.0
            if waited_s >= KILL_S:
                process.kill()
    cancel.unlisten(process.terminate)
    reader.join(LOOK_S)
    return process.returncode, list(last)


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    bill = {name: answer[name] for name in ("spent", "is_final", "retry_after_s") if name in answer}
    failure = answer.get("failure")
    if failure:
        bill.update({name: failure[name] for name in ("spent", "retry_after_s") if name in failure})
        ended = _ended("failed", failure["failure"], failure["reason"], failure.get("hint", ""), [])
        return {**ended, "bill": bill}
    return {**answer["result"], "bill": bill}


def _ended(outcome: str, failure: str, reason: str, hint: str, tail: list[str]) -> dict[str, Any]:
    return {
        "outcome": outcome, "failure": failure, "reason": reason, "hint": hint, "tail": tail, "exit_code": None,
        "duration_s": 0.0, "files": 0, "refused": [], "sandbox": "", "log_bytes": 0,
    }  # fmt: skip
