"""The state as bytes and back, so that a start need not fold from zero, and digests of it to compare.

Imports pto_proto and siblings only. Invariants: ``load(dump(state))`` is the same state, so that folding on from either
gives the same; equal states have equal bytes. ``State.touched`` is no part of it: it belongs to who decides; what
follows from the rest is worked out anew. A snapshot that cannot be trusted whole is no snapshot.
"""

import hashlib
from collections.abc import Iterable
from itertools import count, repeat
from threading import Lock
from typing import Any, NamedTuple

import msgspec

from pto_core.graph import Graph
from pto_core.packing import (
    fields_of,
    layout,
    pack_column,
    pack_fields,
    pack_objects,
    unpack_column,
    unpack_fields,
    unpack_objects,
)
from pto_core.state import Run, State, Task
from pto_proto.events import SCHEMA_LEVEL
from pto_proto.ids import Digest, RunId, digest_of

FOLD_VERSION = 4
"""Rises whenever the fold makes another state of the same log: what an older fold made is then dropped."""
_MAGIC = b"pto-snapshot\n"
_MARK = 64
"""Bytes of a digest in hex."""
_LAYOUT = digest_of(layout().encode())
_STATE_FIELDS = tuple(name for name in fields_of(State) if name not in ("active", "hungry", "runs", "touched"))
_HEAVY = ("graph", "index", "tasks")
"""Fields of a run that grow with its plan; the others are its head."""
_HEAD = tuple(name for name in fields_of(Run) if name not in (*_HEAVY, "system"))
_TASK_FIELDS = tuple(name for name in fields_of(Task) if name not in ("index", "spec"))
_encoder = msgspec.msgpack.Encoder()
_waking = Lock()
"""Whoever looks something up in a thread may ask for the tasks of a run at the same moment as the fold."""


class Digests(NamedTuple):
    """What two parties compare to know that they know the same."""

    state: Digest
    runs: dict[RunId, Digest]
    """Each run's own, so that a difference can be named."""


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """One run: its head, its system's tasks, and what grows with its plan; each packed."""

    id: RunId
    head: bytes
    plan: bytes


class _Plan(msgspec.Struct, frozen=True, array_like=True):
    """Tasks as columns in order, and their graph."""

    specs: list[Any]
    columns: list[Any]
    children: list[tuple[int, ...]] | int
    """A number: this many tasks, none with children."""
    rank: tuple[int, ...]


class _Dump(msgspec.Struct, frozen=True, array_like=True):
    fields: list[Any]
    active: list[RunId]
    runs: list[_Stored]


_dump_decoder = msgspec.msgpack.Decoder(_Dump)
_plan_decoder = msgspec.msgpack.Decoder(_Plan)
_head_decoder = msgspec.msgpack.Decoder(list[Any])


class _Resting(Run):
    """An ended run whose tasks are packed: nobody asks for them. It turns into a ``Run`` when somebody does.

    So each run is packed once, when it has ended, however many snapshots follow.
    """

    packed: bytes

    def __getattr__(self, name: str) -> Any:
        if name not in _HEAVY:
            raise AttributeError(name)
        _wake(self)
        return getattr(self, name)


# --- the state -------------------------------------------------------------------------------------------------------


def dump(state: State) -> bytes:
    """The whole state as bytes; equal states give equal bytes."""
    return _encoder.encode(_pack_state(state))


def load(data: bytes | memoryview) -> State:
    """The state that ``dump`` made these bytes of, ready to be folded on. Other bytes raise anything."""
    packed = _dump_decoder.decode(data)
    state = State()
    unpack_fields(state, _STATE_FIELDS, packed.fields, _nobody)
    for stored in packed.runs:
        state.runs[stored.id] = _load_run(stored)
    state.active = {run: state.runs[run] for run in packed.active}
    state.hungry = {run.id for run in state.active.values() if run.may_be_handed_out}
    return state


def digest(state: State) -> Digest:
    """The digest of the state's dump."""
    return digest_of(dump(state))


def digests(state: State) -> Digests:
    """The state's digest, and that of each of its runs."""
    packed = _pack_state(state)
    runs = {
        stored.id: Digest(hashlib.sha256(stored.head + digest_of(stored.plan).encode()).hexdigest())
        for stored in packed.runs
    }
    return Digests(digest_of(_encoder.encode(packed)), runs)


def _pack_state(state: State) -> _Dump:
    fields = pack_fields(state, _STATE_FIELDS, _nobody)
    return _Dump(fields, list(state.active), [_pack_run(run) for run in state.runs.values()])


def _nobody(_: Any) -> object:
    raise TypeError("runs and tasks are named by their own run only")


# --- one run ---------------------------------------------------------------------------------------------------------


def _pack_run(run: Run) -> _Stored:
    def refer(task: Task) -> object:
        return task.index if task.index >= 0 else task.spec.id

    head = [pack_fields(run, _HEAD, refer), list(run.system), *_pack_tasks(list(run.system.values()))]
    packed: bytes | None = vars(run).get("packed")  # another thread may be waking it
    if packed is None:
        packed = _encoder.encode(_pack_plan(run))
        if run.ended:
            _rest(run, packed)
    return _Stored(run.id, _encoder.encode(head), packed)


def _rest(run: Run, packed: bytes) -> None:
    with _waking:
        run.packed = packed  # type: ignore[attr-defined]
        run.__class__ = _Resting
        for name in _HEAVY:
            vars(run).pop(name, None)


def _pack_plan(run: Run) -> _Plan:
    children: list[tuple[int, ...]] | int = list(run.graph.children)
    if not any(run.graph.children):
        children = len(run.graph.children)
    return _Plan(*_pack_tasks(run.tasks), children, run.graph.rank)


def _pack_tasks(tasks: list[Task]) -> tuple[list[Any], list[Any]]:
    return pack_column([task.spec for task in tasks], _nobody), pack_objects(tasks, _TASK_FIELDS, _nobody)


def _unpack_tasks(specs: list[Any], columns: list[Any], at: Iterable[int]) -> list[Task]:
    tasks = list(map(Task, unpack_column(specs, _nobody), at, repeat(0)))
    unpack_objects(tasks, _TASK_FIELDS, columns, _nobody)
    return tasks


def _load_run(stored: _Stored) -> Run:
    run = _Resting.__new__(_Resting)

    def refer(name: Any) -> object:
        return run.tasks[name] if isinstance(name, int) else run.system[name]

    fields, names, specs, columns = _head_decoder.decode(stored.head)
    run.packed = stored.plan
    run.system = dict(zip(names, _unpack_tasks(specs, columns, repeat(-1)), strict=True))
    unpack_fields(run, _HEAD, fields, refer)
    if not run.ended:
        _wake(run)
    return run


def _wake(run: _Resting) -> None:
    with _waking:
        packed: bytes | None = vars(run).get("packed")
        if packed is None:
            return
        plan = _plan_decoder.decode(packed)
        run.tasks = _unpack_tasks(plan.specs, plan.columns, count())
        run.index = {task.spec.id: at for at, task in enumerate(run.tasks)}
        by_rank = [0] * len(plan.rank)
        for at, rank in enumerate(plan.rank):
            by_rank[rank] = at
        children = ((),) * plan.children if isinstance(plan.children, int) else tuple(plan.children)
        run.graph = Graph(children, plan.rank, tuple(by_rank))
        del run.packed
        run.__class__ = Run  # type: ignore[assignment]


# --- the envelope ----------------------------------------------------------------------------------------------------


class Sealed(NamedTuple):
    """What a good snapshot holds. The log must have the event ``last_id`` at ``seq``, or it is another log."""

    state: State
    seq: int
    last_id: str


class _Seal(msgspec.Struct, frozen=True, array_like=True):
    stream: str
    seq: int
    last_id: str
    fold_version: int
    schema_level: int
    layout: Digest
    dump: Digest
    size: int


_seal_decoder = msgspec.msgpack.Decoder(_Seal)


def seal(state: State, stream: str, last_id: str) -> bytes:
    """A snapshot of what ``stream`` says up to ``state.seq``; ``last_id`` is the id of the event stored there."""
    data = dump(state)
    head = _encoder.encode(
        _Seal(stream, state.seq, last_id, FOLD_VERSION, SCHEMA_LEVEL, _LAYOUT, digest_of(data), len(data))
    )
    return b"".join([_MAGIC, len(head).to_bytes(4, "big"), head, digest_of(head).encode(), data])


def unseal(data: bytes, stream: str) -> Sealed | str:
    """What ``seal`` made these bytes of, or why they cannot be used. Never raises, whatever the bytes are."""
    start = len(_MAGIC) + 4
    size = int.from_bytes(data[len(_MAGIC) : start], "big")
    head, mark = data[start : start + size], data[start + size : start + size + _MARK]
    if not data.startswith(_MAGIC) or digest_of(head).encode() != mark:
        return "it is no snapshot, or damaged"
    try:
        found = _seal_decoder.decode(head)
    except msgspec.MsgspecError:
        return "it was written by another version"
    body = memoryview(data)[start + size + _MARK :]
    reason = _mismatch(found, stream)
    if reason:
        return reason
    if len(body) != found.size or hashlib.sha256(body).hexdigest() != found.dump:
        return "it is damaged"
    try:
        state = load(body)
    except (msgspec.MsgspecError, TypeError, ValueError, LookupError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return Sealed(state, found.seq, found.last_id) if state.seq == found.seq else "it contradicts itself"


def _mismatch(found: _Seal, stream: str) -> str:
    if found.stream != stream:
        return f"it is of the stream {found.stream!r}, not {stream!r}"
    if (found.fold_version, found.layout) != (FOLD_VERSION, _LAYOUT):
        return "another version of the fold made it"
    if found.schema_level != SCHEMA_LEVEL:
        return f"it is of schema level {found.schema_level}; this version has {SCHEMA_LEVEL}"
    return ""
