"""The environment variables that settings come from: one table of names, defaults, meanings and parsers.

Imports core and proto. Invariant: a parser raises ValueError with what the value must be, never with the value itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_core.lanes import cluster_lane
from pto_core.limits import MAX_TASKS, REQUEST_BYTES_PER_MINUTE, REQUESTS_PER_MINUTE
from pto_core.units import parse_memory_bytes, parse_time_s
from pto_proto.ids import is_instance_id, is_lane

ENGINES = ("simulated", "api", "claude-code")
MAX_PORT = 65_535
MAX_SITE_CHARS = 48
MAX_DRAIN_S = 7 * 86_400
DEFAULT_CAPACITY = 16
"""Attempts one instance takes at once, unless told otherwise: threads that mostly wait for processes."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One environment variable."""

    name: str
    default: str
    meaning: str
    parse: Callable[[str], Any] = str
    is_secret: bool = False


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > 20 or not least <= int(text) <= most:
            raise ValueError(f"must be a number from {least} to {most}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not text.isdigit() or int(text) > MAX_DRAIN_S:
        raise ValueError(f"must be a number of seconds up to {MAX_DRAIN_S}")
    return float(text)


def _instance(text: str) -> str:
    if text and not is_instance_id(text):
        raise ValueError("must be 1-64 characters of a-z, 0-9 and -")
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _engines(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not names or not set(names) <= set(ENGINES):
        raise ValueError(f"must name some of {', '.join(ENGINES)}")
    return names


def _blobs(text: str) -> str:
    if text != "nats" and not (text.startswith("dir:") and len(text) > len("dir:")):
        raise ValueError("must be nats or dir:FOLDER")
    return text


def _size(text: str) -> int:
    try:
        return parse_memory_bytes(text)
    except ValueError:
        raise ValueError("must be a size such as 512M or 4G") from None


def _cpus(text: str) -> float:
    try:
        cpus = float(text)
    except ValueError:
        cpus = -1.0
    if not 0 <= cpus <= 10_000:
        raise ValueError("must be a number of processors such as 2 or 0.5, or 0 for all")
    return cpus


def _processes(text: str) -> int:
    if not text.isdigit() or not 16 <= int(text) <= 1_000_000:
        raise ValueError("must be a number from 16 to 1000000")
    return int(text)


def _socket(text: str) -> str:
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        raise ValueError("must be a socket of this host, such as /var/run/docker.sock")
    return path


def _address(text: str) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":")
    if not text:
        return None
    if not colon or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError("must be HOST:PORT such as 127.0.0.1:9464")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the host out


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _site(text: str) -> str:
    if not is_lane(f"slurm-{text}") or len(text) > MAX_SITE_CHARS:
        raise ValueError(f"must be 1-{MAX_SITE_CHARS} characters of a-z, 0-9 and -")
    return text


def _cluster(text: str) -> str:
    if text:
        cluster_lane(text)
    return text


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [pair.partition(":") for pair in text.replace(",", " ").split()]
    if not all(here and there for here, _, there in pairs):
        raise ValueError("must be pairs of queues such as spot:ondemand")
    return tuple((here, there) for here, _, there in pairs)


def _amount(parse_amount: Callable[[str], object], example: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            if text:
                parse_amount(text)
        except ValueError as error:
            raise ValueError(f"must be written as {example}") from error
        return text

    return parse


SETTINGS: dict[str, Setting] = {
    "url": Setting(
        name="NATS_URL",
        default="nats://127.0.0.1:4222",
        meaning="Where the broker listens; the servers of a cluster with commas between them.",
    ),
    "user": Setting(name="PTO_USER", default="", meaning="Account at the broker; default: the instance's name."),
    "password": Setting(name="PTO_PASSWORD", default="", meaning="Password of the account.", is_secret=True),
    "credentials": Setting(
        name="PTO_CREDS",
        default="",
        meaning="Credentials file (an nkey's seed, or a JWT) of the account, instead of a password.",
        parse=_path,
    ),
    "ca": Setting(name="PTO_CA", default="", meaning="CA certificate of the broker; turns on TLS.", parse=_path),
    "cert": Setting(name="PTO_CERT", default="", meaning="Client certificate, for mutual TLS.", parse=_path),
    "key": Setting(name="PTO_KEY", default="", meaning="Key of the client certificate.", parse=_path),
    "instance": Setting(
        name="PTO_INSTANCE",
        default="",
        meaning="Name of this instance, stable over restarts; default: the service's own name.",
        parse=_instance,
    ),
    "capacity": Setting(
        name="PTO_CAPACITY",
        default=str(DEFAULT_CAPACITY),
        meaning="Attempts that a dispatcher takes at once.",
        parse=_whole(1, 10_000),
    ),
    "drain_s": Setting(
        name="PTO_DRAIN_S",
        default="0",
        meaning="Seconds that a dispatcher's attempts may go on after SIGTERM, while it takes nothing new.",
        parse=_seconds,
    ),
    "work_dir": Setting(
        name="PTO_WORK_DIR",
        default="work/{run}",
        meaning="Folder of a run's workspaces; {run} stands for the run's id.",
        parse=Path,
    ),
    "blobs": Setting(
        name="PTO_BLOBS", default="nats", meaning="Where blobs are: nats, or dir:FOLDER on one host.", parse=_blobs
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
        parse=_engines,
    ),
    "provider": Setting(
        name="PTO_MODEL_PROVIDER",
        default="anthropic",
        meaning="Who is asked for models: anthropic or bedrock.",
        parse=_one_of("anthropic", "bedrock"),
    ),
    "model": Setting(name="PTO_MODEL", default="", meaning="Model of runs that name none; default: the provider's."),
    "claude_code": Setting(
        name="PTO_CLAUDE_CODE", default="", meaning="Program of Claude Code; default: the one on the PATH."
    ),
    "prices": Setting(name="PTO_PRICES", default="", meaning="File that replaces list prices.", parse=_path),
    "quota_requests": Setting(
        name="PTO_QUOTA_REQUESTS",
        default=str(REQUESTS_PER_MINUTE),
        meaning="Scheduler: requests of one requester in a minute; operators are not counted.",
        parse=_whole(1, 1_000_000),
    ),
    "quota_bytes": Setting(
        name="PTO_QUOTA_BYTES",
        default=str(REQUEST_BYTES_PER_MINUTE),
        meaning="Scheduler: bytes of one requester's requests in a minute.",
        parse=_whole(1, 1 << 40),
    ),
    "quota_tasks": Setting(
        name="PTO_QUOTA_TASKS",
        default=str(MAX_TASKS),
        meaning="Scheduler: tasks of a plan that a requester brings.",
        parse=_whole(1, MAX_TASKS),
    ),
    "docker_socket": Setting(
        name="PTO_DOCKER_SOCKET",
        default="/var/run/docker.sock",
        meaning="Where the container engine of this host listens.",
        parse=_socket,
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
        name="PTO_DOCKER_MEMORY", default="4G", meaning="Memory of a container whose task names none.", parse=_size
    ),
    "docker_cpus": Setting(
        name="PTO_DOCKER_CPUS",
        default="2",
        meaning="Processors of a container whose task names none; 0: all.",
        parse=_cpus,
    ),
    "docker_pids": Setting(
        name="PTO_DOCKER_PIDS", default="512", meaning="Processes and threads of a container.", parse=_processes
    ),
    "docker_workspace": Setting(
        name="PTO_DOCKER_WORKSPACE",
        default="10G",
        meaning="What a container's workspace may take on the disk, but never more than half of what is free.",
        parse=_size,
    ),
    "http": Setting(
        name="PTO_HTTP",
        default="",
        meaning="HOST:PORT of /healthz, /readyz and /metrics; empty: none.",
        parse=_address,
    ),
    "slurm_site": Setting(
        name="PTO_SLURM_SITE", default="default", meaning="The cluster's name: its lane is slurm-NAME.", parse=_site
    ),
    "slurm_spool": Setting(
        name="PTO_SLURM_SPOOL",
        default="",
        meaning="Folder that the compute nodes mount at the same path; default: slurm beside PTO_SNAPSHOT_DIR.",
        parse=_path,
    ),
    "slurm_mode": Setting(
        name="PTO_SLURM_MODE",
        default="jobs",
        meaning="jobs: one job per task; pilot: a few jobs work through many tasks.",
        parse=_one_of("jobs", "pilot"),
    ),
    "slurm_pilots": Setting(
        name="PTO_SLURM_PILOTS",
        default="0",
        meaning="Pilots that may be there at once, in mode pilot; 0: as many as attempts at once.",
        parse=_number(0, 1000),
    ),
    "slurm_lookahead": Setting(
        name="PTO_SLURM_LOOKAHEAD",
        default="0",
        meaning="Jobs of a run submitted before their tasks' turns, to wait in the queue for their parents' jobs.",
        parse=_number(0, 1000),
    ),
    "slurm_order_wait_s": Setting(
        name="PTO_SLURM_ORDER_WAIT_S",
        default="60",
        meaning="Seconds that a job which was submitted early waits, once it runs, for its task's turn.",
        parse=_number(1, 3600),
    ),
    "slurm_poll_s": Setting(
        name="PTO_SLURM_POLL_S",
        default="10",
        meaning="Seconds between two looks at the queue; longer while nothing changes.",
        parse=_number(0.2, 600),
    ),
    "slurm_rate": Setting(
        name="PTO_SLURM_SUBMIT_RATE", default="2", meaning="Jobs submitted per second.", parse=_number(0.01, 1000)
    ),
    "slurm_burst": Setting(
        name="PTO_SLURM_SUBMIT_BURST", default="10", meaning="Jobs submitted at once.", parse=_number(1, 1000)
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
        parse=_amount(parse_memory_bytes, "4G"),
    ),
    "slurm_max_time": Setting(
        name="PTO_SLURM_MAX_TIME",
        default="",
        meaning="What a retry after too little time may ask for; default: half as much again as the attempt had.",
        parse=_amount(parse_time_s, "HH:MM:SS"),
    ),
    "aws_cluster": Setting(name="PTO_AWS_CLUSTER", default="", meaning="Name of the ParallelCluster.", parse=_cluster),
    "aws_region": Setting(name="PTO_AWS_REGION", default="eu-central-1", meaning="Region of cluster and bucket."),
    "aws_bucket": Setting(name="PTO_AWS_BUCKET", default="", meaning="Bucket of states, tasks, results and outputs."),
    "aws_on_demand": Setting(
        name="PTO_AWS_ON_DEMAND",
        default="",
        meaning="Spot queues and where their tasks go after two losses, such as spot:ondemand,gpu-spot:gpu.",
        parse=_pairs,
    ),
    "aws_capacity_retry_s": Setting(
        name="PTO_AWS_CAPACITY_RETRY_S",
        default="600",
        meaning="Seconds until instances are asked for again where there were none; ParallelCluster waits as long.",
        parse=_number(1, 86_400),
    ),
    "log_format": Setting(
        name="PTO_LOG_FORMAT", default="json", meaning="json or plain.", parse=_one_of("json", "plain")
    ),
    "log_level": Setting(
        name="PTO_LOG_LEVEL",
        default="info",
        meaning="debug, info, warning or error.",
        parse=_one_of("debug", "info", "warning", "error"),
    ),
}
"""Field of ``Settings`` -> the variable it comes from. docs/reference/settings.md is made of it."""
