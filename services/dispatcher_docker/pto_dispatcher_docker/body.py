"""What a container is made of: an order and the dispatcher's settings in the words of the engine's API. Pure.

Imports core, ports and proto. Invariant: every container is confined the same way, whatever it runs: read-only root, no
capabilities, no new privileges, no root, bounded memory, processes, output and /tmp, and no secret in what the engine
shows of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pto_core.units import parse_memory_bytes
from pto_dispatcher_docker.limits import LOG_BYTES, LOG_FILES, TMP_BYTES
from pto_ports.backend import Order
from pto_proto.ids import external_name
from pto_proto.plans import DockerOptions, Resources

WORKSPACE = "/workspace"
JOB, ANSWER, PRIVATE, EARLIER = "/run/pto/job", "/run/pto/out", "/run/pto/private", "/run/pto/earlier"
OWNER, RUN, TASK, ROUND, ATTEMPT, PART = "pto.owner", "pto.run", "pto.task", "pto.round", "pto.attempt", "pto.part"
WORK = "work"
VARIABLES = f"{PRIVATE}/variables.sh"


class Mount(NamedTuple):
    """A folder of this host, seen inside."""

    source: str
    target: str
    is_read_only: bool = False


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one container is made of and may use."""

    image: str
    network: str
    memory_bytes: int
    cpus: float
    """0: as many as there are."""
    pids: int
    gpus: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One container of an attempt: its work, or one of its checks."""

    name: str
    labels: Mapping[str, str]
    argv: Sequence[str]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]


def allowance(defaults: Allowance, options: DockerOptions, resources: Resources) -> Allowance:
    """The task's word first, then the run's, then the dispatcher's."""
    return Allowance(
        image=options.image or defaults.image,
        network=options.network or defaults.network,
        memory_bytes=parse_memory_bytes(resources.memory) if resources.memory else defaults.memory_bytes,
        cpus=float(resources.cpus) or defaults.cpus,
        pids=defaults.pids,
        gpus=resources.gpus,
    )


def render_body(part: Part, allowed: Allowance, user: tuple[int, int]) -> dict[str, Any]:
    """The body of the call that creates the container."""
    host: dict[str, Any] = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "Init": True,
        "IpcMode": "private",
        "NetworkMode": allowed.network,
        "Memory": allowed.memory_bytes,
        "MemorySwap": allowed.memory_bytes,
        "NanoCpus": round(allowed.cpus * 1_000_000_000),
        "PidsLimit": allowed.pids,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,exec,size={TMP_BYTES},mode=1777"},  # noqa: S108 - the container's own
        "Mounts": [
            {"Type": "bind", "Source": source, "Target": target, "ReadOnly": is_read_only}
            for source, target, is_read_only in part.mounts
        ],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(LOG_BYTES), "max-file": str(LOG_FILES)}},
        "RestartPolicy": {"Name": "no"},
    }
    if allowed.gpus:
        host["DeviceRequests"] = [{"Driver": "", "Count": allowed.gpus, "Capabilities": [["gpu"]]}]
    return {
        "Image": allowed.image,
        "User": "{}:{}".format(*user),
        "WorkingDir": WORKSPACE,
        "Env": [f"{name}={value}" for name, value in sorted(part.environment.items())],
        "Labels": dict(part.labels),
        # Whatever the image would do by itself is not done.
        "Entrypoint": [],
        "Cmd": list(part.argv),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "HostConfig": host,
    }


def argv_of(command: str | Sequence[str], *, has_variables: bool) -> list[str]:
    """What the container runs: the command itself, behind a shell that reads its variables if it has any."""
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    return ["/bin/sh", "-c", f'. {VARIABLES} && exec "$@"', "sh", *argv] if has_variables else argv


def render_variables(variables: Mapping[str, str]) -> str:
    """The file that the shell reads them from."""
    return "".join(
        "export {}='{}'\n".format(name, value.replace("'", "'\\''")) for name, value in sorted(variables.items())
    )


def name_of(order: Order, part: str = WORK) -> str:
    """The container's name, the same after every restart."""
    ready = order.ready
    name = external_name(order.run, ready.task, ready.attempt, ready.round)
    return name if part == WORK else f"{name}-{part}"


def labels_of(order: Order, owner: str, part: str = WORK) -> dict[str, str]:
    """The whole identity of which the name is a hash, and whose it is."""
    ready = order.ready
    return {
        OWNER: owner,
        RUN: order.run,
        TASK: ready.task,
        ROUND: str(ready.round),
        ATTEMPT: str(ready.attempt),
        PART: part,
    }


def container_environment(order: Order) -> dict[str, str]:
    """What every process of the attempt may know; nothing of this host's own environment."""
    ready = order.ready
    return {
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "LANG": "C.UTF-8",
        # By-products must not look like outputs, and output must come as it is written.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PTO_RUN": order.run,
        "PTO_TASK": ready.task,
        "PTO_ATTEMPT": str(ready.attempt),
        "PTO_SLOT": str(ready.slot),
        "PTO_ATTEMPT_ID": external_name(order.run, ready.task, ready.attempt, ready.round),
    }
