"""The executing half of the simulated engine.

It imports the standard library, pto_proto and pto_ports, and the catalogue when the first task is done. Invariant: a
task writes only the paths that its spec lists and its bench allows, inside the workspace, and the same task always
writes the same bytes over the same ancestors.
"""

from pathlib import Path

from pto_ports.engine import AgentTask, AttemptDone, EngineError, Workbench

COLLECTED = ("README.md", "docs/reference.md")
"""Written after all others, because they describe what is there."""
MODEL = "simulated"


class SimulatedExecutor:
    """A TaskEngine that writes the files of the blueprint from templates."""

    name = "simulated"

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        """Write the task's files. A task of somebody else's plan gets a stand-in for each of its outputs.

        After a complaint of the bench everything is written once more: the same bytes, should something have changed
        them.
        """
        until_s = bench.now_s() + task.limits.time_s
        tries = min(1, task.limits.feedback_turns) + 1
        for _ in range(tries):
            self._write(task, bench, until_s)
            found = bench.judge()
            if not found:
                return AttemptDone(summary="SIMULATED: written from fixed templates.", model=MODEL)
            bench.note(f"not accepted: {' '.join(found.split())[:600]}")
        raise EngineError(f"after {tries - 1} corrections the work is still not accepted: {found}")

    def _write(self, task: AgentTask, bench: Workbench, until_s: float) -> None:
        from pto_engines.simulated.blueprint import draw
        from pto_engines.simulated.reference import module_table, reference
        from pto_engines.simulated.rendering import project_variables, render
        from pto_engines.simulated.unknown import stand_ins

        spec, blueprint = task.spec, draw(task.requirement)
        known = blueprint.task(spec.id)
        if known is None or known.paths != spec.outputs:
            for path, text in stand_ins(spec):
                self._put(bench, until_s, path, text)
            return
        variables = project_variables(blueprint, task.requirement)
        for file in sorted(known.files, key=lambda file: file.path in COLLECTED):
            if file.path in COLLECTED:
                workspace = bench.workspace
                variables |= {"module_table": module_table(workspace), "reference": reference(workspace)}
            self._put(bench, until_s, file.path, render(file, variables))

    def _put(self, bench: Workbench, until_s: float, path: str, text: str) -> None:
        if bench.cancel.requested:
            raise EngineError(bench.cancel.reason or "cancelled", failure="cancelled")
        if bench.now_s() >= until_s:
            raise EngineError("the time limit was reached", failure="timeout")
        reason = bench.refusal(path)
        if reason:
            bench.note(f"not written: {path}: {reason}")
            return
        target: Path = bench.workspace / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
