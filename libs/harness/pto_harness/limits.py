"""Named limits of the harness, each with its reason.

Imports nothing. Invariant: nothing in the harness waits, keeps or writes without a bound that stands here.
"""

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL: enough to flush files, short enough that a cancel feels immediate."""
DRAIN_S = 1.0
"""How long output is still read after the task's processes are gone; longer means that somebody else holds the pipe."""
READ_BYTES = 64 * 1024
"""Bytes of one read: the size of a Linux pipe."""
LOG_HEAD_BYTES = 256 * 1024
LOG_TAIL_BYTES = 256 * 1024
"""Kept of a log: how it began and how it ended; what fails is nearly always in one of them."""
TAIL_LINES = 20
"""Last lines kept for the failure report: one screen, and small enough for an event."""
TAIL_LINE_CHARS = 300
MAX_HELD_BYTES = 64 * 1024
"""Longest unfinished line that is held back to look for secrets in it."""
MIN_SECRET_CHARS = 8
"""Shorter values would blank out ordinary words."""
MAX_PATH_BYTES = 300
MAX_COMPONENT_BYTES = 255
"""The same as in ``pto_core.merge``; a test compares the two."""
MAX_FILES = 100_000
"""Files one workspace is searched for; more is a mistake, such as an unpacked package cache."""
MAX_DEPTH = 200
"""Folders within folders: no path that is taken over has more, and what walks through them must come to an end."""
MAX_REFUSED = 100
"""Refused names that are listed; the rest is counted."""
HASH_BYTES = 1024 * 1024
"""Bytes hashed and copied at once."""
MATERIALISED_MTIME_S = 946_684_800
"""2000-01-01. Any later write gets another time, however soon it comes and however coarse the kernel's clock is."""
GUARD_PASSES = 20
GUARD_PAUSE_S = 0.05
"""The guard looks this often for processes of a dead owner: one may have been between fork and exec the first time."""
STRAY_PASSES = 5
"""Passes over the process table until no process of a task is found; each kills what it finds."""
JUNK_FOLDERS = frozenset(
    (".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", "node_modules")
)
"""By-products of tools, never outputs unless a declared output names the folder."""
EVENTS_AT_ONCE = 64
"""Descriptors served per step of a poller, so that whoever drives it gets a turn."""
STUCK_S = 1.0
"""A start takes a fraction of a millisecond; one that takes longer hangs, as on a stale network file system."""
MAX_SPARE_THREADS = 64
"""Threads in the place of stuck ones; each costs little but memory, and more of them than that would get stuck too."""
GUARDED_GROUPS = 32_768
"""Process groups one guard can keep in mind; descriptors run out long before."""
SANDBOX_TMP_BYTES = 512 * 1024 * 1024
"""The sandbox's own /tmp, which takes memory: enough for build by-products."""
SANDBOX_FILE_BYTES = 1024 * 1024 * 1024
"""Longest file that a sandboxed process may write: an endless one ends with a signal and not with a full disk."""
SANDBOX_DATA_BYTES = 4 * 1024 * 1024 * 1024
"""Private memory of one sandboxed process (what a runtime reserves without using it is not counted)."""
SANDBOX_PROCESSES = 1024
"""Processes and threads in one sandbox, where the kernel counts them for it; compilers and test runners use dozens."""
PROBE_S = 10.0
"""A sandbox that cannot say ``true`` within this time is none."""
AGENT_BYTES = 4 * 1024 * 1024 * 1024
"""What an agent's workspace may hold; more is a mistake, and the disk is everybody's."""
CARRIED_BYTES = 64 * 1024 * 1024
CARRIED_FILES = 2000
"""Of an attempt that was cut off, for the next one: more would cost more than it saves."""
MAX_NOTES_BYTES = 64 * 1024
FEEDBACK_TURNS = 3
"""How often in one attempt an agent is told what is wrong with its work, unless its task says otherwise."""
FEEDBACK_LINES = 40
"""Of a failed check's output, for the agent."""
LOOK_S = 2.0
"""How often the room that a running command of an agent takes is looked at."""
AGENT_CHECK_S = 600.0
"""One check of an agent's task, if the task has no time limit: longer, and it hangs."""
