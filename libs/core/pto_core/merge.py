"""Which version of a path wins when the outputs of several tasks meet, and which paths are taken over at all.

Pure; imports pto_proto only. Invariant: the result depends on the given trees and their order alone, and every conflict
that was settled is remembered in the winner's ``over``, so that the same two versions never meet in conflict again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from posixpath import splitext

import msgspec

from pto_proto.ids import TaskId
from pto_proto.manifests import Manifest, Tree, TreeFile
from pto_proto.requests import OnConflict
from pto_proto.results import Conflict

MAX_PATH_BYTES = 300
"""Longest path that is taken over; with a workspace in front of it, it stays well below the kernel's 4096."""
MAX_COMPONENT_BYTES = 255
"""Longest name that common file systems store."""
README = "README.md"
UNRESOLVED = "unresolved"
"""The resolution of a conflict under ``fail``: nobody wins, and what depends on the path cannot start."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """Files sorted by path, and the paths on which tasks disagreed. Unresolved paths are missing from ``files``."""

    files: tuple[TreeFile, ...]
    conflicts: tuple[Conflict, ...] = ()

    @property
    def unresolved(self) -> tuple[Conflict, ...]:
        """The conflicts that nobody settled; a task that sees one must not start."""
        return tuple(conflict for conflict in self.conflicts if conflict.resolution == UNRESOLVED)


def merge_trees(trees: Sequence[Tree], on_conflict: OnConflict = "fail") -> Merged:
    """The files of all trees in one view; of two versions of a path the descendant's wins, equal ones are one.

    Otherwise ``fail`` leaves the path out and lists it, ``latest`` takes the version of the later tree (the order of
    ``depends_on``), ``keep-both`` keeps the first one and stores the others as ``<stem>.<task><suffix>``.
    """
    if len(trees) == 1:
        return Merged(files=trees[0].files)
    versions: dict[str, list[TreeFile]] = defaultdict(list)
    for tree in trees:
        for file in tree.files:
            versions[file.path].append(file)
    chosen: dict[str, TreeFile] = {}
    conflicts: list[Conflict] = []
    for path in sorted(versions):
        rivals = _rivals(versions[path])
        if len(rivals) > 1:
            conflicts.append(_conflict(path, [file.task for file in rivals], on_conflict))
        for file in _settle(rivals, on_conflict, taken=versions):
            chosen[file.path] = file
    rank = _tree_ranks(trees)
    conflicts += _part_files_from_folders(chosen, rank, on_conflict)
    return Merged(
        files=tuple(chosen[path] for path in sorted(chosen)),
        conflicts=tuple(sorted(conflicts, key=lambda conflict: conflict.path)),
    )


def merge_parents(trees: Sequence[Tree], on_conflict: OnConflict) -> Merged:
    """What a task sees of its direct dependencies. A root README is no conflict: all versions are kept."""
    if len(trees) == 1:
        return Merged(files=trees[0].files)
    readmes = [Tree(files=tuple(file for file in tree.files if file.path == README)) for tree in trees]
    others = [Tree(files=tuple(file for file in tree.files if file.path != README)) for tree in trees]
    merged, kept = merge_trees(others, on_conflict), merge_trees(readmes, "keep-both")
    taken = {file.path for file in merged.files}
    files = [*merged.files, *(file for file in kept.files if file.path not in taken)]
    return Merged(files=tuple(sorted(files, key=lambda file: file.path)), conflicts=merged.conflicts)


def is_readme(path: str) -> bool:
    """Whether this is a root README, under its own name or as another task's version kept beside one."""
    return path == README or (path.startswith("README.") and path.endswith(".md") and "/" not in path)


def overlay(tree_files: Iterable[TreeFile], manifest: Manifest, task: TaskId) -> Tree:
    """What dependents of ``task`` see: its own outputs over the files that it saw itself."""
    below = {file.path: file for file in tree_files}
    folders = {folder for path in below for folder in _parents(path)}
    for own in manifest.files:
        replaced = [below.pop(path) for path in _in_the_way(own.path, below, folders)]
        over = {name for file in replaced for name in (file.task, *file.over)} - {task}
        below[own.path] = TreeFile(
            path=own.path,
            sha256=own.sha256,
            size=own.size,
            mode=own.mode,
            bundle=manifest.bundle,
            task=task,
            over=tuple(sorted(over)),
        )
    return Tree(files=tuple(below[path] for path in sorted(below)))


def refused_path(path: str) -> str | None:
    """Why ``path`` may not become a file of a workspace or of the output folder; None if it may."""
    if not path:
        return "the name is empty"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    parts = path.split("/")
    if size > MAX_PATH_BYTES:
        return f"the name is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "the path is absolute"
    if any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in path):
        return "the name has control characters"
    if "\\" in path:
        return "the name has a backslash"
    if ".." in parts:
        return "the path leaves its folder"
    if "" in parts or "." in parts:
        return "the path is not in its shortest form"
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in parts):
        return f"a part of the path is longer than {MAX_COMPONENT_BYTES} bytes"
    return None


def _rivals(versions: list[TreeFile]) -> list[TreeFile]:
    """The versions that no other one replaced, one per content, in the order of the trees."""
    replaced = {task for file in versions for task in file.over if task != file.task}
    last = [file for file in versions if file.task not in replaced]
    by_content: dict[tuple[str, int], TreeFile] = {}
    # Two branches may each have settled an earlier conflict their own way and so replaced each other: nobody is last.
    for file in last or versions:
        content = (file.sha256, file.mode)
        same = by_content.get(content)
        by_content[content] = file if same is None else _one_of_equals(same, file)
    return list(by_content.values())


def _one_of_equals(one: TreeFile, other: TreeFile) -> TreeFile:
    kept = min(one, other, key=lambda file: (file.task, file.bundle, file.member))
    over = {*one.over, *other.over} - {kept.task}
    return msgspec.structs.replace(kept, over=tuple(sorted(over)))


def _settle(rivals: list[TreeFile], on_conflict: OnConflict, taken: Iterable[str]) -> list[TreeFile]:
    if len(rivals) == 1:
        return rivals
    if on_conflict == "fail":
        return []
    if on_conflict == "latest":
        return [_winner(rivals[-1], rivals)]
    aside = [_renamed(file, taken) for file in rivals[1:]]
    return [_winner(rivals[0], rivals), *aside]


def _winner(file: TreeFile, rivals: list[TreeFile]) -> TreeFile:
    over = {name for rival in rivals for name in (rival.task, *rival.over)} - {file.task}
    return msgspec.structs.replace(file, over=tuple(sorted(over)))


def _renamed(file: TreeFile, taken: Iterable[str]) -> TreeFile:
    """The file under its second name; a counter keeps it from hiding another file of that name."""
    stem, suffix = splitext(file.path)
    path, count = f"{stem}.{file.task}{suffix}", 1
    while path in taken:
        count += 1
        path = f"{stem}.{file.task}-{count}{suffix}"
    return msgspec.structs.replace(file, path=path, member=file.member or file.path, over=())


def _conflict(path: str, tasks: Iterable[TaskId], on_conflict: OnConflict) -> Conflict:
    names = list(dict.fromkeys(tasks))
    resolution = {
        "fail": UNRESOLVED,
        "latest": f"the version of {names[-1]} was taken",
        "keep-both": f"the version of {names[0]} was kept, others have their task in the name",
    }[on_conflict]
    return Conflict(path=path, tasks=tuple(sorted(names)), resolution=resolution)


def _tree_ranks(trees: Sequence[Tree]) -> dict[TaskId, int]:
    return {file.task: rank for rank, tree in enumerate(trees) for file in tree.files}


def _part_files_from_folders(
    chosen: dict[str, TreeFile], rank: dict[TaskId, int], on_conflict: OnConflict
) -> list[Conflict]:
    """Settle, in ``chosen``, each path that is a file for one task and a folder for another."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in chosen:
        for folder in _parents(path):
            if folder in chosen:
                folders[folder].append(path)
    conflicts = []
    for path, inside in folders.items():
        if path not in chosen:
            continue
        file, below = chosen[path], [chosen[name] for name in inside if name in chosen]
        if any(file.task in other.over for other in below):
            del chosen[path]
            continue
        tasks = sorted((file.task, *(other.task for other in below)), key=lambda task: rank.get(task, 0))
        conflicts.append(_conflict(path, tasks, on_conflict))
        _choose_file_or_folder(chosen, file, below, on_conflict, folder_is_later=tasks[-1] != file.task)
    return conflicts


def _choose_file_or_folder(
    chosen: dict[str, TreeFile], file: TreeFile, below: list[TreeFile], on_conflict: OnConflict, folder_is_later: bool
) -> None:
    if on_conflict != "latest" or folder_is_later:
        del chosen[file.path]
    if on_conflict == "keep-both":
        aside = _renamed(file, chosen)
        chosen[aside.path] = aside
    elif on_conflict == "fail" or not folder_is_later:
        for other in below:
            del chosen[other.path]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _in_the_way(path: str, below: dict[str, TreeFile], folders: set[str]) -> list[str]:
    """Paths in ``below`` that cannot stay when there is a file at ``path``."""
    found = [name for name in (*_parents(path), path) if name in below]
    if path in folders:
        found += [name for name in below if name.startswith(path + "/")]
    return found
