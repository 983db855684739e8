"""The executing half of the simulated engine.

It imports the standard library only (TaskSpec is a type here), and the catalogue when the first task is done.
Invariant: a task writes only the paths that its spec lists, inside the workspace, and the same task always writes the
same bytes over the same ancestors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pto_proto.plans import TaskSpec

COLLECTED = ("README.md", "docs/reference.md")
"""Written after all others, because they describe what is there."""


class SimulatedExecutor:
    """A TaskEngine that writes the files of the blueprint from templates."""

    name = "simulated"

    def execute(self, requirement: str, spec: TaskSpec, workspace: Path) -> None:
        """Write the task's files. A task of somebody else's plan gets a stand-in for each of its outputs."""
        from pto_engines.simulated.blueprint import draw
        from pto_engines.simulated.reference import module_table, reference
        from pto_engines.simulated.rendering import project_variables, render
        from pto_engines.simulated.unknown import write_unknown

        blueprint = draw(requirement)
        task = blueprint.task(spec.id)
        if task is None or task.paths != spec.outputs:
            write_unknown(spec, workspace)
            return
        variables = project_variables(blueprint, requirement)
        for file in sorted(task.files, key=lambda file: file.path in COLLECTED):
            if file.path in COLLECTED:
                variables |= {"module_table": module_table(workspace), "reference": reference(workspace)}
            target = workspace / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(file, variables), encoding="utf-8", newline="\n")
