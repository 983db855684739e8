"""The bundle and the manifest of an attempt's outputs: an uncompressed tar and the list of what is in it.

Imports the standard library only. Invariant: the same files give the same bytes of both, on every machine; the manifest
is the canonical JSON of ``pto_proto.manifests.Manifest``, which cannot be imported here (a test compares the two).
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
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
    files: list[dict[str, Any]] = []
    with bundle.open("wb") as raw:
        out = _HashingWriter(raw)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar:  # type: ignore[call-overload]
            for path in sorted(paths):
                files.append(_add(tar, workspace / path, path))
    text = json.dumps({"bundle": out.hexdigest(), "files": files}, ensure_ascii=False, separators=(",", ":"))
    data = text.encode()
    manifest.write_bytes(data)
    return {
        "bundle": str(bundle),
        "bundle_sha256": out.hexdigest(),
        "manifest": str(manifest),
        "manifest_sha256": hashlib.sha256(data).hexdigest(),
        "files": len(files),
    }


def _add(tar: tarfile.TarFile, source: Path, path: str) -> dict[str, Any]:
    # A process that escaped may put a link in the place of a file that was found sound.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as raw:  # noqa: PTH123
        info = tarfile.TarInfo(path)
        stat = os.fstat(raw.fileno())
        info.size, info.mode = stat.st_size, normal_mode(stat.st_mode)
        reader = _HashingReader(raw)
        tar.addfile(info, reader)
    entry: dict[str, Any] = {"path": path, "sha256": reader.hexdigest(), "size": info.size}
    if info.mode != PLAIN:
        entry["mode"] = info.mode
    return entry


class _HashingWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hasher = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()


class _HashingReader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hasher = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hasher.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()
