"""Traces a red check to the agent's task without whose files the merged project does not fail that way.

Imports core, ports and proto. Invariants: at most 1 + ceil(log2(N)) merged trees of a plan of N tasks are checked, the
whole one included; a task is named only if the same failure was seen with its files and not without them.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pto_consolidator.bundles import bring
from pto_consolidator.failure import CANNOT_RUN, is_same_failure
from pto_consolidator.suspects import Suspects, suspects_of
from pto_core.consolidation import Consolidated, consolidate
from pto_core.limits import MAX_EVIDENCE
from pto_core.merge import UNRESOLVED
from pto_core.reopening import is_complete
from pto_core.state import Run
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_proto.ids import Digest, TaskId
from pto_proto.manifests import Tree, TreeFile
from pto_proto.results import CheckResult

MAX_TASKS = 2_000
"""The search reads every task's tree; a plan of agents is far smaller."""
MAX_COMMAND_CHARS = 300

Build = Callable[[Consolidated, Mapping[Digest, Path], Path, Sequence[str]], tuple[CheckResult, ...]]
"""Puts a merged project into this empty folder and runs these checks there; blocks."""


class Trace(NamedTuple):
    """What the search came to."""

    culprit: TaskId
    evidence: str
    """What the culprit's files do; without a culprit, why there is none."""
    builds: int
    """Merged trees that were checked beside the whole one."""


async def trace(
    run: Run, merged: Consolidated, checks: Sequence[CheckResult], blobs: BlobStore, folder: Path, build: Build
) -> Trace:
    """Find whom the first red one of the plan's ``checks`` on the whole project is to be traced to."""
    at = next(number for number, check in enumerate(checks) if not check.passed)
    why_not = _why_not(run, merged, checks[at])
    if why_not:
        return _nobody(why_not)
    try:
        made = await _made(run, blobs)
        suspects = suspects_of(run, made, "\n".join(checks[at].tail))
        if not suspects.order:
            return _nobody("no agent made anything of it")
        await asyncio.to_thread(folder.mkdir)
        bundles = await bring(folder / "bundles", blobs, (file.bundle for files in made.values() for file in files))
    except (BlobMissing, BlobDamaged) as error:
        return _nobody(f"what the search needs cannot be fetched: {error}")
    plan_checks = run.plan.checks[: at + 1] if run.plan is not None else ()
    builds = _Builds(run, made, suspects, bundles, folder, plan_checks, build)
    return await asyncio.to_thread(_search, suspects, builds, checks[at])


def _why_not(run: Run, merged: Consolidated, red: CheckResult) -> str:
    if not is_complete(run):
        return "tasks are missing"
    if len(run.tasks) > MAX_TASKS:
        return f"the search is for plans of up to {MAX_TASKS} tasks"
    if any(conflict.resolution == UNRESOLVED for conflict in merged.conflicts):
        return "there are conflicts to be settled first"
    if red.exit_code is None:
        return "the check did not end within its time limit"
    if red.exit_code in CANNOT_RUN:
        return "the check itself cannot be run"
    return ""


async def _made(run: Run, blobs: BlobStore) -> dict[TaskId, list[TreeFile]]:
    """Each task's own files, also where others replaced them later."""
    made = {}
    for task in run.tasks:
        if task.tree:
            tree = msgspec.json.decode(await blobs.get(task.tree), type=Tree)
            made[task.spec.id] = [file for file in tree.files if file.task == task.spec.id]
    return made


class _Builds:
    """The merged trees of the search; none is checked twice."""

    def __init__(
        self,
        run: Run,
        made: Mapping[TaskId, Sequence[TreeFile]],
        suspects: Suspects,
        bundles: Mapping[Digest, Path],
        folder: Path,
        checks: Sequence[str],
        build: Build,
    ) -> None:
        self._run, self._made, self._suspects, self._bundles = run, made, suspects, bundles
        self._folder, self._checks, self._build = folder, checks, build
        self.count = 0

    def has_base(self) -> bool:
        """Whether there are files that no agent made or had a part in."""
        return any(tree.files for tree in self._suspects.trees(self._made, 0))

    def check(self, count: int) -> CheckResult:
        """The last check on what the first ``count`` suspects made, and all that needs no other."""
        trees = [tree for tree in self._suspects.trees(self._made, count) if tree.files]
        self.count += bool(trees)  # an empty folder is no merged tree
        order = [task.spec.id for task in self._run.tasks]
        merged = consolidate(trees, self._run.request.on_conflict, order)
        folder = self._folder / f"{count}"
        try:
            return self._build(merged, self._bundles, folder, self._checks)[-1]
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _search(suspects: Suspects, builds: _Builds, red: CheckResult) -> Trace:
    """Bisect for the first suspect with whom it fails as the whole does: that one is the last that it needs.

    The files that no agent made are one more step at the beginning. If there are none, an empty folder stands for them,
    and only if nothing else was seen to fail otherwise.
    """
    has_base = builds.has_base()
    last_without, first_with = -1 if has_base else 0, len(suspects.order)
    without: CheckResult | None = None
    while first_with - last_without > 1:
        middle = (last_without + first_with) // 2
        result = builds.check(middle)
        if is_same_failure(red, result):
            first_with = middle
        else:
            last_without, without = middle, result
    if first_with and without is None:
        without = builds.check(0)
        first_with = 0 if is_same_failure(red, without) else first_with
    if not first_with or without is None:
        return _nobody("it fails the same way without the files of any agent", builds.count)
    return Trace(suspects.order[first_with - 1], _evidence(red, without), builds.count)


def _nobody(why: str, builds: int = 0) -> Trace:
    return Trace(TaskId(""), f"it was traced to no task: {why}", builds)


def _evidence(red: CheckResult, without: CheckResult) -> str:
    then = "it passes" if without.passed else "it fails in another way"
    text = (
        f"The check `{red.command[:MAX_COMMAND_CHARS]}` on the merged project ended with exit code {red.exit_code}."
        f" Without the files of this task {then}.\n"
    )
    lines = "\n".join(red.tail)
    return f"{text}Its last lines:\n{lines[-(MAX_EVIDENCE - len(text) - 100) :]}" if lines else text.strip()
