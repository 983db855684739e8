"""A service's settings from its environment: one table, read and checked whole.

Imports core, ports and proto. Invariants: all that is wrong is said at once, before anything starts; a secret is never
shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from pto_core.units import parse_memory_bytes, parse_time_s
from pto_ports.observer import UNOBSERVED, Observer
from pto_runtime.setting import (
    ENGINES,
    Setting,
    amount_by,
    as_address,
    as_blobs,
    as_capacity,
    as_cpus,
    as_engines,
    as_instance,
    as_path,
    as_processes,
    as_seconds,
    as_site,
    as_size,
    as_socket,
    number_in,
    one_of,
)

DEFAULT_CAPACITY = 16
"""Attempts one instance takes at once, unless told otherwise: threads that mostly wait for processes."""


class BadSettings(Exception):
    """Settings that cannot be used; the message names each with what to do, one per line."""


SETTINGS: dict[str, Setting] = {
    "url": Setting(name="NATS_URL", default="nats://127.0.0.1:4222", meaning="Where the broker listens."),
    "user": Setting(name="PTO_USER", default="", meaning="Account at the broker; default: the instance's name."),
    "password": Setting(name="PTO_PASSWORD", default="", meaning="Password of the account.", is_secret=True),
    "credentials": Setting(
        name="PTO_CREDS", default="", meaning="Credentials file, instead of a password.", parse=as_path
    ),
    "ca": Setting(name="PTO_CA", default="", meaning="CA certificate of the broker; turns on TLS.", parse=as_path),
    "cert": Setting(name="PTO_CERT", default="", meaning="Client certificate, for mutual TLS.", parse=as_path),
    "key": Setting(name="PTO_KEY", default="", meaning="Key of the client certificate.", parse=as_path),
    "instance": Setting(
        name="PTO_INSTANCE",
        default="",
        meaning="Name of this instance, stable over restarts; default: the service's own name.",
        parse=as_instance,
    ),
    "capacity": Setting(
        name="PTO_CAPACITY",
        default=str(DEFAULT_CAPACITY),
        meaning="Attempts that a dispatcher takes at once.",
        parse=as_capacity,
    ),
    "drain_s": Setting(
        name="PTO_DRAIN_S",
        default="0",
        meaning="Seconds that a dispatcher's attempts may go on after SIGTERM, while it takes nothing new.",
        parse=as_seconds,
    ),
    "work_dir": Setting(
        name="PTO_WORK_DIR",
        default="work/{run}",
        meaning="Folder of a run's workspaces; {run} stands for the run's id.",
        parse=Path,
    ),
    "blobs": Setting(
        name="PTO_BLOBS", default="nats", meaning="Where blobs are: nats, or dir:FOLDER on one host.", parse=as_blobs
    ),
    "snapshots": Setting(
        name="PTO_SNAPSHOT_DIR",
        default="snapshots",
        meaning="Folder of the scheduler's snapshots: a start from one need not read the whole log.",
        parse=Path,
    ),
    "engines": Setting(
        name="PTO_ENGINES",
        default=",".join(ENGINES),
        meaning="Engines that planner and dispatcher offer, as far as they can be used.",
        parse=as_engines,
    ),
    "provider": Setting(
        name="PTO_MODEL_PROVIDER",
        default="anthropic",
        meaning="Who is asked for models: anthropic or bedrock.",
        parse=one_of("anthropic", "bedrock"),
    ),
    "model": Setting(name="PTO_MODEL", default="", meaning="Model of runs that name none; default: the provider's."),
    "claude_code": Setting(
        name="PTO_CLAUDE_CODE", default="", meaning="Program of Claude Code; default: the one on the PATH."
    ),
    "prices": Setting(name="PTO_PRICES", default="", meaning="File that replaces list prices.", parse=as_path),
    "docker_socket": Setting(
        name="PTO_DOCKER_SOCKET",
        default="/var/run/docker.sock",
        meaning="Where the container engine of this host listens.",
        parse=as_socket,
    ),
    "docker_image": Setting(
        name="PTO_DOCKER_IMAGE",
        default="parallel-orchestrator:latest",
        meaning="Image of containers for runs that name none; it is never pulled.",
    ),
    "docker_network": Setting(
        name="PTO_DOCKER_NETWORK",
        default="bridge",
        meaning="Network of containers for runs that name none; none for no network at all.",
    ),
    "docker_memory": Setting(
        name="PTO_DOCKER_MEMORY", default="4G", meaning="Memory of a container whose task names none.", parse=as_size
    ),
    "docker_cpus": Setting(
        name="PTO_DOCKER_CPUS",
        default="2",
        meaning="Processors of a container whose task names none; 0: all.",
        parse=as_cpus,
    ),
    "docker_pids": Setting(
        name="PTO_DOCKER_PIDS", default="512", meaning="Processes and threads of a container.", parse=as_processes
    ),
    "docker_workspace": Setting(
        name="PTO_DOCKER_WORKSPACE",
        default="10G",
        meaning="What a container's workspace may take on the disk, but never more than half of what is free.",
        parse=as_size,
    ),
    "http": Setting(
        name="PTO_HTTP",
        default="",
        meaning="HOST:PORT of /healthz, /readyz and /metrics; empty: none.",
        parse=as_address,
    ),
    "slurm_site": Setting(
        name="PTO_SLURM_SITE", default="default", meaning="The cluster's name: its lane is slurm-NAME.", parse=as_site
    ),
    "slurm_spool": Setting(
        name="PTO_SLURM_SPOOL",
        default="",
        meaning="Folder that the compute nodes mount at the same path; default: slurm beside PTO_SNAPSHOT_DIR.",
        parse=as_path,
    ),
    "slurm_mode": Setting(
        name="PTO_SLURM_MODE",
        default="jobs",
        meaning="jobs: one job per task; pilot: a few jobs work through many tasks.",
        parse=one_of("jobs", "pilot"),
    ),
    "slurm_pilots": Setting(
        name="PTO_SLURM_PILOTS",
        default="0",
        meaning="Pilots that may be there at once, in mode pilot; 0: as many as attempts at once.",
        parse=number_in(0, 1000),
    ),
    "slurm_poll_s": Setting(
        name="PTO_SLURM_POLL_S",
        default="10",
        meaning="Seconds between two looks at the queue; longer while nothing changes.",
        parse=number_in(0.2, 600),
    ),
    "slurm_rate": Setting(
        name="PTO_SLURM_SUBMIT_RATE", default="2", meaning="Jobs submitted per second.", parse=number_in(0.01, 1000)
    ),
    "slurm_burst": Setting(
        name="PTO_SLURM_SUBMIT_BURST", default="10", meaning="Jobs submitted at once.", parse=number_in(1, 1000)
    ),
    "slurm_python": Setting(
        name="PTO_SLURM_PYTHON", default="python3", meaning="Python of the compute nodes, 3.8 or newer."
    ),
    "slurm_agent_python": Setting(
        name="PTO_SLURM_AGENT_PYTHON",
        default="",
        meaning="Python of the compute nodes that has this distribution, for agents; default: the dispatcher's own.",
    ),
    "slurm_max_memory": Setting(
        name="PTO_SLURM_MAX_MEMORY",
        default="",
        meaning="What a retry after too little memory may ask for; default: twice what the attempt had.",
        parse=amount_by(parse_memory_bytes, "4G"),
    ),
    "slurm_max_time": Setting(
        name="PTO_SLURM_MAX_TIME",
        default="",
        meaning="What a retry after too little time may ask for; default: half as much again as the attempt had.",
        parse=amount_by(parse_time_s, "HH:MM:SS"),
    ),
    "log_format": Setting(
        name="PTO_LOG_FORMAT", default="json", meaning="json or plain.", parse=one_of("json", "plain")
    ),
    "log_level": Setting(
        name="PTO_LOG_LEVEL",
        default="info",
        meaning="debug, info, warning or error.",
        parse=one_of("debug", "info", "warning", "error"),
    ),
}
"""Field of ``Settings`` -> the variable it comes from. docs/howto/separate-services.md names them all."""


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
    slurm_poll_s: float = 10.0
    slurm_rate: float = 2.0
    slurm_burst: float = 10.0
    slurm_python: str = "python3"
    slurm_agent_python: str = ""
    slurm_max_memory: str = ""
    slurm_max_time: str = ""
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
