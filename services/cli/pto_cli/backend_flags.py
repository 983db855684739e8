"""The flags that say where tasks run and what they may use there: read and checked together.

Imports siblings, core and proto. Invariants: a backend's flag counts only with that backend; what stays empty is left
to the dispatcher; no engine, cluster or bucket is looked at here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pto_cli.flags import FLAGS, Flag
from pto_cli.model_flags import bad_region
from pto_core.lanes import cluster_lane, site_lane
from pto_core.units import parse_memory_bytes, parse_time_s
from pto_proto.ids import LANE_DOCKER, LANE_LOCAL, Lane
from pto_proto.plans import DockerOptions, Resources, SlurmOptions

BACKENDS = ("--docker", "--slurm", "--aws")
SITE = "PTO_SLURM_SITE"
MAX_AHEAD = 1000
"""Jobs submitted early, as a dispatcher takes it."""
_BY_FIELD = {flag.field: flag for flag in FLAGS}
_DEFAULT = "default"
"""As a partition: the cluster's own."""
_REQUIRED = ("aws_cluster_name", "aws_s3_bucket")
_WORDS = ("slurm_partition", "slurm_gpu_partition", "slurm_account", "slurm_qos", "slurm_constraint")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_TOLD = {
    "slurm_mode": "PTO_SLURM_MODE",
    "slurm_lookahead": "PTO_SLURM_LOOKAHEAD",
    "aws_cluster_name": "PTO_AWS_CLUSTER",
    "aws_region": "PTO_AWS_REGION",
    "aws_s3_bucket": "PTO_AWS_BUCKET",
}
"""Flag -> the variable of a dispatcher that it stands for: it is no part of a request."""


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """Where tasks run that name no backend themselves, and on what."""

    lane: Lane = LANE_LOCAL
    planner_backend: str = ""
    docker: DockerOptions = field(default_factory=DockerOptions)
    resources: Resources = field(default_factory=Resources)
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    gpu_partition: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    """Variables that dispatchers of this machine are told beside their environment."""
    notices: tuple[str, ...] = ()


LOCAL = BackendChoice()


def read_backend(
    values: Mapping[str, Any], environment: Mapping[str, str], *, is_remote: bool
) -> tuple[BackendChoice, list[str]]:
    """The choice, and all that is wrong with it; where something is, the choice stands for nothing."""
    chosen = [name for name in BACKENDS if values[name.removeprefix("--")]]
    problems = [f"{' and '.join(chosen)}: choose one backend"] if len(chosen) > 1 else []
    typed = [flag for flag in FLAGS if flag.needs not in ("", "provider") and values[flag.field] is not None]
    for flag in typed:
        problems += _check(flag, values, chosen)
    if "--aws" in chosen:
        needed = _REQUIRED[:1] if is_remote else _REQUIRED
        problems += [f"--aws: needs {_BY_FIELD[name].name}" for name in needed if values[name] is None]
    if values["slurm_lookahead"] not in (None, "0") and values["slurm_mode"] == "pilot":
        problems.append("--slurm-lookahead: pilots need none; leave it or --slurm-mode pilot out")
    for name in ("slurm_mode", "slurm_lookahead"):
        if is_remote and values[name] is not None:
            where = f"set {_TOLD[name]} in its environment"
            problems.append(f"{_BY_FIELD[name].name}: with --nats-url the dispatcher chooses; {where}")
    lane, wrong = _lane(values, environment, chosen)
    problems += wrong
    if problems:
        return LOCAL, problems
    on_cluster = lane not in (LANE_LOCAL, LANE_DOCKER)
    return (
        BackendChoice(
            lane=lane,
            planner_backend=LANE_DOCKER if values["docker_planner_in_docker"] else "",
            docker=DockerOptions(image=values["docker_image"] or "", network=values["docker_network"] or ""),
            resources=_resources(values) if on_cluster else Resources(),
            slurm=_slurm(values),
            gpu_partition=values["slurm_gpu_partition"] or "",
            told={} if is_remote else _told(values, chosen),
            notices=tuple(_unused(values)) if is_remote else (),
        ),
        [],
    )


def _value(values: Mapping[str, Any], name: str) -> str:
    return _BY_FIELD[name].default if values[name] is None else str(values[name])


def _lane(values: Mapping[str, Any], environment: Mapping[str, str], chosen: list[str]) -> tuple[Lane, list[str]]:
    try:
        if chosen == ["--slurm"]:
            site = values["slurm_site"]
            where = "--slurm-site" if site is not None else SITE
            return site_lane(site if site is not None else environment.get(SITE, "") or _DEFAULT), []
        where = "--aws-cluster-name"
        if chosen == ["--aws"] and values["aws_cluster_name"] is not None:
            return cluster_lane(values["aws_cluster_name"]), []
    except ValueError as error:
        return LANE_LOCAL, [f"{where}: {error}"]
    return (LANE_DOCKER if chosen == ["--docker"] else LANE_LOCAL), []


def _resources(values: Mapping[str, Any]) -> Resources:
    return Resources(
        cpus=int(_value(values, "slurm_cpus")),
        memory=_value(values, "slurm_mem"),
        gpus=int(_value(values, "slurm_gpus")),
        time=_value(values, "slurm_time"),
    )


def _slurm(values: Mapping[str, Any]) -> SlurmOptions:
    partition = values["slurm_partition"] or ""
    return SlurmOptions(
        partition="" if partition == _DEFAULT else partition,
        account=values["slurm_account"] or "",
        qos=values["slurm_qos"] or "",
        constraint=values["slurm_constraint"] or "",
    )


def _told(values: Mapping[str, Any], chosen: list[str]) -> dict[str, str]:
    """What was typed goes before the environment, and that before a default; what AWS needs is told in any case."""
    always = [name for name in _TOLD if name.startswith("aws_")] if "--aws" in chosen else []
    return {
        variable: _value(values, name) for name, variable in _TOLD.items() if values[name] is not None or name in always
    }


def _unused(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("aws_region", "aws_s3_bucket"):
        if values[name] is not None:
            yield f"{_BY_FIELD[name].name}: with --nats-url the cluster's dispatcher uses its own ({_TOLD[name]})"


# --- one flag --------------------------------------------------------------------------------------------------------


def _check(flag: Flag, values: Mapping[str, Any], chosen: list[str]) -> Iterator[str]:
    with_planner = flag.needs == "docker" and values["docker_planner_in_docker"]
    if f"--{flag.needs}" not in chosen and not with_planner and not (flag.needs == "slurm" and "--aws" in chosen):
        also = {"slurm": " or --aws", "docker": " or --docker-planner-in-docker"}.get(flag.needs, "")
        yield f"{flag.name}: needs --{flag.needs}{also}"
        return
    text = values[flag.field]
    if not text.strip():
        yield f"{flag.name}: is empty"
    elif flag.field == "slurm_site" and chosen == ["--aws"]:
        yield f"{flag.name}: with --aws the cluster is the place; leave it out"
    elif what := _bad_value(flag.field, text):
        yield f"{flag.name}: {what}"


def _bad_value(name: str, text: str) -> str:
    """What is wrong with the flag's value; empty if nothing is."""
    if name in _PARSERS:
        try:
            _PARSERS[name](text)
        except ValueError as error:
            return str(error)
    elif name in ("slurm_cpus", "slurm_gpus", "slurm_lookahead"):
        return _bad_count(text, 1 if name == "slurm_cpus" else 0, MAX_AHEAD if name == "slurm_lookahead" else None)
    elif name in _WORDS:
        from pto_core.task_check import bad_slurm_word

        return bad_slurm_word(text)
    elif name in ("docker_image", "docker_network"):
        from pto_core.plan_check import bad_image, bad_network

        return bad_image(text) if name == "docker_image" else bad_network(text)
    elif name == "aws_region":
        return bad_region(text)
    elif name == "aws_s3_bucket" and not _BUCKET.fullmatch(text):
        return f"{text[:80]!r} is not the name of a bucket: 3-63 of a-z, 0-9, '-' and '.', without s3://"
    return ""


_PARSERS: dict[str, Callable[[str], object]] = {"slurm_time": parse_time_s, "slurm_mem": parse_memory_bytes}


def _bad_count(text: str, least: int, most: int | None = None) -> str:
    from pto_core.task_check import MAX_CPUS

    most = most or MAX_CPUS
    is_number = text.isdecimal() and text.isascii() and len(text) <= 18
    if not is_number or not least <= int(text) <= most:
        return f"must be a whole number from {least} to {most}, not {text!r}"
    return ""
