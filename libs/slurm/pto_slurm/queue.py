"""What the commands of SLURM print, read into rows: squeue and sacct into jobs, sinfo into node groups.

Imports siblings; pure. Invariants: each format stands beside its reader, with the comment last, since it may hold a
bar; a line that cannot be read is given back as such and takes no other with it. Times are Unix seconds, because the
commands are started with ``TIME_FORMAT``.
"""

import re
from collections.abc import Iterable

import msgspec

TIME_FORMAT = "%s"
"""For SLURM_TIME_FORMAT: else times come without a zone, in that of whoever asks."""
SQUEUE_FIELDS = (
    "JobID", "State", "Reason", "RestartCnt", "SubmitTime", "StartTime", "EndTime", "TimeLimit", "TimeUsed",
    "exit_code", "NodeList", "Name", "Comment",
)  # fmt: skip
SQUEUE_FORMAT = ":|,".join(SQUEUE_FIELDS) + ":"
SACCT_FIELDS = (
    "JobIDRaw", "State", "Reason", "Restarts", "Submit", "Start", "End", "TimelimitRaw", "ElapsedRaw",
    "ExitCode", "NodeList", "JobName", "Comment",
)  # fmt: skip
SACCT_FIELDS_OLD = tuple(field for field in SACCT_FIELDS if field not in ("Restarts", "Reason"))
"""For versions whose sacct refuses the newer ones (``Invalid field requested``)."""
SINFO_FIELDS = ("%P", "%a", "%l", "%c", "%m", "%D", "%T", "%f", "%G")
SINFO_FORMAT = "|".join(SINFO_FIELDS)
_NOTHING = frozenset(("", "N/A", "NONE", "None", "Unknown", "(null)", "n/a", "UNLIMITED", "infinite", "INVALID"))
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?\Z", re.ASCII)
_GPU = re.compile(r"gpu(?::[^:,()]+)?:(\d+)(?:\([^)]*\))?\Z", re.ASCII)


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job as SLURM tells of it."""

    job: str
    name: str
    comment: str
    state: str
    """SLURM's word, without what follows it (``CANCELLED by 1000``)."""
    reason: str = ""
    by: str = ""
    """Who cancelled it, where sacct says so."""
    restarts: int = 0
    submitted: int = 0
    started: int = 0
    ended: int = 0
    """While it runs: when its time limit is reached."""
    limit_s: int = 0
    """0: none, or not known."""
    used_s: int = 0
    """Of its time limit: time in which it was suspended is not."""
    exit_code: int | None = None
    signal: int = 0
    nodes: str = ""


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of one partition that are alike."""

    partition: str
    is_default: bool = False
    is_up: bool = True
    limit_s: int = 0
    """Longest time limit of a job; 0: any."""
    cpus: int = 0
    memory_mb: int = 0
    nodes: int = 0
    state: str = ""
    features: tuple[str, ...] = ()
    gpus: int = 0


class Reading(msgspec.Struct, frozen=True):
    """The jobs that were read, and the lines that could not be."""

    jobs: tuple[JobRow, ...]
    unreadable: tuple[str, ...] = ()


def read_squeue(text: str) -> Reading:
    """Jobs of ``squeue -O SQUEUE_FORMAT``."""
    return _read_jobs(text, SQUEUE_FIELDS, minutes_of_limit=False)


def read_sacct(text: str, fields: tuple[str, ...] = SACCT_FIELDS) -> Reading:
    """Jobs of ``sacct -P -o <fields>``; of a job with several records the last one counts."""
    reading = _read_jobs(text, fields, minutes_of_limit=True)
    latest = {row.job: row for row in reading.jobs}
    return Reading(tuple(latest.values()), reading.unreadable)


def _read_jobs(text: str, fields: tuple[str, ...], *, minutes_of_limit: bool) -> Reading:
    jobs, unreadable = list[JobRow](), list[str]()
    for line in text.splitlines():
        values = line.split("|", len(fields) - 1)
        if len(values) != len(fields) or not values[0].strip().isdigit():
            if line.strip():
                unreadable.append(line)
            continue
        jobs.append(_job(dict(zip(fields, map(str.strip, values), strict=True)), minutes_of_limit))
    return Reading(tuple(jobs), tuple(unreadable))


def _job(row: dict[str, str], minutes_of_limit: bool) -> JobRow:
    get = {name.lower(): value for name, value in row.items()}.get
    state, _, by = get("state", "").partition(" by ")
    exit_code, signal = exit_of(get("exit_code") or get("exitcode") or "")
    limit = get("timelimit") or get("timelimitraw") or ""
    return JobRow(
        job=get("jobid") or get("jobidraw") or "",
        name=get("name") or get("jobname") or "",
        comment=_word(get("comment", "")),
        state=state.rstrip("+").upper(),
        reason=_word(get("reason", "")),
        by=by,
        restarts=_number(get("restartcnt") or get("restarts") or ""),
        submitted=_number(get("submittime") or get("submit") or ""),
        started=_number(get("starttime") or get("start") or ""),
        ended=_number(get("endtime") or get("end") or ""),
        limit_s=_number(limit) * 60 if minutes_of_limit else seconds_of(limit),
        used_s=_number(get("elapsedraw", "")) or seconds_of(get("timeused", "")),
        exit_code=exit_code,
        signal=signal,
        nodes=_word(get("nodelist", "")),
    )


def exit_of(text: str) -> tuple[int | None, int]:
    """(exit code, signal) of ``3:0`` as sacct and scontrol write it, or of ``768`` as squeue does (a wait status)."""
    code, colon, signal = text.partition(":")
    if not code.isdigit() or (colon and not signal.isdigit()):
        return None, 0
    if colon:
        return int(code), int(signal)
    status = int(code)
    return (0, status & 0x7F) if status & 0x7F else (status >> 8 & 0xFF, 0)


def read_sinfo(text: str) -> tuple[NodeGroup, ...]:
    """Node groups of ``sinfo -e -o SINFO_FORMAT``; lines that cannot be read are left out."""
    groups = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split("|")]
        if len(values) != len(SINFO_FIELDS):
            continue
        name, up, limit, cpus, memory, nodes, state, features, gres = values
        groups.append(
            NodeGroup(
                partition=name.rstrip("*"),
                is_default=name.endswith("*"),
                is_up=up.lower() == "up",
                limit_s=seconds_of(limit),
                cpus=_number(cpus.rstrip("+")),
                memory_mb=_number(memory.rstrip("+")),
                nodes=_number(nodes),
                state=state.rstrip("*~#!%$@^+-"),
                features=tuple(feature for feature in features.split(",") if _word(feature)),
                gpus=gpus_of(gres),
            )
        )
    return tuple(groups)


def gpus_of(gres: str) -> int:
    """GPUs of ``gpu:2``, ``gpu:a100:4(S:0-1),gpu:v100:2``; 0 of anything else."""
    found: Iterable[re.Match[str] | None] = (_GPU.match(part) for part in re.split(r",(?![^(]*\))", gres))
    return sum(int(match[1]) for match in found if match)


def seconds_of(text: str) -> int:
    """Seconds of ``D-HH:MM:SS`` and the shorter forms, where one number alone is minutes; 0 of ``UNLIMITED``."""
    match = _TIME.match(text)
    if match is None:
        return 0
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1] is not None:
        return days * 86_400 + first * 3_600 + second * 60 + third
    if match[4] is not None:
        return first * 3_600 + second * 60 + third
    return first * 60 + second


def _word(text: str) -> str:
    return "" if text in _NOTHING else text


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
