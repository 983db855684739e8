"""What an attempt may see, brought to this host: its ancestors' files and its inputs, as the harness takes them.

Imports core, harness, ports and proto. Invariant: a conflict between ancestors is settled here, before the attempt
starts.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from pto_core.merge import merge_parents
from pto_harness import matches
from pto_ports.blob_store import BlobStore
from pto_proto.events import TaskReady
from pto_proto.ids import Digest
from pto_proto.manifests import Tree, TreeFile
from pto_proto.plans import InputFile

MAX_TREES = 256
"""Trees kept decoded: siblings share their parents' trees, so the last few serve most lookups."""


class Conflicting(Exception):
    """Ancestors disagree about a path and the run says ``fail``."""


class Materials:
    """Fetches and caches; one for all attempts of a dispatcher."""

    def __init__(self, blobs: BlobStore, cache: Path) -> None:
        self._blobs = blobs
        self._cache = cache
        self._trees: dict[Digest, Tree] = {}

    async def seen_by(self, ready: TaskReady) -> tuple[TreeFile, ...]:
        """The files of the attempt's ancestors, merged. Raises Conflicting, BlobMissing, BlobDamaged."""
        if not ready.trees:
            return ()
        merged = merge_parents([await self._tree(digest) for digest in ready.trees], ready.on_conflict)
        if merged.unresolved:
            first = merged.unresolved[0]
            more = f" and {len(merged.unresolved) - 1} more paths" if len(merged.unresolved) > 1 else ""
            raise Conflicting(f"{' and '.join(first.tasks)} wrote different versions of {first.path!r}{more}")
        return merged.files

    async def files_for(self, ready: TaskReady, seen: tuple[TreeFile, ...]) -> list[dict[str, Any]]:
        """Everything to put into the workspace, ancestors' files over inputs. Raises BlobMissing, BlobDamaged."""
        files: dict[str, dict[str, Any]] = {}
        for given in await self._inputs(ready):
            source = await self.local_path(Digest(given.sha256))
            files[given.path] = {
                "path": given.path, "mode": given.mode, "sha256": given.sha256, "source": str(source),
            }  # fmt: skip
        for file in seen:
            bundle = await self.local_path(file.bundle)
            files[file.path] = {
                "path": file.path, "mode": file.mode, "sha256": file.sha256, "bundle": str(bundle),
                "member": file.member or file.path,
            }  # fmt: skip
        return list(files.values())

    async def local_path(self, digest: Digest) -> Path:
        """Where the blob lies on this host; it is fetched if it does not. Raises BlobMissing, BlobDamaged."""
        path_of = getattr(self._blobs, "path_of", None)
        if path_of is not None and (stored := Path(path_of(digest))).exists():
            return stored
        path = self._cache / digest
        if not path.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            await self._blobs.get_file(digest, path)
        else:
            os.utime(path)
        return path

    async def _tree(self, digest: Digest) -> Tree:
        known = self._trees.pop(digest, None)
        tree = known or msgspec.json.decode(await self._blobs.get(digest), type=Tree)
        self._trees[digest] = tree
        if len(self._trees) > MAX_TREES:
            del self._trees[next(iter(self._trees))]
        return tree

    async def _inputs(self, ready: TaskReady) -> list[InputFile]:
        if not ready.inputs_digest:
            return []
        given = msgspec.json.decode(await self._blobs.get(ready.inputs_digest), type=list[InputFile])
        wanted = (*ready.inputs, *ready.spec.inputs)
        return [file for file in given if any(matches(pattern, file.path) for pattern in wanted)]
