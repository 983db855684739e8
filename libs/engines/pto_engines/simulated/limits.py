"""The bounds of the simulated engine, each with its reason.

Imports nothing.
"""

MAX_TITLE = 60
"""Characters of a title: it stands in headings and docstrings of one line."""
MAX_QUOTED = 2000
"""Characters of the requirement that the README quotes; the whole is in the plan's run already."""
MAX_NOUNS = 6
"""Things taken from the text beyond those that the catalogue knows; more would only make noise."""
MAX_NAME = 20
"""Letters of a name from the text: it becomes part of module and class names."""
MAX_DRAWN = 16
"""Blueprints kept in memory: every task of a run needs the same one again."""
MAX_GROWTH = 16
"""Rounds of adding one more thing to a project that needs more parts; each gives two parts, of at most 24."""
