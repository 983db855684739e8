"""What sbatch's answer means. Its words are the only key: the exit code is 1 or 255 for everything.

Imports proto; pure. Invariants: an answer that may hide a job that was submitted is never called a refusal; every
answer keeps SLURM's own words.
"""

import re
from typing import Literal

import msgspec

from pto_proto.events import FailureClass

MAX_WORDS = 600
"""Of SLURM's own words that are kept: they go into an event."""


class Submitted(msgspec.Struct, frozen=True):
    """The job exists under this id."""

    job: str


class Refused(msgspec.Struct, frozen=True):
    """No job came of it, and asking the same again makes none."""

    failure: FailureClass
    words: str
    hint: str
    is_sure: bool = True
    """False: its words are not known here, so that a job is to be looked for by its name before they are believed."""


class Throttled(msgspec.Struct, frozen=True):
    """No job came of it now; it will when one of those that are there has ended, or SLURM can be asked again."""

    words: str


class Ambiguous(msgspec.Struct, frozen=True):
    """There may be a job or not: look for it by its name before anything else is done."""

    words: str


Answer = Submitted | Refused | Throttled | Ambiguous
Meaning = Literal["refused", "throttled", "unasked", "ambiguous"]


class Phrase(msgspec.Struct, frozen=True):
    """Words of SLURM (any case) and what they mean; of several that are there, the first one in the table counts."""

    words: str
    meaning: Meaning
    failure: FailureClass = "config"
    hint: str = ""


_LESS = "The account's or QOS's limit is lower: ask for less, or name another qos."
_NODES = "No node has that much of it: see `sinfo -e -o '%P %c %m %G'` and ask for less."
_ACCOUNTS = "See your accounts with `sacctmgr show associations user=$USER`; name one as account."
_LIMITS = "The partition allows less time: see `sinfo -o '%P %l'`."
_SCRIPT = "The executor's script was changed: remove the spool's bin folder and start again."
_NOT_YOURS = "The site does not let this user submit jobs there: name another partition."
PHRASES: tuple[Phrase, ...] = (
    Phrase("Socket timed out", "ambiguous"),
    Phrase("Unable to contact slurm controller", "ambiguous"),
    Phrase("backup controller in standby", "ambiguous"),
    Phrase("Communication connection failure", "ambiguous"),
    Phrase("Communication shutdown failure", "ambiguous"),
    Phrase("Message send failure", "ambiguous"),
    Phrase("Message receive failure", "ambiguous"),
    Phrase("Header lengths are longer than data received", "ambiguous"),
    Phrase("Insane message length", "ambiguous"),
    Phrase("Connection timed out", "ambiguous"),
    Phrase("No route to host", "ambiguous"),
    Phrase("Network is unreachable", "ambiguous"),
    Phrase("Munge encode failed", "unasked"),
    Phrase("Failed to connect to authentication agent", "unasked"),
    Phrase("Can't find an address", "unasked"),
    Phrase("Unable to establish control machine", "unasked"),
    Phrase("authentication", "ambiguous"),
    Phrase("Zero Bytes were transmitted", "ambiguous"),
    Phrase("Transport endpoint is not connected", "ambiguous"),
    Phrase("Connection refused", "ambiguous"),
    Phrase("Connection reset", "ambiguous"),
    Phrase("Unexpected message received", "ambiguous"),
    Phrase("Unspecified error", "ambiguous"),
    Phrase("MaxSubmitJob", "throttled"),
    Phrase("GrpSubmitJob", "throttled"),
    Phrase("PerJob", "refused", hint=_LESS),
    Phrase("PerUserLimit", "refused", hint=_LESS),
    Phrase("PerNode", "refused", hint=_LESS),
    Phrase("MaxWall", "refused", hint=_LESS),
    Phrase("Job violates accounting/QOS policy", "throttled"),
    Phrase("temporarily unable to accept job", "throttled"),
    Phrase("Resource temporarily unavailable", "throttled"),
    Phrase("Invalid partition", "refused", hint="See the partitions with `sinfo -s`; --slurm-partition names one."),
    Phrase("Requested node configuration is not available", "refused", hint=_NODES),
    Phrase("Node count specification invalid", "refused", hint=_NODES),
    Phrase("Invalid generic resource", "refused", hint="This cluster knows no such GPUs: see `sinfo -o '%P %G'`."),
    Phrase("Invalid --mem", "refused", hint="Write memory as 500M or 4G."),
    Phrase("Invalid --time", "refused", hint="Write time as HH:MM:SS or D-HH:MM:SS."),
    Phrase("Requested time limit is invalid", "refused", hint=_LIMITS),
    Phrase("Invalid account", "refused", hint=_ACCOUNTS),
    Phrase("Invalid qos", "refused", hint="See the names with `sacctmgr show qos`; name one of yours as qos."),
    Phrase("Invalid feature", "refused", hint="No node has this constraint: see `sinfo -o '%P %f'`."),
    Phrase("Invalid node name", "refused", hint="See the nodes with `sinfo -N`."),
    Phrase("Job dependency problem", "refused", "infra", "What it was to wait for has gone; it is submitted anew."),
    Phrase("User's group not permitted", "refused", hint=_NOT_YOURS),
    Phrase("Permission denied", "refused", hint=_NOT_YOURS),
    Phrase("batch script", "refused", hint=_SCRIPT),
    Phrase("DOS line breaks", "refused", hint=_SCRIPT),
    Phrase("Pathname of a file", "refused", hint="A name or a path is too long: use a spool with a shorter path."),
)
_ID = re.compile(r"(\d+)(?:;[A-Za-z0-9_.-]+)?\Z", re.ASCII)
"""With the name of its cluster, where a site has several."""
_KILLED = range(129, 193)
"""How a shell tells that a signal ended what it started: sites wrap sbatch in scripts."""
_NOT_STARTED = (126, 127)
_UNKNOWN = "These words of SLURM are not known here: see what its documentation says of them."


def answer_of(exit_code: int | None, stdout: str, stderr: str) -> Answer:
    """What ``sbatch --parsable`` ended with; ``exit_code`` None or negative: it was killed, such as at a time limit."""
    words = stderr.strip()[-MAX_WORDS:]
    if exit_code == 0:
        last = stdout.strip().splitlines()[-1:] or [""]
        match = _ID.match(last[0].strip())
        return Submitted(match[1]) if match else Ambiguous(words or stdout.strip()[-MAX_WORDS:])
    if exit_code is None or exit_code < 0:
        return Ambiguous(words or "sbatch was ended before it answered")
    said = stderr.lower()
    for phrase in PHRASES:
        if phrase.words.lower() in said:
            return _as(phrase, words)
    if exit_code in _KILLED:
        return Ambiguous(words or f"sbatch was ended by signal {exit_code - 128}")
    said = words or f"sbatch ended with exit code {exit_code} and said nothing"
    return Refused("config", said, _UNKNOWN, is_sure=exit_code in _NOT_STARTED)


def _as(phrase: Phrase, words: str) -> Answer:
    if phrase.meaning == "ambiguous":
        return Ambiguous(words)
    if phrase.meaning in ("throttled", "unasked"):
        return Throttled(words)
    return Refused(phrase.failure, words, phrase.hint)
