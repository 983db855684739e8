"""A service's settings from its environment: one table, read and checked whole.

Imports core, ports and variables. Invariants: all that is wrong is said at once, before anything starts; a secret is
never shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from pto_core.limits import MAX_TASKS, REQUEST_BYTES_PER_MINUTE, REQUESTS_PER_MINUTE
from pto_ports.observer import UNOBSERVED, Observer
from pto_runtime.variables import DEFAULT_CAPACITY, ENGINES, SETTINGS


class BadSettings(Exception):
    """Settings that cannot be used; the message names each with what to do, one per line."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a service was told."""

    url: str
    user: str
    password: str = field(repr=False)
    credentials: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    instance: str
    capacity: int = DEFAULT_CAPACITY
    drain_s: float = 0.0
    work_dir: Path = Path("work/{run}")
    blobs: str = "nats"
    snapshots: Path = Path("snapshots")
    engines: tuple[str, ...] = ENGINES
    provider: str = "anthropic"
    model: str = ""
    claude_code: str = ""
    prices: Path | None = None
    quota_requests: int = REQUESTS_PER_MINUTE
    quota_bytes: int = REQUEST_BYTES_PER_MINUTE
    quota_tasks: int = MAX_TASKS
    docker_socket: str = "/var/run/docker.sock"
    docker_image: str = "parallel-orchestrator:latest"
    docker_network: str = "bridge"
    docker_memory: int = 4 * 1024**3
    docker_cpus: float = 2.0
    docker_pids: int = 512
    docker_workspace: int = 10 * 1024**3
    http: tuple[str, int] | None = None
    slurm_site: str = "default"
    slurm_spool: Path | None = None
    slurm_mode: str = "jobs"
    slurm_pilots: float = 0
    slurm_lookahead: float = 0
    slurm_order_wait_s: float = 60.0
    slurm_poll_s: float = 10.0
    slurm_rate: float = 2.0
    slurm_burst: float = 10.0
    slurm_python: str = "python3"
    slurm_agent_python: str = ""
    slurm_max_memory: str = ""
    slurm_max_time: str = ""
    aws_cluster: str = ""
    aws_region: str = "eu-central-1"
    aws_bucket: str = ""
    aws_on_demand: tuple[tuple[str, str], ...] = ()
    aws_capacity_retry_s: float = 600.0
    log_format: str = "json"
    log_level: str = "info"
    observer: Observer = UNOBSERVED
    """Who watches the service; no variable's business."""

    def access(self) -> "Access":
        """What opening a session at the broker takes, besides its address."""
        return Access(
            user=self.user,
            password=self.password,
            credentials=self.credentials,
            ca=self.ca,
            cert=self.cert,
            key=self.key,
            name=self.instance,
        )

    @property
    def slurm_folder(self) -> Path:
        """The spool, absolute: its path is the same on every node."""
        return (self.slurm_spool or self.snapshots.parent / "slurm").absolute()

    @property
    def slurm_jobs_ahead(self) -> int:
        """Jobs of each run that may be submitted before their tasks' turns; pilots need none."""
        return 0 if self.slurm_mode == "pilot" else int(self.slurm_lookahead)

    @property
    def slurm_pilot_jobs(self) -> int:
        """Pilots that may be there at once; 0: every task has a job of its own."""
        return (int(self.slurm_pilots) or self.capacity) if self.slurm_mode == "pilot" else 0

    @property
    def blob_folder(self) -> Path | None:
        """The folder of the blobs on this host; None: they are in the broker."""
        return None if self.blobs == "nats" else Path(self.blobs.removeprefix("dir:"))

    def work_folder(self, run: str) -> Path:
        """Where the workspaces of this run lie."""
        return Path(str(self.work_dir).replace("{run}", run))


class Access(TypedDict):
    """How an account proves who it is."""

    user: str
    password: str
    credentials: Path | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    name: str


def read_settings(environment: Mapping[str, str], service: str) -> Settings:
    """The settings of the service with this name, such as ``scheduler``. Raises BadSettings."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, setting in SETTINGS.items():
        text = environment.get(setting.name, "") or setting.default
        try:
            values[name] = setting.parse(text)
        except ValueError as error:
            shown = "" if setting.is_secret else f", not {text!r}"
            problems.append(f"{setting.name} {error}{shown}")
    for name in ("credentials", "ca", "cert", "key", "prices"):
        path = values.get(name)
        if path is not None and not path.is_file():
            problems.append(f"{SETTINGS[name].name}: there is no file {path}")
    if values.get("credentials") and values.get("password"):
        problems.append("PTO_CREDS and PTO_PASSWORD are both set: use one of them")
    if problems:
        raise BadSettings("\n".join(problems))
    values["instance"] = values["instance"] or service
    values["user"] = values["user"] or values["instance"]
    return Settings(**values)
