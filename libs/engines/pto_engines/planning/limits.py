"""The bounds of planning, each with its reason.

Imports nothing.
"""

MAX_TASKS = 100
"""Tasks that an engine may plan: twice the largest budget of the guide; more is a model that lost count, and money."""
MAX_REPAIRS = 2
"""Times that a model may correct its plan: what two hints do not mend, ten do not either."""
MAX_PROBLEMS_SHOWN = 40
"""Problems that are sent back at once."""
MAX_OUTPUT_TOKENS = 32_000
"""Of a plan: 100 tasks of 300 tokens."""
MAX_MINUTES = 24 * 60
MAX_PLAN_CHARS = 400_000
"""Of an answer that is looked at; longer is no plan."""
