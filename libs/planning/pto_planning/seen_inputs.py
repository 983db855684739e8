"""Which input files each task of a plan will see, as one digest per task: part of the task's content key.

Imports harness and proto. Invariant: it names the files that the task's workspace will be filled with, by the same rule
that fills it; the same files give the same digest wherever they came from.
"""

from collections.abc import Sequence

import msgspec

from pto_harness import matches
from pto_proto.ids import NO_DIGEST, Digest, digest_of
from pto_proto.plans import InputFile, Plan


def seen_inputs(plan: Plan, files: Sequence[InputFile]) -> tuple[Digest, ...]:
    """Per task, the digest over (path, content, mode) of its input files; an empty tuple if no task sees any."""
    found = _Found(files)
    digests = tuple(found.digest((*plan.inputs, *spec.inputs)) for spec in plan.tasks)
    return digests if any(digests) else ()


class _Found:
    """Each glob is looked for once, and each set of globs is hashed once: sweeps repeat them thousands of times."""

    def __init__(self, files: Sequence[InputFile]) -> None:
        self._files = sorted(files, key=lambda file: file.path)
        self._by_glob: dict[str, frozenset[int]] = {}
        self._digests: dict[frozenset[str], Digest] = {}

    def digest(self, globs: Sequence[str]) -> Digest:
        wanted = frozenset(globs)
        if wanted not in self._digests:
            seen = sorted(frozenset().union(*map(self._matching, wanted)))
            named = [(file.path, file.sha256, file.mode) for file in (self._files[at] for at in seen)]
            self._digests[wanted] = digest_of(msgspec.json.encode(named)) if named else NO_DIGEST
        return self._digests[wanted]

    def _matching(self, glob: str) -> frozenset[int]:
        if glob not in self._by_glob:
            self._by_glob[glob] = frozenset(at for at, file in enumerate(self._files) if matches(glob, file.path))
        return self._by_glob[glob]
