"""From the trees of a run's tasks to the files of one project: what is kept, where it goes, what is refused.

Pure; imports pto_proto and siblings only. Invariant: the result depends on the trees and their order alone; every file
that a task made is in the project, or in the list of conflicts, or in the list of what was refused.
"""

import hashlib
from collections.abc import Iterable, Sequence
from posixpath import basename, splitext

import msgspec

from pto_core.merge import merge_trees, refused_path
from pto_proto.events import Conflict
from pto_proto.ids import Digest
from pto_proto.manifests import ManifestFile, Tree, TreeFile
from pto_proto.requests import OnConflict

README = "README.md"
EXECUTION_DOC = "docs/execution.md"
PLAN_FILE = "execution_plan.json"
PROJECT_FOLDERS = ("src", "tests", "docs")
OTHER_FOLDER = "data"
RESERVED = (
    PLAN_FILE, EXECUTION_DOC, "events.jsonl", "execution_summary.json", "orchestrator.log", "planner", ".slurm_state",
    ".staging",
)  # fmt: skip
"""Names that the orchestrator writes itself, at the root of the output folder."""
RESERVED_PREFIX = "executor_"
ROOT_FILES = frozenset(
    (
        README, ".dockerignore", ".editorconfig", ".env.example", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md",
        "Dockerfile", "LICENSE", "Makefile", "conftest.py", "docker-compose.yml", "index.html", "mypy.ini",
        "package.json", "pyproject.toml", "pytest.ini", "requirements-dev.txt", "requirements.txt", "setup.cfg",
        "setup.py", "tox.ini", "tsconfig.json",
    )
)  # fmt: skip
"""Files whose tools look for them at the root."""
SOURCE_SUFFIXES = frozenset(
    (".c", ".cc", ".cpp", ".cs", ".css", ".go", ".h", ".hpp", ".java", ".js", ".jsx", ".kt", ".php", ".py", ".r", ".rb",
     ".rs", ".scala", ".scss", ".sh", ".sql", ".swift", ".ts", ".tsx", ".vue")
)  # fmt: skip
DOC_SUFFIXES = frozenset((".adoc", ".md", ".rst"))


class Consolidated(msgspec.Struct, frozen=True, kw_only=True):
    """The project's files, sorted by path, without the root README, which is joined from ``readmes``."""

    files: tuple[TreeFile, ...]
    readmes: tuple[TreeFile, ...]
    conflicts: tuple[Conflict, ...]
    refused: tuple[str, ...]


def consolidate(trees: Sequence[Tree], on_conflict: OnConflict) -> Consolidated:
    """Merge the trees, the more important ones last, and sort only what lies outside the project's folders."""
    readmes: dict[Digest, TreeFile] = {}
    for tree in trees:
        for file in tree.files:
            if file.path == README:
                readmes.setdefault(file.sha256, file)
    replaced = {task for file in readmes.values() for task in file.over}
    rest = [Tree(files=tuple(file for file in tree.files if file.path != README)) for tree in trees]
    merged = merge_trees(rest, on_conflict) if len(rest) > 1 else None
    found = merged.files if merged is not None else (rest[0].files if rest else ())
    refused: list[str] = []
    kept: list[TreeFile] = []
    for file in found:
        reason = _refusal(file.path)
        if reason:
            refused.append(f"{file.path} of {file.task}: {reason}")
        else:
            kept.append(file)
    return Consolidated(
        files=_sorted_in(kept),
        readmes=tuple(file for file in readmes.values() if file.task not in replaced),
        conflicts=merged.conflicts if merged is not None else (),
        refused=tuple(refused),
    )


def place_of(path: str) -> str:
    """Where a file goes: it stays below src, tests and docs and at the root if it belongs there, else it is sorted."""
    first, _, rest = path.partition("/")
    if (rest and first in PROJECT_FOLDERS) or path in ROOT_FILES:
        return path
    name, suffix = basename(path), splitext(path)[1].lower()
    if suffix == ".py" and (name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"):
        return f"tests/{path}"
    if suffix in DOC_SUFFIXES:
        return f"docs/{path}"
    if suffix in SOURCE_SUFFIXES:
        return f"src/{path}"
    return path if first == OTHER_FOLDER and rest else f"{OTHER_FOLDER}/{path}"


def tree_digest(files: Iterable[ManifestFile]) -> Digest:
    """Digest over path, mode and content of each file; the same for the same files wherever they come from."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.mode:o}\0{file.sha256}\n".encode())
    return Digest(digest.hexdigest())


def _refusal(path: str) -> str | None:
    first = path.partition("/")[0]
    if path in RESERVED or first in RESERVED or first.startswith(RESERVED_PREFIX):
        return "the name is used by the orchestrator"
    return refused_path(path)


def _sorted_in(files: Iterable[TreeFile]) -> tuple[TreeFile, ...]:
    """Each file at its place; one that would hide another gets its task into the name."""
    placed: dict[str, TreeFile] = {}
    by_stay = sorted(files, key=lambda file: (place_of(file.path) != file.path, file.path))
    for file in by_stay:
        path = place_of(file.path)
        hidden = placed.get(path)
        if hidden is not None:
            if (hidden.sha256, hidden.mode) == (file.sha256, file.mode):
                continue
            stem, suffix = splitext(path)
            path = f"{stem}.{file.task}{suffix}"
        if path == file.path:
            placed[path] = file
        else:
            placed[path] = msgspec.structs.replace(file, path=path, member=file.member or file.path)
    return tuple(placed[path] for path in sorted(placed))
