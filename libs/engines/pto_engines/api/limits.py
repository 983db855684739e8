"""The bounds of the api engine's own loop, each with its reason.

Imports nothing.
"""

MAX_OUTPUT_TOKENS = 32_000
"""Of one answer: a file of some 3,000 lines."""
MAX_NUDGES = 2
"""Times that an agent which stopped without finishing is asked to go on."""
MAX_CUTS = 3
"""Answers in a row that were cut off at the limit of output; then there is no progress."""
MAX_READ_CHARS = 60_000
"""Of a file, in one answer to the agent; it can read on from there."""
MAX_FILE_BYTES = 2_000_000
"""Of a file that an agent may write or read: more is data, not code."""
MAX_LISTED = 500
"""Paths in one listing."""
MAX_OUTPUT_CHARS = 12_000
"""Of a command's output, half from its beginning and half from its end."""
MAX_COMPLAINT_CHARS = 12_000
MAX_NOTES_CHARS = 4_000
MAX_SAID_CHARS = 600
"""Of the agent's own words, in notes and logs."""
