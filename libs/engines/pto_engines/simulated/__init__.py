"""PLACEHOLDER by the lead so that imports work; the engine's engineer overwrites this file."""

from pathlib import Path

from pto_ports.engine import EngineError, PlanDraft
from pto_proto.plans import TaskSpec


class SimulatedPlanner:
    """Placeholder."""

    name = "simulated"

    def plan(self, requirement: str, max_executors: int) -> PlanDraft:
        """Placeholder."""
        raise EngineError("the simulated engine is not there yet")


class SimulatedExecutor:
    """Placeholder."""

    name = "simulated"

    def execute(self, requirement: str, spec: TaskSpec, workspace: Path) -> None:
        """Placeholder."""
        raise EngineError("the simulated engine is not there yet")
