"""The claude-code engine: plans and does tasks by running the Claude Code command line, headless and confined.

Imports ports, proto and siblings. Invariant: what the program says about its own success is never enough.
"""

from pto_engines.claude_code.executor import ClaudeCodeExecutor
from pto_engines.claude_code.planner import ClaudeCodePlanner

__all__ = ["ClaudeCodeExecutor", "ClaudeCodePlanner"]
