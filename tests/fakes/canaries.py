"""Where a secret that tests plant turns up on a disk.

Invariant: what cannot be read is no proof that the secret is not there; only what is removed meanwhile holds nothing.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def holders(*secrets: str, below: tuple[Path, ...]) -> list[Path]:
    """Files below these folders whose name or content holds any of the secrets."""
    words = [secret.encode() for secret in secrets]
    return [path for path in _files(below) if any(word in _all_of(path) for word in words)]


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        assert folder.is_dir(), f"{folder} is not there to be searched"
        for place, _, names in os.walk(folder, onerror=_unless_gone):
            yield from (Path(place, name) for name in names)


def _all_of(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink():
            return path.name.encode() + b"\0" + path.read_bytes()
    return path.name.encode()


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
