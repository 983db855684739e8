"""Named limits of the docker dispatcher, each with its reason.

Imports nothing. Invariant: nothing here waits, retries or keeps without a bound that stands in this module.
"""

CALLS_PER_CORE = 3
"""Creates, starts and deletes at once, per core: the daemon works through them one by one, and more only wait there."""
LEAST_CALLS = 6
CALL_S = 120.0
"""One answer of the daemon. A loaded one takes seconds; what takes longer hangs, and what became of it is looked up."""
PATIENCE_S = 8.0
"""How long an attempt that has no container yet waits for the daemon: a restart takes less, and the lane rests then."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Between two tries to reach a daemon that is away: short at first, and soon enough for whoever looks on."""
LOOK_S = 20.0
"""A running container is looked at this often, whatever is heard of it: answers get lost, states do not."""
ROOM_LOOK_S = 1.0
"""How often the room that a container takes on the disk is looked at: a fast disk takes two gigabytes meanwhile."""
ROOM_LOOKS = 2
"""Workspaces looked through at once."""
DRAIN_S = 10.0
"""How long the rest of the output is read after the end; it lies on the daemon's disk and comes at once."""
LATE_S = 0.5
"""After the end of a container the daemon still tells what befell it."""
LATE_DONE_S = 0.05
"""The same of one that ended well: it takes the daemon about as long to say that it ended, so this delays nothing."""
LATE_KILL_S = 2.0
"""And of one that was killed: where a machine is busy, that its memory was used up comes later than its end."""
STOP_GRACE_S = 5
"""Between SIGTERM and SIGKILL for commands: as long as on every backend."""
AGENT_GRACE_S = 10
"""The same for agents: they close a connection to a model and write down what they have cost."""
AGENT_SPARE_S = 30.0
"""An agent's harness ends it at its time limit; only if that does not work, its container is stopped so much later."""
LEAVING_S = 5.0
"""How long a dispatcher that leaves nothing behind waits for deletions under way before it deletes all that is left."""
SHUTDOWN_S = 20.0
"""A daemon that is stopped gives its containers 15 s to end before it is gone."""
PLAN_S = 3600.0
"""One plan; the engines' own limits are far below."""
FRAME_BYTES = 64 * 1024
"""Of a container's output, read at once."""
LOG_BYTES = 8_000_000
"""The least that the daemon keeps, as it writes it: of more, the beginning may be gone. It is what a dispatcher that
restarts reads again, and many times what is kept of a log for good."""
LOG_FILES = 2
"""Each of so many bytes; the daemon empties the older one for what is new."""
LINE_BYTES = 100
"""What the daemon adds to each line that it keeps, and more."""
PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\<>&'))
"""What it keeps in one byte each."""
ESCAPED_BYTES = 6
"""Of any other, as ``\\u001b``, at the most."""
OVERLAP_S = 2.0
"""Where reading cannot begin anew: it goes on so much earlier, and rather reads some lines twice."""
TMP_BYTES = 512 * 1024 * 1024
"""A container's own /tmp, which counts as its memory."""
USER = 10001
"""User and group in containers where the dispatcher is root: nobody's on most systems, and the one of our images."""
LEAST_FREE_SHARE = 2
"""A workspace may take at most this part of what is free on its disk when it starts (half), whatever the limit says."""
ANSWER_BYTES = 4 * 1024 * 1024
"""What an agent's harness or a planner answers; a plan is the longest."""
TEXT_CHARS = 2000
"""Of one text in an answer that goes into an event."""
RATIONALE_CHARS = 20_000
"""Of a plan's rationale, which is a page or two."""
MOST_SPENT = 2**53
"""Tokens, or dollars: what is beyond is no number of either."""
MANIFEST_BYTES = 64 * 1024 * 1024
"""The list of an attempt's outputs: a hundred thousand files with long names."""
