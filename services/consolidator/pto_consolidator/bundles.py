"""Brings the bundles that a merge reads to this host.

Imports harness, ports and proto. Invariant: what is read is verified, and what is not read is known to be stored.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from pto_harness.manifest import hash_file
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_proto.ids import Digest


async def bring(folder: Path, blobs: BlobStore, digests: Iterable[Digest]) -> dict[Digest, Path]:
    """Where each bundle lies; those of a store on this host are read where they are.

    Raises BlobMissing, BlobDamaged.
    """
    folder.mkdir()
    path_of = getattr(blobs, "path_of", None)
    bundles: dict[Digest, Path] = {}
    stored: dict[Digest, Path] = {}
    for digest in dict.fromkeys(digests):
        if path_of is not None:
            stored[digest] = bundles[digest] = Path(path_of(digest))
        else:
            bundles[digest] = folder / digest
            await blobs.get_file(digest, bundles[digest])
    await asyncio.to_thread(_verify, stored)
    return bundles


async def require(blobs: BlobStore, digests: Iterable[Digest]) -> None:
    """Make sure that these are stored, without fetching them. Raises BlobMissing."""
    for digest in dict.fromkeys(digests):
        if not await blobs.has(digest):
            raise BlobMissing(f"no blob {digest}, which holds outputs of a task")


def _verify(bundles: dict[Digest, Path]) -> None:
    for digest, path in bundles.items():
        try:
            is_sound = hash_file(path) == digest
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest}, which holds outputs of a task") from error
        if not is_sound:
            raise BlobDamaged(f"blob {digest} does not match its name: delete it and store it again")
