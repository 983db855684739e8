"""Plans and tasks: the values inside requests and events, and the schema of ``execution_plan.json``.

Imports msgspec only. Invariant: every field is plain data that means the same on every host (no paths of a host, no
secrets). The rules a plan must obey are checked in ``pto_core.plan_check``, not by these types.
"""

from typing import Any

import msgspec

from pto_proto.ids import TaskId


class Resources(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What one attempt of a task may use. Zero or empty means "the backend's default"."""

    cpus: int = 0
    memory: str = ""
    """Bytes with an optional binary suffix K, M, G or T, such as ``4G``."""
    gpus: int = 0
    time: str = ""
    """Wall-clock limit: seconds (``90``), ``MM:SS``, ``HH:MM:SS`` or ``D-HH:MM:SS`` as SLURM writes it."""


class SlurmOptions(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Overrides of the run's SLURM settings for one task."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""


class DockerOptions(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a run's containers are made of. Empty means "the dispatcher's default"."""

    image: str = ""
    network: str = ""


class TaskSpec(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One task of a plan: exactly one of ``agent``, ``command`` and ``noop`` says what it does."""

    id: TaskId
    title: str = ""
    agent: str = ""
    """Instructions for an agent."""
    command: str | tuple[str, ...] = ""
    """Shell text for ``/bin/sh -c``, or an argument vector that is started as it stands."""
    noop: bool = False
    depends_on: tuple[TaskId, ...] = ()
    inputs: tuple[str, ...] = ()
    """Globs relative to the plan file; the matching files appear in the task's workspace."""
    outputs: tuple[str, ...] = ()
    """Globs in the workspace; each must match a file. Empty: every new or changed file is an output."""
    writes: tuple[str, ...] = ()
    """Globs an agent may write."""
    checks: tuple[str, ...] = ()
    """Shell commands that the harness runs in the workspace; each must exit with 0."""
    resources: Resources = Resources()
    slurm: SlurmOptions = SlurmOptions()
    backend: str = ""
    """Backend of this task; empty: the run's."""
    env: tuple[str, ...] = ()
    """Names of environment variables that are passed through from the dispatcher."""
    retries: int | None = None
    """Retries after a failure of the task itself; None: the run's ``max_retries``."""
    estimate_s: float | None = None
    """Expected duration in seconds, for the order of hand-out only."""
    matrix: dict[str, tuple[Any, ...]] = {}
    """Parameter name -> values; one task per combination. Empty after expansion."""


class Plan(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A named set of tasks with dependencies: the content of ``execution_plan.json`` and of ``--plan FILE``."""

    name: str = ""
    tasks: tuple[TaskSpec, ...]
    inputs: tuple[str, ...] = ()
    """Globs relative to the plan file, for every task."""
    checks: tuple[str, ...] = ()
    """Shell commands that are run on the merged tree."""


class InputFile(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One file that the requester stored for a run; the list of them is the blob that ``inputs_digest`` names."""

    path: str
    """Relative to the plan file, ``/``-separated, confined below it."""
    sha256: str
    size: int
    mode: int = 0o644


class Problem(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One thing that is wrong in what somebody asked for: where it is and, in one sentence, what is wrong and what to
    do.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what
