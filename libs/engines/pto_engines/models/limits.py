"""The bounds of model access, each with its reason.

Imports nothing.
"""

MAX_AT_ONCE = 64
"""Requests to one model at a time from one process: more than executors usually are, fewer than ports and limits
hurt.
"""
PATIENCE_S = 120.0
"""How long a question waits through capacity errors by itself; after that the lane is the one who waits."""
PAUSE_S = 2.0
"""First pause after a capacity error that names no time; doubles with every further one."""
MAX_PAUSE_S = 60.0
"""Longest pause between two tries when the API names no time: what somebody looking on accepts."""
MAX_RETRY_AFTER_S = 900.0
"""Longest time that the API can make us wait; a wrong header must not stop a lane for a day."""
TRIES = 4
"""Tries of one question through faults of network and streams, which are no matter of capacity."""
TRY_AGAIN_S = 0.5
"""Before the second try; doubles."""
CONNECT_S = 10.0
SILENCE_S = 300.0
"""Longest silence within an answer: models think, but they send signs of life."""
CANCEL_GRACE_S = 5.0
"""How long a cancelled question may take to close its connection before it is left alone."""
MAX_REASON_CHARS = 600
"""Of an API's own words in a reason."""
