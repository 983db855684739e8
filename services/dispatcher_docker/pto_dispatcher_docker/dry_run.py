"""What would be started for tasks, as text: containers of one shape together, and what confines all of them.

Imports core, proto, runtime and siblings. Invariant: what is shown is made by the function that makes containers.
"""

import os
from collections.abc import Iterator, Sequence

from pto_dispatcher_docker.body import Allowance, Part, allowance, render_body
from pto_dispatcher_docker.site import container_user
from pto_proto.plans import DockerOptions, TaskSpec
from pto_runtime.settings import Settings

SHOWN_TASKS = 6
_MIB = 2**20


def dry_run_lines(tasks: Sequence[TaskSpec], asked: DockerOptions, settings: Settings) -> Iterator[str]:
    """Lines about the containers of these tasks."""
    defaults = default_allowance(settings)
    shapes: dict[Allowance, list[str]] = {}
    for task in tasks:
        shapes.setdefault(allowance(defaults, asked, task.resources), []).append(task.id)
    for allowed, names in shapes.items():
        more = f" and {len(names) - SHOWN_TASKS} more" if len(names) > SHOWN_TASKS else ""
        yield f"containers of {allowed.image} for {', '.join(names[:SHOWN_TASKS])}{more}:"
        yield f"    {_room(allowed)}"
        yield f"    {_confinement(allowed)}"


def default_allowance(settings: Settings) -> Allowance:
    """What a container is made of and may use where neither its task nor its run says anything."""
    return Allowance(
        image=settings.docker_image,
        network=settings.docker_network,
        memory_bytes=settings.docker_memory,
        cpus=min(settings.docker_cpus, os.cpu_count() or 1),
        pids=settings.docker_pids,
    )


def _room(allowed: Allowance) -> str:
    cpus = f"{allowed.cpus:g} processors" if allowed.cpus else "all processors"
    gpus = f", {allowed.gpus} GPUs" if allowed.gpus else ""
    memory = f"{allowed.memory_bytes // _MIB} MiB of memory"
    return f"{memory}, {cpus}{gpus}, at most {allowed.pids} processes, network {allowed.network}"


def _confinement(allowed: Allowance) -> str:
    body = render_body(Part(name="", labels={}, argv=(), environment={}, mounts=()), allowed, container_user())
    host = body["HostConfig"]
    words = [f"user {body['User']}"]
    words += ["read-only root"] if host["ReadonlyRootfs"] else []
    words += ["no capabilities"] if host["CapDrop"] == ["ALL"] and not host.get("CapAdd") else []
    words += host["SecurityOpt"]
    return ", ".join(words)
