"""The api engine: plans and does tasks by asking a model itself, without any program between.

Imports ports, proto, core and siblings; the client's package only when a model is asked. Invariant: nothing is kept
between attempts but what the workbench keeps.
"""

from pto_engines.api.executor import ApiExecutor
from pto_engines.api.planner import ApiPlanner

__all__ = ["ApiExecutor", "ApiPlanner"]
