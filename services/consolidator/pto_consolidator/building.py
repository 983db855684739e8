"""One merged tree as a project: its own documents, and what the plan's checks say in a fresh folder with it.

Imports core, harness, ports and proto. Invariant: the documents depend on the run's events and the merged files alone.
"""

import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pto_consolidator.checking import Checker, confinement_for
from pto_core.consolidation import EXECUTION_DOC, PLAN_FILE, README, Consolidated
from pto_core.project_docs import render_execution_doc, render_readme
from pto_core.views import RunView
from pto_harness import Cancel
from pto_harness.workspace import Workspace
from pto_ports.blob_store import BlobMissing
from pto_proto.ids import Digest
from pto_proto.manifests import TreeFile
from pto_proto.results import CheckResult


class Builder:
    """Builds merged trees of one run and checks them; blocks while it does."""

    def __init__(self, view: RunView, checker: Checker, cancel: Cancel) -> None:
        self._view = view
        self._checker = checker
        self._cancel = cancel

    def write_own(self, merged: Consolidated, bundles: Mapping[Digest, Path], folder: Path) -> list[str]:
        """Write the documents that come with these files into a new folder; returns their paths."""
        view, plan = self._view, self._view.plan()
        parts = [(file.task, _read(bundles[file.bundle], file).decode(errors="replace")) for file in merged.readmes]
        texts = {
            README: render_readme(view, parts, [file.path for file in merged.files]),
            EXECUTION_DOC: render_execution_doc(view, merged),
        }
        if plan is not None:
            texts[PLAN_FILE] = msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        return list(texts)

    def check(
        self, merged: Consolidated, bundles: Mapping[Digest, Path], folder: Path, checks: Sequence[str]
    ) -> tuple[CheckResult, ...]:
        """Run these checks, one after the other, in a folder with the merged files and their documents."""
        if not checks:
            return ()
        own = folder / "own"
        documents = [{"path": path, "source": str(own / path)} for path in self.write_own(merged, bundles, own)]
        workspace = Workspace(folder / "merged")
        workspace.fill([*_files(merged.files, bundles), *documents])
        confined = confinement_for(self._view)
        return tuple(self._checker.run(check, workspace.folder, self._cancel, confined) for check in checks)


def _files(files: Iterable[TreeFile], bundles: Mapping[Digest, Path]) -> Iterable[dict[str, object]]:
    for file in files:
        yield {
            "path": file.path, "bundle": str(bundles[file.bundle]), "member": file.member or file.path,
            "mode": file.mode, "sha256": file.sha256,
        }  # fmt: skip


def _read(bundle: Path, file: TreeFile) -> bytes:
    with tarfile.open(bundle, "r:") as tar:
        source = tar.extractfile(file.member or file.path)
        if source is None:
            raise BlobMissing(f"a bundle lacks {file.path}")
        return source.read()
