"""Reads what a container left in a folder of this host, as if its worst enemy had written it.

Imports core, harness and proto. Invariants: nothing is read but regular files below that folder, reached without a
link and up to a limit; an agent's outputs are taken over only if bundle, manifest and the task's own scope agree, and
none of them holds a value that is to stay secret. Call it when the container has ended: then nothing changes any more.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec

from pto_dispatcher_docker.limits import ANSWER_BYTES, MANIFEST_BYTES, MOST_SPENT, TEXT_CHARS
from pto_harness.globs import matches
from pto_harness.limits import HASH_BYTES, MIN_SECRET_CHARS, TAIL_LINES
from pto_harness.paths import refused_path
from pto_harness.sandbox import LEVELS
from pto_proto.events import FailureClass
from pto_proto.manifests import Manifest
from pto_proto.results import Usage


class Untrusted(Exception):
    """What the container left is not what a harness leaves; the message says how."""


class HarnessResult(msgspec.Struct, kw_only=True):
    """A harness's result, of which nothing is believed but that an attempt failed."""

    outcome: Literal["succeeded", "failed", "cancelled"]
    failure: FailureClass | None = None
    reason: str = ""
    hint: str = ""
    tail: list[str] = []
    exit_code: Annotated[int, msgspec.Meta(ge=-255, le=255)] | None = None
    files: int = 0
    sandbox: str = ""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may and must leave."""

    outputs: Sequence[str]
    writes: Sequence[str]
    given: frozenset[str]
    """Paths that it was given."""
    secrets: Sequence[str] = ()


def read_small(folder: Path, path: str, most_bytes: int = ANSWER_BYTES) -> bytes:
    """The content of a file. Raises Untrusted; FileNotFoundError if there is none."""
    with _opened(folder, path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise Untrusted(f"{path} has {size} bytes, which is more than {most_bytes}")
        return file.read(most_bytes)


def read_result(result: dict[str, Any], secrets: Iterable[str]) -> HarnessResult:
    """The result with its texts cut short and without secrets. Raises Untrusted."""
    try:
        found = msgspec.convert(result, HarnessResult)
    except msgspec.ValidationError as error:
        raise Untrusted(f"its result is none: {str(error)[:200]}") from error
    if found.outcome != "succeeded" and found.failure is None:
        raise Untrusted("its result is a failure without a class")
    if (found.outcome == "cancelled") != (found.failure == "cancelled"):
        raise Untrusted(f"its result is {found.outcome}, and its class {found.failure}")
    if found.sandbox not in ("", *LEVELS):
        raise Untrusted("its result names a sandbox that there is none of")
    clean = _Redactor(secrets)
    found.reason, found.hint = clean(found.reason), clean(found.hint)
    found.tail = [clean(line) for line in found.tail[-TAIL_LINES:]]
    return found


def check_bill(usage: Usage, cost_usd: float | None) -> None:
    """A bill that gives something back, or more than anybody can have asked, is none. Raises Untrusted."""
    amounts = (*msgspec.structs.astuple(usage), cost_usd or 0.0)
    if not all(0 <= amount <= MOST_SPENT for amount in amounts):
        raise Untrusted("what it says about its costs cannot be")


def take_outputs(folder: Path, below: str, target: Path, scope: Scope) -> dict[str, Any]:
    """Copy bundle and manifest, which lie in ``below`` the folder, into ``target``, as ``write_bundle`` would have made
    them. Raises Untrusted, OSError.
    """
    try:
        data = read_small(folder, f"{below}/manifest.json", MANIFEST_BYTES)
        manifest = msgspec.json.decode(data, type=Manifest)
        _check_scope(manifest, scope)
        target.mkdir(parents=True, exist_ok=True)
        bundle = target / "bundle.tar"
        with _opened(folder, f"{below}/bundle.tar") as source, bundle.open("wb") as copy:
            digest = _copied(source, copy)
    except FileNotFoundError as error:
        raise Untrusted("it says that there are outputs, and left none") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Untrusted(f"its list of outputs is none: {str(error)[:200]}") from error
    if digest != manifest.bundle:
        raise Untrusted("its bundle is not the one that its list of outputs names")
    _check_members(bundle, manifest, scope.secrets)
    (target / "manifest.json").write_bytes(data)
    return {"bundle": str(bundle), "manifest": str(target / "manifest.json"), "files": len(manifest.files)}


def missing_outputs(scope: Scope, made: Iterable[str] = ()) -> list[str]:
    """Declared outputs that match nothing that was made or given."""
    there = [*made, *scope.given]
    return [pattern for pattern in scope.outputs if not any(matches(pattern, path) for path in there)]


def _check_scope(manifest: Manifest, scope: Scope) -> None:
    paths = [file.path for file in manifest.files]
    if any(word in path for word in scope.secrets if len(word) >= MIN_SECRET_CHARS for path in paths):
        raise Untrusted("the name of an output holds a credential")
    if len(set(paths)) != len(paths):
        raise Untrusted("its list of outputs names a path twice")
    allowed = scope.writes or scope.outputs
    for file in manifest.files:
        reason = refused_path(file.path)
        if reason or file.mode not in (0o644, 0o755):
            raise Untrusted(f"its output {file.path[:100]!r} cannot be taken over: {reason or 'its mode is none'}")
        if allowed and not any(matches(pattern, file.path) for pattern in allowed):
            raise Untrusted(f"its output {file.path!r} is outside of what the task may write")
    if missing := missing_outputs(scope, paths):
        raise Untrusted(f"declared output {missing[0]!r} is missing")


def _check_members(bundle: Path, manifest: Manifest, secrets: Sequence[str]) -> None:
    expected = {file.path: file for file in manifest.files}
    words = [word.encode() for word in secrets if len(word) >= MIN_SECRET_CHARS]
    try:
        with tarfile.open(bundle, "r:", encoding="utf-8") as tar:
            for info in tar:
                file = expected.pop(info.name, None)
                content = tar.extractfile(info) if info.isreg() and file is not None else None
                if file is None or content is None:
                    raise Untrusted(f"its bundle holds {info.name[:100]!r}, which its list does not name")
                if info.size != file.size or _searched(content, words, info.name) != file.sha256:
                    raise Untrusted(f"{info.name!r} in its bundle is not what its list says")
    except (tarfile.TarError, UnicodeError) as error:
        raise Untrusted(f"its bundle cannot be read: {error}") from error
    if expected:
        raise Untrusted(f"its bundle lacks {next(iter(expected))!r}")


def _searched(content: IO[bytes], words: Sequence[bytes], name: str) -> str:
    """The digest of a file in which none of the words is."""
    hasher, overlap = hashlib.sha256(), max((len(word) for word in words), default=1) - 1
    before = b""
    while block := content.read(HASH_BYTES):
        hasher.update(block)
        text = before + block
        if any(word in text for word in words):
            raise Untrusted(f"its output {name!r} holds a credential")
        before = text[-overlap:] if overlap else b""
    return hasher.hexdigest()


def _copied(source: IO[bytes], target: IO[bytes]) -> str:
    hasher = hashlib.sha256()
    while block := source.read(HASH_BYTES):
        hasher.update(block)
        target.write(block)
    return hasher.hexdigest()


@contextmanager
def _opened(folder: Path, path: str) -> Iterator[IO[bytes]]:
    """A regular file, with no link on the way below the folder. Raises Untrusted, FileNotFoundError."""
    *above, name = path.split("/")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        # A pipe would hold up whoever opens it.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Untrusted(f"{path} cannot be opened: {error.strerror}") from error
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Untrusted(f"{path} is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


class _Redactor:
    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((word for word in secrets if len(word) >= MIN_SECRET_CHARS), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:TEXT_CHARS]
