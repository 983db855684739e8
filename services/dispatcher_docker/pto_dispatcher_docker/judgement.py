"""What the end of a container means: a fault of the task, of the machine, or none. Pure.

Imports harness and siblings. Invariants: an end that the engine's own end may have caused is nobody's fault; a process
that was killed for its memory is one, whatever the exit code says.
"""

from typing import Literal, NamedTuple

from pto_dispatcher_docker.body import Allowance
from pto_dispatcher_docker.daemon import DaemonRefused, NoImage, Seen
from pto_dispatcher_docker.limits import SHUTDOWN_S
from pto_harness.failure import KILLED, Failed
from pto_harness.process import Ended

Why = Literal["exited", "timeout", "cancelled", "full"]
BUILD = "Build it with deploy/docker/build.sh, or name another one (--docker-image, PTO_DOCKER_IMAGE); none is pulled."
SIGNALLED = (KILLED, 143, 255)
"""Exit codes of what was ended from outside: by SIGKILL, by SIGTERM, and by an engine that lost sight of it."""
NOT_STARTED = (126, 127, 128)


class Watch(NamedTuple):
    """What is known about how the container was watched."""

    why: Why = "exited"
    """What its dispatcher did to it."""
    is_unwatched: bool = False
    """Whether it ended while there was no dispatcher."""
    was_killed: bool = False
    """Whether somebody told it to end who is not its dispatcher."""
    lost_ms: int | None = None
    """Unix ms since when nobody can say that the engine was there all the time; None: it was."""
    limit_s: float = 0.0


def judged(seen: Seen, watch: Watch, what: str, allowed: Allowance, room_bytes: int) -> Ended | Failed:
    """How the container ended, in the harness's words, or why that is a failure of its own."""
    if watch.why == "full":
        hint = "Let it write less, or raise the limit of workspaces (PTO_DOCKER_WORKSPACE)."
        reason = f"{what} was ended because its workspace held more than {_mib(room_bytes)} or too many files"
        return Failed("task", reason, hint, seen.exit_code)
    if watch.why != "exited":
        return Ended(seen.exit_code, watch.why)
    if seen.oom_killed:
        hint = "Raise the task's memory (resources: memory), or let it use less; /tmp counts too."
        ended = "was killed" if seen.exit_code else "went on, but a process of it was killed"
        reason = f"{what} {ended} because it used up its memory of {_mib(allowed.memory_bytes)}"
        return Failed("task", reason, hint, seen.exit_code)
    if watch.was_killed:
        reason = f"{what} was told to end (exit code {seen.exit_code}), by a person or by the engine that was stopped"
        return Failed("infra", reason, exit_code=seen.exit_code)
    if (watch.is_unwatched or watch.lost_ms is not None) and (seen.exit_code or seen.status == "dead"):
        if seen.exit_code in SIGNALLED and _reached(seen, watch.limit_s):
            return Ended(seen.exit_code, "timeout")
        if _was_taken_along(seen, watch):
            reason = f"{what} was ended (exit code {seen.exit_code}) while the engine was not there, or nobody watched"
            return Failed("infra", reason, exit_code=seen.exit_code)
    if seen.error and seen.exit_code in NOT_STARTED:
        return refusal(DaemonRefused(400, seen.error), what, allowed)
    if seen.exit_code == KILLED:
        hint = "Containers that use up their memory end like that. Raise it (resources: memory), or let it use less."
        reason = f"{what} was killed (exit code {KILLED}), and the engine does not say who asked for that"
        return Failed("task", f"{reason}; it had a memory of {_mib(allowed.memory_bytes)}", hint, seen.exit_code)
    return Ended(seen.exit_code, "exited")


def refusal(refused: DaemonRefused, what: str, allowed: Allowance) -> Failed:
    """Why the engine made or started no container."""
    text = str(refused).strip()
    if isinstance(refused, NoImage):
        return Failed("config", f"there is no image {allowed.image} on this machine", BUILD)
    if "executable file not found" in text or ("no such file or directory" in text and "exec" in text):
        hint = f"Is the program in the image {allowed.image}?"
        return Failed("task", f"{what} cannot be started: {_last(text)}", hint, 127)
    if "permission denied" in text and "exec" in text:
        return Failed("task", f"{what} cannot be started: {_last(text)}", "Is it executable?", 126)
    if refused.status == 404 and "network" in text:
        hint = f"Make it (docker network create {allowed.network}), or name another one (--docker-network)."
        return Failed("config", f"there is no network {allowed.network}", hint)
    if "could not select device driver" in text:
        return Failed(
            "config", f"the engine has no GPUs for {what}: {text}", "Install its GPU support, or ask for none."
        )
    if "bind source path does not exist" in text:
        return Failed("infra", f"a folder of {what} is gone: {text}")
    if refused.status >= 500:
        return Failed("infra", f"the engine could not run {what}: {text}")
    return Failed(
        "config", f"the engine does not take {what}: {text}", "Mend what it names, in the plan or the settings."
    )


def _was_taken_along(seen: Seen, watch: Watch) -> bool:
    """Whether it ended because the engine did, as far as anybody can tell."""
    if seen.status == "dead" or seen.exit_code in SIGNALLED:
        return True
    return watch.lost_ms is not None and seen.finished_ms >= watch.lost_ms - SHUTDOWN_S * 1000


def _reached(seen: Seen, limit_s: float) -> bool:
    return bool(limit_s) and seen.finished_ms - seen.started_ms >= limit_s * 1000


def _last(text: str) -> str:
    return text.rsplit("exec: ", 1)[-1].removesuffix(": unknown")


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
