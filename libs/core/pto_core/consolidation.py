"""From the trees of a run's tasks to the files of one project: what is kept, where it goes, what is refused.

Pure; imports pto_proto and siblings only. Invariant: the result depends on the trees and their order alone; every file
that a task made is in the project, or in the list of conflicts, or in the list of what was refused.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from posixpath import basename, splitext

import msgspec

from pto_core.merge import is_readme, merge_trees, refused_path
from pto_proto.ids import Digest, TaskId
from pto_proto.manifests import ManifestFile, Tree, TreeFile
from pto_proto.requests import OnConflict
from pto_proto.results import Conflict

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
        README, ".dockerignore", ".editorconfig", ".env.example", ".eslintrc.json", ".flake8", ".gitattributes",
        ".gitignore", ".pre-commit-config.yaml", ".prettierrc", "AUTHORS", "CHANGELOG.md", "CONTRIBUTING.md",
        "Cargo.lock", "Cargo.toml", "Dockerfile", "Gemfile", "LICENSE", "LICENSE.md", "LICENSE.txt", "MANIFEST.in",
        "Makefile", "NOTICE", "Pipfile", "Pipfile.lock", "Procfile", "alembic.ini", "build.gradle", "compose.yaml",
        "compose.yml", "conftest.py", "docker-compose.yaml", "docker-compose.yml", "go.mod", "go.sum", "index.html",
        "jest.config.js", "mypy.ini", "package-lock.json", "package.json", "pnpm-lock.yaml", "poetry.lock", "pom.xml",
        "pyproject.toml", "pytest.ini", "ruff.toml", "setup.cfg", "setup.py", "tox.ini", "tsconfig.json", "uv.lock",
        "vite.config.js", "vite.config.ts", "yarn.lock",
    )
)  # fmt: skip
"""Files whose tools look for them at the root."""
ROOT_PATTERN = re.compile(r"requirements[\w.-]*\.txt\Z|docker-compose\.[\w.-]+\.ya?ml\Z|\.github/.+", re.ASCII)
"""The same, where the name has a free part."""
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


def consolidate(trees: Sequence[Tree], on_conflict: OnConflict, plan_order: Sequence[TaskId] = ()) -> Consolidated:
    """Merge the trees and sort only what lies outside the project's folders.

    ``latest`` takes the version of the task that comes last in ``plan_order`` (where that says nothing, of the last
    tree): unlike the time at which tasks happened to finish, that is the same in every run.
    """
    readmes: list[TreeFile] = []
    refused: dict[str, None] = {}
    kept: list[Tree] = []
    for tree in _by_maker(trees, plan_order):
        files = []
        for file in tree.files:
            if is_readme(file.path):
                readmes.append(file)
            elif reason := _refusal(file.path):
                refused[f"{file.path} of {file.task}: {reason}"] = None
            else:
                files.append(file)
        kept.append(Tree(files=tuple(files)))
    merged = merge_trees(kept, on_conflict)
    files_in_place, homeless = _put_in_place(merged.files)
    return Consolidated(
        files=files_in_place,
        readmes=_last_readmes(readmes),
        conflicts=merged.conflicts,
        refused=(*refused, *homeless),
    )


def place_of(path: str, code_folders: Container[str] = ()) -> str:
    """Where a file goes: it stays below src, tests and docs and at the root if it belongs there, else it is sorted.

    ``code_folders`` are folders at the root that hold source code: what is no test and no document stays beside it.
    """
    first, _, rest = path.partition("/")
    if (rest and first in PROJECT_FOLDERS) or path in ROOT_FILES or ROOT_PATTERN.match(path):
        return path
    name, suffix = basename(path), splitext(path)[1].lower()
    if suffix == ".py" and (name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"):
        return f"tests/{path}"
    if suffix in DOC_SUFFIXES:
        return f"docs/{path}"
    if suffix in SOURCE_SUFFIXES or (rest and first in code_folders):
        return f"src/{path}"
    return path if first == OTHER_FOLDER and rest else f"{OTHER_FOLDER}/{path}"


def tree_digest(files: Iterable[ManifestFile]) -> Digest:
    """Digest over path, mode and content of each file; the same for the same files wherever they come from."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.mode:o}\0{file.sha256}\n".encode())
    return Digest(digest.hexdigest())


def _last_readmes(readmes: Sequence[TreeFile]) -> tuple[TreeFile, ...]:
    """Those that no other one replaced, one per content; all, if they replaced each other.

    A version that was kept beside the winner, under a name of its own, still counts.
    """
    replaced = {(file.path, task) for file in readmes for task in file.over}
    last = [file for file in readmes if (file.path, file.task) not in replaced]
    by_content: dict[Digest, TreeFile] = {}
    for file in last or readmes:
        by_content.setdefault(file.sha256, msgspec.structs.replace(file, over=()))
    return tuple(by_content.values())


def _by_maker(trees: Sequence[Tree], plan_order: Sequence[TaskId]) -> list[Tree]:
    """The same files with each task's own ones in one tree, in plan order.

    A tree brings along its ancestors' files, so the order of the trees says nothing about the order of their makers.
    """
    made: dict[TaskId, dict[TreeFile, None]] = defaultdict(dict)
    for tree in trees:
        for file in tree.files:
            made[file.task][file] = None
    rank = {task: at for at, task in enumerate(plan_order)}
    return [Tree(files=tuple(made[task])) for task in sorted(made, key=lambda task: rank.get(task, -1))]


def _refusal(path: str) -> str | None:
    first = path.partition("/")[0]
    if path in RESERVED or first in RESERVED or first.startswith(RESERVED_PREFIX):
        return "the name is used by the orchestrator"
    return refused_path(path)


def _put_in_place(files: Sequence[TreeFile]) -> tuple[tuple[TreeFile, ...], list[str]]:
    """(each file at its place, sorted; what found none). What stays where it is goes first and is never renamed."""
    code_folders = {
        first
        for first, rest, place in ((*file.path.partition("/")[::2], place_of(file.path)) for file in files)
        if rest and first not in PROJECT_FOLDERS and place == f"src/{first}/{rest}"
    }
    places = _Places()
    homeless = []
    for file in sorted(files, key=lambda file: (place_of(file.path, code_folders) != file.path, file.path)):
        place = place_of(file.path, code_folders)
        stem, suffix = splitext(place)
        aside = f"{place.partition('/')[0]}/{file.task}/{file.path}"
        if not any(places.take(path, file) for path in (place, f"{stem}.{file.task}{suffix}", aside)):
            homeless.append(f"{file.path} of {file.task}: there is no free name for it")
    return tuple(places.files[path] for path in sorted(places.files)), homeless


class _Places:
    """Names in the project that are taken; no name is a file and a folder at once."""

    def __init__(self) -> None:
        self.files: dict[str, TreeFile] = {}
        self._folders: set[str] = set()

    def take(self, path: str, file: TreeFile) -> bool:
        """Whether ``file`` could be put at ``path``, or is there already with the same content."""
        there = self.files.get(path)
        if there is not None:
            return (there.sha256, there.mode) == (file.sha256, file.mode)
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if path in self._folders or any(name in self.files or name == EXECUTION_DOC for name in above):
            return False
        if _refusal(path):
            return False
        self._folders.update(above)
        moved = msgspec.structs.replace(file, path=path, member=file.member or file.path)
        self.files[path] = file if path == file.path else moved
        return True
