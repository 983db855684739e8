"""The work of one merge on this host: fetch trees, write the project's own files, count, check.

Imports core, harness, ports and proto. Invariant: what it stores depends on the run's events and blobs alone.
"""

import asyncio
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from pto_consolidator.building import Builder
from pto_consolidator.bundles import bring, require
from pto_consolidator.checking import Checker
from pto_consolidator.tracing import Trace, trace
from pto_core.consolidation import Consolidated, consolidate, tree_digest
from pto_core.transitions import DONE_STATES
from pto_core.views import RunView
from pto_harness import Cancel
from pto_harness.manifest import write_bundle
from pto_ports.blob_store import BlobStore
from pto_proto.ids import MERGE_TASK, Digest
from pto_proto.manifests import Manifest, Tree, TreeFile
from pto_proto.results import CheckResult

CODE_FOLDERS = ("src/", "tests/")


class MergedProject(NamedTuple):
    """What one merge came to."""

    consolidated: Consolidated
    tree: Tree
    digest: Digest
    manifest: Digest
    lines: int
    checks: tuple[CheckResult, ...]
    trace: Trace | None
    """Whom the first red check was traced to; None if none is red."""


async def merge_project(view: RunView, blobs: BlobStore, checker: Checker, cancel: Cancel) -> MergedProject:
    """Merge the run's outputs and store the result. Raises BlobMissing, BlobDamaged, StoreFull, NoSandbox."""
    trees = [msgspec.json.decode(await blobs.get(digest), type=Tree) for digest in final_trees(view)]
    on_conflict = view.run.request.on_conflict if view.run is not None else "fail"
    plan_order = [task.spec.id for task in view.run.tasks] if view.run is not None else []
    merged = await asyncio.to_thread(consolidate, trees, on_conflict, plan_order)
    builder, checks, traced = Builder(view, checker, cancel), _checks(view), None
    with tempfile.TemporaryDirectory(prefix="pto-merge-") as name:
        folder = Path(name)
        read = [*merged.readmes, *(f for f in merged.files if checks or f.path.startswith(CODE_FOLDERS))]
        bundles = await bring(folder / "bundles", blobs, [file.bundle for file in read])
        await require(blobs, [file.bundle for file in merged.files if file.bundle not in bundles])
        own = await asyncio.to_thread(_bundle_own, builder, merged, bundles, folder)
        manifest = msgspec.json.decode(Path(own["manifest"]).read_bytes(), type=Manifest)
        await blobs.put_file(Path(own["bundle"]))
        tree = Tree(files=tuple(sorted([*merged.files, *_own_files(manifest)], key=lambda file: file.path)))
        lines = await asyncio.to_thread(_count_lines, tree, {**bundles, manifest.bundle: Path(own["bundle"])})
        results = await asyncio.to_thread(builder.check, merged, bundles, folder / "whole", checks)
        if view.run is not None and not cancel.requested and not all(result.passed for result in results):
            traced = await trace(view.run, merged, results, blobs, folder / "search", builder.check)
    stored = await blobs.put(msgspec.json.encode(tree))
    return MergedProject(merged, tree, tree_digest(tree.files), stored, lines, results, traced)


def final_trees(view: RunView) -> list[Digest]:
    """Trees of the succeeded tasks that no succeeded task builds on; they hold everything that was made, in plan
    order.
    """
    run = view.run
    if run is None:
        return []
    found: dict[Digest, None] = {}
    for task in run.tasks:
        children = (run.tasks[child] for child in run.graph.children[task.index])
        is_done = task.state in DONE_STATES and bool(task.tree)
        if is_done and not any(child.state in DONE_STATES and child.tree for child in children):
            found[task.tree] = None
    return list(found)


def _bundle_own(builder: Builder, merged: Consolidated, bundles: dict[Digest, Path], folder: Path) -> dict[str, str]:
    own = folder / "own"
    return write_bundle(own, builder.write_own(merged, bundles, own), folder / "out")


def _own_files(manifest: Manifest) -> list[TreeFile]:
    return [
        TreeFile(path=f.path, sha256=f.sha256, size=f.size, mode=f.mode, bundle=manifest.bundle, task=MERGE_TASK)
        for f in manifest.files
    ]


def _count_lines(tree: Tree, bundles: dict[Digest, Path]) -> int:
    wanted: dict[Digest, set[str]] = defaultdict(set)
    for file in tree.files:
        if file.path.startswith(CODE_FOLDERS):
            wanted[file.bundle].add(file.member or file.path)
    lines = 0
    for digest, members in wanted.items():
        with tarfile.open(bundles[digest], "r:") as tar:
            for info in tar:
                source = tar.extractfile(info) if info.name in members else None
                data = source.read() if source is not None else b""
                if b"\0" not in data:
                    lines += data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    return lines


def _checks(view: RunView) -> tuple[str, ...]:
    return view.run.plan.checks if view.run is not None and view.run.plan is not None else ()
