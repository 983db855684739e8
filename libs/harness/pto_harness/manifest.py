"""The bundle and the manifest of an attempt's outputs: an uncompressed tar and the list of what is in it.

Imports the standard library only. Invariant: the same files give the same bytes of both, on every machine; the manifest
is the canonical JSON of ``pto_proto.manifests.Manifest``, which cannot be imported here (a test compares the two).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from pto_harness.limits import HASH_BYTES

EXECUTABLE = 0o755
PLAIN = 0o644


def normal_mode(mode: int) -> int:
    """0o755 for a file its owner may execute, else 0o644; nothing else of the mode is kept."""
    return EXECUTABLE if mode & 0o100 else PLAIN


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            block = file.read(HASH_BYTES)
            if not block:
                return hasher.hexdigest()
            hasher.update(block)


def write_bundle(workspace: Path, paths: list[str], folder: Path) -> dict[str, Any]:
    """Write ``bundle.tar`` and ``manifest.json`` into ``folder``; ``paths`` are regular files below ``workspace``.

    Returns ``{"bundle": path, "bundle_sha256", "manifest": path, "manifest_sha256", "files": count}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bundle, manifest = folder / "bundle.tar", folder / "manifest.json"
    with bundle.open("wb") as raw:
        data, digests = _bundle(workspace, paths, raw)
    manifest.write_bytes(data)
    return {"bundle": str(bundle), "manifest": str(manifest), **digests}


def small_bundle(workspace: Path, paths: list[str], limit: int) -> dict[str, Any] | None:
    """The same with ``bundle_data`` and ``manifest_data`` in the place of files, unless that is more than ``limit``."""
    sizes = [os.lstat(f"{workspace}/{path}").st_size for path in paths]
    if sum(sizes) + 2 * tarfile.BLOCKSIZE * len(sizes) + tarfile.RECORDSIZE > limit:
        return None
    raw = io.BytesIO()
    data, digests = _bundle(workspace, paths, raw)
    return {"bundle_data": raw.getvalue(), "manifest_data": data, **digests}


def _bundle(workspace: Path, paths: list[str], raw: IO[bytes]) -> tuple[bytes, dict[str, Any]]:
    """(canonical manifest, digests and number of files). ``tarfile`` would write the same bytes, but slower."""
    out, files, written = hashlib.sha256(), [], 0

    def write(data: bytes) -> None:
        nonlocal written
        out.update(data)
        written += raw.write(data)

    for path in sorted(paths):
        files.append(_add(f"{workspace}/{path}", path, write))
    write(bytes(2 * tarfile.BLOCKSIZE))
    write(bytes(-written % tarfile.RECORDSIZE))
    text = json.dumps({"bundle": out.hexdigest(), "files": files}, ensure_ascii=False, separators=(",", ":"))
    data = text.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    return data, {"bundle_sha256": out.hexdigest(), "manifest_sha256": sha256, "files": len(files)}


def _add(source: str, path: str, write: Callable[[bytes], None]) -> dict[str, Any]:
    # A process that escaped may put a link in the place of a file that was found sound.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as raw:  # noqa: PTH123
        info = tarfile.TarInfo(path)
        stat = os.fstat(raw.fileno())
        info.size, info.mode = stat.st_size, normal_mode(stat.st_mode)
        write(info.tobuf(tarfile.GNU_FORMAT, "utf-8"))
        hasher, left = hashlib.sha256(), info.size
        while left:
            block = raw.read(min(left, HASH_BYTES))
            if not block:
                raise OSError(errno.EIO, f"{path!r} became shorter while it was read")
            hasher.update(block)
            write(block)
            left -= len(block)
        write(bytes(-info.size % tarfile.BLOCKSIZE))
    entry: dict[str, Any] = {"path": path, "sha256": hasher.hexdigest(), "size": info.size}
    if info.mode != PLAIN:
        entry["mode"] = info.mode
    return entry
