"""The flags of ``orchestrator run`` as a table: the parser, the checks and the reference page are made from it.

Imports the standard library only. Invariant: nothing is decided here; every value stays the text that was typed, so
that all that is wrong can be said at once by ``options``.
"""

import argparse
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Needs = Literal["", "docker", "slurm", "aws", "provider"]
"""Which backend a flag belongs to, ``slurm``'s to ``aws`` as well; ``provider``: the model's provider, valid with every
backend, like what belongs to none."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag. Without ``value`` it is a switch."""

    name: str
    help: str
    group: str
    short: str = ""
    value: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    needs: Needs = ""
    is_secret: bool = False

    @property
    def field(self) -> str:
        """Its name in the parsed namespace."""
        return self.name.removeprefix("--").replace("-", "_")


_GENERAL = "General options"
_BACKEND = "Backend (default: this machine)"
_DOCKER = "Docker options"
_SLURM = "SLURM options (with --slurm or --aws)"
_AWS = "AWS ParallelCluster options (with --aws)"
_ENGINE = "Engine options"

FLAGS: tuple[Flag, ...] = (
    Flag(name="--plan", value="FILE", group=_GENERAL, help="run this plan (YAML or JSON) instead of REQUIREMENTS"),
    Flag(name="--output-dir", short="-o", value="DIR", group=_GENERAL,
         help="output folder (default: outputs/parallel-orchestrator/<name>)"),
    Flag(name="--force", group=_GENERAL, help="use DIR although it is not empty; its old content is kept aside"),
    Flag(name="--max-executors", short="-m", value="N", default="5", group=_GENERAL, help="most tasks at once"),
    Flag(name="--max-retries", value="N", default="3", group=_GENERAL, help="retries of a failed task"),
    Flag(name="--on-failure", value="WHAT", default="continue", choices=("continue", "stop"), group=_GENERAL,
         help="after a task failed for good: continue with what does not need it, or stop"),
    Flag(name="--on-conflict", value="WHAT", default="fail", choices=("fail", "latest", "keep-both"), group=_GENERAL,
         help="when two tasks made the same file: fail, latest or keep-both"),
    Flag(name="--sandbox", value="WHAT", default="agents", choices=("all", "agents", "none"), group=_GENERAL,
         help="what runs sandboxed: all, agents or none"),
    Flag(name="--dry-run", group=_GENERAL, help="show the plan and start nothing"),
    Flag(name="--approve", group=_GENERAL, help="show the plan and wait until it is approved, edited or rejected"),
    Flag(name="--reuse", group=_GENERAL, help="take over finished work of earlier runs"),
    Flag(name="--detach", group=_GENERAL, help="print the run's id and leave; follow with `orchestrator watch RUN`"),
    Flag(name="--nats-url", value="URL", group=_GENERAL,
         help="ask the services at this broker (env NATS_URL; account: PTO_USER, PTO_PASSWORD, PTO_CREDS, PTO_CA)"),
    Flag(name="--json", group=_GENERAL, help="print events and the summary as JSON lines"),
    Flag(name="--verbose", short="-v", group=_GENERAL, help="say more: what tasks print, too"),
    Flag(name="--quiet", short="-q", group=_GENERAL, help="say nothing but problems"),
    Flag(name="--engine", value="NAME", default="simulated", choices=("simulated", "api", "claude-code"),
         group=_ENGINE, help="who plans and does agents' work: simulated, api or claude-code"),
    Flag(name="--real", group=_ENGINE, help="use a real model (--engine api)"),
    Flag(name="--model", value="MODEL", group=_ENGINE, help="model of the engine (default: the engine's own)"),
    Flag(name="--max-cost", value="USD", group=_ENGINE, help="pause and ask before spending more US dollars than this"),
    Flag(name="--docker", group=_BACKEND, help="run each task in a Docker container"),
    Flag(name="--slurm", group=_BACKEND, help="run each task as a SLURM job"),
    Flag(name="--aws", group=_BACKEND, help="run each task as a job of an AWS ParallelCluster"),
    Flag(name="--docker-planner-in-docker", group=_DOCKER,
         help="run the planner in a container, too; valid with every backend"),
    Flag(name="--docker-use-bedrock", group=_DOCKER, needs="provider", help="use AWS Bedrock instead of the API"),
    Flag(name="--docker-bedrock-region", value="REGION", default="eu-central-1", group=_DOCKER, needs="provider",
         help="AWS region of Bedrock"),
    Flag(name="--docker-bedrock-model", value="MODEL", group=_DOCKER, needs="provider",
         default="global.anthropic.claude-sonnet-4-5-20250929-v1:0", help="model id on Bedrock"),
    Flag(name="--docker-image", value="IMAGE", default="parallel-orchestrator:latest", group=_DOCKER, needs="docker",
         help="image of the containers; it must be there, nothing is pulled"),
    Flag(name="--docker-network", value="NETWORK", group=_DOCKER, needs="docker",
         help="network of the containers, such as none (default: the dispatcher's)"),
    Flag(name="--docker-aws-access-key-id", value="KEY", group=_DOCKER, needs="provider", is_secret=True,
         help="AWS access key id; better in the environment"),
    Flag(name="--docker-aws-secret-access-key", value="KEY", group=_DOCKER, needs="provider", is_secret=True,
         help="AWS secret access key; better in the environment"),
    Flag(name="--docker-aws-session-token", value="TOKEN", group=_DOCKER, needs="provider", is_secret=True,
         help="AWS session token; better in the environment"),
    Flag(name="--slurm-partition", value="NAME", default="default", group=_SLURM, needs="slurm",
         help="partition; default means the cluster's own"),
    Flag(name="--slurm-time", value="TIME", default="01:00:00", group=_SLURM, needs="slurm",
         help="time limit per job: HH:MM:SS, D-HH:MM:SS, MM:SS or seconds"),
    Flag(name="--slurm-mem", value="SIZE", default="4G", group=_SLURM, needs="slurm",
         help="memory per job, with K, M, G or T"),
    Flag(name="--slurm-cpus", value="N", default="1", group=_SLURM, needs="slurm", help="CPUs per task"),
    Flag(name="--slurm-gpus", value="N", default="0", group=_SLURM, needs="slurm", help="GPUs per task"),
    Flag(name="--slurm-gpu-partition", value="NAME", group=_SLURM, needs="slurm",
         help="partition of tasks with GPUs (default: --slurm-partition)"),
    Flag(name="--slurm-account", value="NAME", group=_SLURM, needs="slurm", help="account that jobs are charged to"),
    Flag(name="--slurm-qos", value="NAME", group=_SLURM, needs="slurm", help="quality of service of jobs"),
    Flag(name="--slurm-constraint", value="WORDS", group=_SLURM, needs="slurm", help="features that nodes must have"),
    Flag(name="--slurm-mode", value="MODE", default="jobs", choices=("jobs", "pilot"), group=_SLURM, needs="slurm",
         help="jobs: one job per task; pilot: a few jobs that work through many tasks"),
    Flag(name="--slurm-lookahead", value="N", default="0", group=_SLURM, needs="slurm",
         help="jobs submitted before their tasks' turns, to wait in the queue (afterok)"),
    Flag(name="--slurm-site", value="NAME", default="default", group=_SLURM, needs="slurm",
         help="site whose dispatcher takes the tasks, lane slurm-NAME (env PTO_SLURM_SITE)"),
    Flag(name="--aws-cluster-name", value="NAME", group=_AWS, needs="aws", help="cluster (required for --aws)"),
    Flag(name="--aws-region", value="REGION", default="eu-central-1", group=_AWS, needs="aws",
         help="AWS region of cluster and bucket"),
    Flag(name="--aws-s3-bucket", value="BUCKET", group=_AWS, needs="aws",
         help="S3 bucket of state, tasks and results (required for --aws)"),
)  # fmt: skip


class Misused(Exception):
    """The command line cannot be taken apart; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting and never guesses abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise Misused."""
        raise Misused(message)


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


def run_parser() -> Parser:
    """The parser of ``orchestrator run``; a flag that was not typed is None (a switch: False)."""
    parser = Parser(prog="orchestrator", usage="orchestrator [run] REQUIREMENTS [options]", add_help=False)
    parser.add_argument("requirements", metavar="REQUIREMENTS", nargs="*", help="what is to be built, in quotes")
    groups: dict[str, Any] = {}
    for flag in FLAGS:
        group = groups.setdefault(flag.group, None) or parser.add_argument_group(flag.group)
        groups[flag.group] = group
        names = [flag.short, flag.name] if flag.short else [flag.name]
        shown = f"{flag.help} (default: {flag.default})" if flag.default else flag.help
        if flag.value:
            group.add_argument(*names, metavar=flag.value, dest=flag.field, default=None, help=shown)
        else:
            group.add_argument(*names, action="store_true", dest=flag.field, help=shown)
    groups[_GENERAL].add_argument("-h", "--help", action="store_true", help="show this and leave")
    return parser
