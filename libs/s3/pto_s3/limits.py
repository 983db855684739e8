"""The bounds of this package, each with its reason. Imports nothing."""

THREADS = 8
"""Requests under way at once: S3 answers small ones in tens of milliseconds, and more threads fight for the GIL."""
QUEUED_PER_THREAD = 2
"""Work handed to the pool ahead of time; the rest stays where it comes from, so that memory is flat."""
PART_BYTES = 8 << 20
"""Files above this go up in parts of at least this size: a cut costs one part, and eight of them fit in 64 MiB."""
MAX_PARTS = 10_000
"""S3's own limit; parts of bigger files are made bigger."""
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
TRIES = 4
"""Of one request, by botocore with jitter, before it counts as S3 being away; longer waits are the caller's."""
PAUSE_S = 1.0
"""After the first round that S3 was away or refused; doubled each time up to ``PAUSE_CAP_S``, with jitter."""
PAUSE_CAP_S = 60.0
COPY_BYTES = 1 << 20
"""Bytes of a file in memory at a time, where not a whole part is needed."""
