"""The simulated engine: plans and does tasks without a key, a network or a language model.

It imports the standard library, pto_proto and pto_ports only. Invariant: the same requirement always gives the
same plan and the same files, and everything that is made says SIMULATED.
"""

from pto_engines.simulated.executor import SimulatedExecutor
from pto_engines.simulated.planner import SimulatedPlanner

__all__ = ["SimulatedExecutor", "SimulatedPlanner"]
