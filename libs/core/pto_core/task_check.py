"""What a single task of a plan may say, field by field. ``plan_check`` looks at the tasks together.

Imports pto_proto and siblings only. Invariant: nothing is raised; every mistake is a ``Problem`` whose ``where`` names
the field as a person wrote it, such as ``tasks[3].outputs[0]``. A common task (few fields set) costs microseconds.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from math import isfinite

import msgspec

from pto_core.lanes import LANE_PER_PLACE, ONE_LANE, lane_named
from pto_core.limits import MAX_NAME_CHARS, MAX_RETRIES, MAX_TASK_BYTES
from pto_core.matrix import PARAMETER, REFERENCE
from pto_core.merge import MAX_COMPONENT_BYTES, MAX_PATH_BYTES
from pto_core.scopes import overlap
from pto_core.units import MAX_TIME_S, parse_memory_bytes, parse_time_s
from pto_proto.ids import is_lane, is_task_id
from pto_proto.plans import Problem, Resources, SlurmOptions, TaskSpec

MODEL_KEYS = frozenset(
    (
        "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "AWS_ACCESS_KEY_ID",
        "AWS_BEARER_TOKEN_BEDROCK", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN",
    )
)  # fmt: skip
"""Variables that pay for models: nothing that an agent wrote or runs may see them."""
MAX_CPUS = 100_000
"""More than any node has: above it somebody mistook the field."""
MAX_NUMBER = 2**63
"""What other languages read from JSON as a number."""
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SLURM_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,@:|&!*()\[\]-]{0,127}\Z")
_NAMELESS_CLUSTER = ("aws", "parallelcluster")
_encoder = msgspec.json.Encoder()


def check_task(spec: TaskSpec, at: str) -> Iterator[Problem]:
    """Everything that is wrong in this task, apart from its dependencies; ``at`` is its place, such as ``tasks[3]``."""
    if not is_task_id(spec.id) or not spec.id.isascii():
        yield Problem(where=f"{at}.id", what=_bad_id(spec.id))
    if spec.title:
        yield from check_line(spec.title, f"{at}.title")
    if (bool(spec.agent), bool(spec.command), spec.noop) != _JUST_NOOP:
        yield from _check_work(spec, at)
    for field, globs in (("inputs", spec.inputs), ("outputs", spec.outputs), ("writes", spec.writes)):
        if globs:
            yield from check_globs(globs, f"{at}.{field}")
    if spec.agent and spec.writes:
        yield from _check_scope(spec, at)
    if spec.checks:
        yield from check_commands(spec.checks, f"{at}.checks")
    if spec.resources != _NO_RESOURCES:
        yield from check_resources(spec.resources, f"{at}.resources")
    if spec.backend or spec.env or spec.slurm != _NO_SLURM:
        yield from _check_placing(spec, at)
    if spec.retries is not None or spec.estimate_s is not None:
        yield from _check_numbers(spec, at)
    yield from _check_text(spec, at)


def check_matrix(spec: TaskSpec, at: str) -> Iterator[Problem]:
    """What is wrong with the task's matrix; without a problem it can be expanded."""
    for name, values in spec.matrix.items():
        where = f"{at}.matrix.{name}"
        if not PARAMETER.match(name):
            what = f"{name!r} cannot name a parameter; use letters, digits and underscores, such as learning_rate"
            yield Problem(where=f"{at}.matrix", what=what)
        if not values:
            yield Problem(where=where, what="has no values; list at least one")
        seen: set[str] = set()
        for position, value in enumerate(values):
            if not _is_value(value):
                yield Problem(where=f"{where}[{position}]", what="must be text, a number or true/false")
            elif (shown := f"{type(value).__name__} {value}") in seen:
                yield Problem(where=f"{where}[{position}]", what=f"repeats the value {value!r}")
            else:
                seen.add(shown)


def _is_value(value: object) -> bool:
    if isinstance(value, int | float):
        return isfinite(value) and abs(value) < MAX_NUMBER
    return isinstance(value, str)


def check_line(text: str, where: str) -> Iterator[Problem]:
    """A name or title: one line, not endless."""
    if len(text) > MAX_NAME_CHARS:
        yield Problem(where=where, what=f"has {len(text)} characters; at most {MAX_NAME_CHARS} are possible")
    if _CONTROL.search(text):
        yield Problem(where=where, what="holds a line break or another control character; write it on one line")


def check_globs(globs: Sequence[str], where: str) -> Iterator[Problem]:
    """Paths and globs: relative, confined, sensible."""
    for position, glob in enumerate(globs):
        what = _bad_glob(glob)
        if what:
            yield Problem(where=f"{where}[{position}]", what=what)


def check_commands(commands: Sequence[str], where: str) -> Iterator[Problem]:
    """Shell commands: not blank."""
    for position, command in enumerate(commands):
        if not command.strip():
            yield Problem(where=f"{where}[{position}]", what="is blank; write a shell command")


def check_text(texts: Sequence[str], where: str) -> Iterator[Problem]:
    """Plan-wide texts, which no matrix fills."""
    for position, text in enumerate(texts):
        for match in REFERENCE.finditer(text):
            what = f"names {match[0]}, but only a task with a matrix has parameters"
            yield Problem(where=f"{where}[{position}]", what=what)
        if "\0" in text:
            yield Problem(where=f"{where}[{position}]", what="holds a NUL character, which no command or path can hold")


def suggest(word: str, known: Sequence[str]) -> str:
    """``; did you mean "x"?`` for the nearest known word, or nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


_NO_RESOURCES = Resources()
_NO_SLURM = SlurmOptions()
_JUST_NOOP = (False, False, True)


def _bad_id(id_: str) -> str:
    if not id_:
        return "is empty; give the task a short name such as build-api"
    return f"{id_[:80]!r} is not a task id; use 1-64 letters, digits, '-', '_' and '.', starting with a letter or digit"


def _check_work(spec: TaskSpec, at: str) -> Iterator[Problem]:
    said = [name for name, given in (("agent", spec.agent), ("command", spec.command), ("noop", spec.noop)) if given]
    if not said:
        yield Problem(where=at, what="does nothing; give exactly one of agent, command and noop: true")
    elif len(said) > 1:
        yield Problem(where=at, what=f"has {' and '.join(said)}; give exactly one of agent, command and noop: true")
    if spec.agent and not spec.agent.strip():
        yield Problem(where=f"{at}.agent", what="is blank; write instructions for the agent")
    if isinstance(spec.command, str):
        if spec.command and not spec.command.strip():
            yield Problem(where=f"{at}.command", what="is blank; write a shell command")
    elif spec.command and not spec.command[0].strip():
        yield Problem(where=f"{at}.command[0]", what="is blank; the first word names the program")


def _bad_glob(glob: str) -> str:
    parts = glob.split("/")
    if not glob.strip():
        return "is empty; write a path or a glob such as src/**"
    if _CONTROL.search(glob):
        return "holds a control character"
    if "\\" in glob:
        return f"{glob!r} holds a backslash; separate folders with '/'"
    if glob.startswith("/"):
        return f"{glob!r} is an absolute path; write it relative to the plan file or the workspace"
    if ".." in parts:
        return f"{glob!r} leaves its folder with '..'; name only what lies below"
    if "." in parts[1:] or "" in parts[1:-1]:
        return f"{glob!r} has an empty part or a '.' in it; write it without"
    size = len(glob.encode(errors="replace"))
    if size > MAX_PATH_BYTES or any(len(part.encode(errors="replace")) > MAX_COMPONENT_BYTES for part in parts):
        return f"is too long: at most {MAX_PATH_BYTES} bytes, and {MAX_COMPONENT_BYTES} between two slashes"
    return ""


def check_resources(resources: Resources, at: str) -> Iterator[Problem]:
    """Numbers and sizes that a machine may have."""
    for field in ("cpus", "gpus"):
        count = getattr(resources, field)
        if not 0 <= count <= MAX_CPUS:
            yield Problem(where=f"{at}.{field}", what=f"must be 0 to {MAX_CPUS}, not {count}")
    for field, parse in (("memory", parse_memory_bytes), ("time", parse_time_s)):
        text = getattr(resources, field)
        if text:
            try:
                parse(text)
            except ValueError as error:
                yield Problem(where=f"{at}.{field}", what=str(error))


def _check_placing(spec: TaskSpec, at: str) -> Iterator[Problem]:
    if spec.backend:
        what = bad_backend(spec.backend)
        if what:
            yield Problem(where=f"{at}.backend", what=what)
    for position, name in enumerate(spec.env):
        if not ENV_NAME.match(name):
            what = f"{name[:80]!r} is not the name of an environment variable"
            if "=" in name:
                what += "; only names are passed through, set the value where the orchestrator is started"
            yield Problem(where=f"{at}.env[{position}]", what=what)
        elif spec.agent and name in MODEL_KEYS:
            what = f"{name} pays for models; what an agent runs never sees it, so leave it out"
            yield Problem(where=f"{at}.env[{position}]", what=what)
    yield from check_slurm(spec.slurm, f"{at}.slurm")


def check_slurm(slurm: SlurmOptions, at: str) -> Iterator[Problem]:
    """Words that SLURM takes as one."""
    for field in slurm.__struct_fields__:
        if what := bad_slurm_word(getattr(slurm, field)):
            yield Problem(where=f"{at}.{field}", what=what)


def bad_slurm_word(word: str) -> str:
    """Why SLURM does not take this as the name of a partition and the like; empty if it may."""
    return f"{word[:80]!r} is nothing that SLURM takes here" if word and not _SLURM_WORD.match(word) else ""


def bad_backend(backend: str) -> str:
    """Why no task can run on this backend; empty if it can."""
    lane = lane_named(backend)
    kind, _, place = lane.partition("-")
    if lane in ONE_LANE or (kind in LANE_PER_PLACE and place and is_lane(lane)):
        return ""
    if backend in _NAMELESS_CLUSTER:
        return f"{backend!r} does not say which cluster; write parallelcluster-<cluster>"
    if kind in LANE_PER_PLACE:
        what = f"{backend[:80]!r} names no lane; write {kind}- and a name of a-z, 0-9 and '-'"
        return f"{what}, at most 64 characters in all"
    known = f"tasks run on {', '.join(ONE_LANE)}, slurm-<site> or parallelcluster-<cluster>"
    return f"there is no backend {backend[:80]!r}; {known}"


def _check_scope(spec: TaskSpec, at: str) -> Iterator[Problem]:
    for position, output in enumerate(spec.outputs):
        if not overlap((output,), spec.writes):
            what = f"{output!r} lies outside of what the task may write ({', '.join(spec.writes)}); widen writes"
            yield Problem(where=f"{at}.outputs[{position}]", what=what)


def _check_numbers(spec: TaskSpec, at: str) -> Iterator[Problem]:
    if spec.retries is not None and not 0 <= spec.retries <= MAX_RETRIES:
        yield Problem(where=f"{at}.retries", what=f"must be 0 to {MAX_RETRIES}, not {spec.retries}")
    if spec.estimate_s is not None and not 0 <= spec.estimate_s <= MAX_TIME_S:
        yield Problem(where=f"{at}.estimate_s", what=f"must be 0 to {MAX_TIME_S} seconds, not {spec.estimate_s}")


def _check_text(spec: TaskSpec, at: str) -> Iterator[Problem]:
    """What can be seen on the encoded task alone, which is cheaper than looking at every field."""
    try:
        encoded = _encoder.encode(spec)
    except UnicodeEncodeError:
        yield Problem(where=at, what="holds text that is not valid Unicode")
        return
    except OverflowError:
        return  # A number that large is out of its field's range, which is said there.
    if len(encoded) > MAX_TASK_BYTES:
        what = (
            f"is {len(encoded)} bytes long, at most {MAX_TASK_BYTES} are possible; put long texts into files (inputs)"
        )
        yield Problem(where=at, what=what)
    if b"\\u0000" in encoded:
        yield Problem(where=at, what="holds a NUL character, which no command or path can hold")
    if b"${matrix." in encoded and not spec.matrix:
        for name in dict.fromkeys(REFERENCE.findall(encoded.decode())):
            yield Problem(where=at, what=f"names ${{matrix.{name}}}, a parameter that its matrix does not have")
