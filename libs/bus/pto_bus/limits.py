"""Named limits of the bus package, each with its reason. Imports nothing.

Invariant: every wait, retry, buffer and size of this package is bounded by a name in this file.
"""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- broker process ---------------------------------------------------------------------------------------------------

START_S = 20.0
"""Start to ready: a log of a million events takes 0.5 s; slow disks and replays of damaged indexes get their time."""
START_POLL_S = 0.002
"""Between two looks for the ports file; it appears after about 20 ms."""
STOP_S = 10.0
"""From SIGTERM to SIGKILL: the server needs about 1 ms; what is longer is stuck."""
MIN_FREE_BYTES = 64 * MIB
"""Room that a store's disk must have before a start: below this the server would fail at its first block."""
SERVER_STORE_BYTES = 1024 * GIB
"""Sum of all stream limits that the server accepts: only streams limit themselves, a small disk is found when it is
full.
"""
SERVER_LOG_BYTES = 8 * MIB
"""Size at which the server's own log file is rotated; one old file is kept."""

# --- streams ----------------------------------------------------------------------------------------------------------

LOG_BYTES = 16 * GIB
"""The log: about 80 million events of 200 compressed bytes; new runs are refused well before it is full."""
REQUEST_BYTES = 256 * MIB
"""The front door: a flood of requests is refused here and cannot hurt the log."""
REQUEST_MESSAGES = 100_000
"""Requests kept in all."""
REQUESTS_PER_SUBJECT = 20_000
"""Requests kept of one kind and requester, so that one requester cannot fill the front door."""
REQUEST_MESSAGE_BYTES = 960 * KIB
"""One request: plans above 256 kB travel by digest; the rest is room for long requirements."""
REQUEST_AGE_S = 30 * 86_400
"""Requests are kept this long after the scheduler copied them, for looking at them."""
BLOB_BYTES = 64 * GIB
"""Blobs of remote parties in the broker."""
LEASE_BYTES = MIB
"""One small message per lease."""
DUPLICATE_WINDOW_S = 600
"""How long the broker remembers message ids; a retry comes within seconds, a restart within minutes."""
VIEW_IDLE_S = 60
"""A viewer's consumer is removed this long after its last pull."""
VIEW_CONSUMERS = 500
"""Consumers of all viewers together."""

# --- connection -------------------------------------------------------------------------------------------------------

FIRST_CONNECT_S = 4.5
"""The first connection gives up after this long, so that a command with a wrong address ends within 5 s."""
RECONNECT_WAIT_S = 0.1
"""Between two attempts to reconnect; a killed broker is back after 50-500 ms."""
ATTEMPT_S = 2
"""One attempt to connect."""
PING_INTERVAL_S = 20
"""Between pings; two unanswered ones end a dead connection."""
REQUEST_S = 2.0
"""One question to the broker's API; it answers in about 1 ms unless it restarts."""
BOOTSTRAP_S = 10.0
"""One stream or consumer creation: it is fsynced, and a mirror may be set up."""

# --- writing ----------------------------------------------------------------------------------------------------------

ACK_S = 1.5
"""One wait for the acknowledgement of an append; an fsync takes well below 100 ms."""
ACK_TRIES = 2
"""The same bytes are sent again once: the second answer also settles what became of the first."""
MAX_MESSAGE_BYTES = 1000 * KIB
"""One message with headers must fit in the broker's max_payload of 1 MiB."""
BLOB_CHUNK_BYTES = 512 * KIB
"""One piece of a blob: half of max_payload, where transfer is as fast as it gets."""
BLOB_WINDOW = 8
"""Pieces of one blob under way at once: 4 MiB of memory."""
BLOB_TRIES = 3
"""Storing a piece again is harmless, so it is tried this often."""
BLOB_RETRY_S = 0.1
"""Pause before that; a server of a cluster takes a few milliseconds to show what was agreed on."""

# --- reading ----------------------------------------------------------------------------------------------------------

PULL_BATCH = 500
"""Messages of one pull; two or three of them overlapping reach 170,000 messages per second."""
PULLS = 2
"""Pulls under way at once; a new one starts when the reader took a batch, so memory stays bounded."""
PULL_EXPIRES_S = 30.0
"""A pull without messages ends after this long and is renewed."""
HEARTBEAT_S = 0.5
"""The broker's sign of life on a waiting pull."""
SILENCE_S = 1.5
"""A reader that has waited this long without message or heartbeat (three missed ones) starts its consumer anew."""
OLD_PULL_S = 2.5
"""A broker with leaf nodes serves a pull for 2 s although nobody listens to its answers any more."""
RESTART_PAUSE_S = 0.1
"""Between two attempts to start a consumer anew."""
GAP_TRIES = 2
"""A missing message is looked for this often with a fresh consumer before the log is called corrupt."""
DIRECT_BATCH = 500
"""Messages of one batched direct get."""
DIRECT_SILENCE_S = 2.0
"""A direct get without any message for this long has failed."""
MIRROR_S = 5.0
"""How long the mirror may take to come level with the log after a start; it takes a tenth of a second (measured)."""
