"""Names that the command line makes up: run ids and folder names.

Imports the standard library only. Invariant: a made-up run id matches the grammar of run ids and does not collide in
practice.
"""

import re
import secrets
import unicodedata

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_RANDOM_CHARS = 8
RUN_SLUG_CHARS = 20
FOLDER_SLUG_CHARS = 48
NAME_CHARS = 80
"""A requirement is shortened to this as the run's name."""


def slug(text: str, limit: int) -> str:
    """``text`` as lower-case words joined by ``-``, cut at a word where possible; ``run`` if nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    cut = "-".join(words)
    if len(cut) > limit:
        head = cut[: limit + 1].rpartition("-")[0]
        cut = head if len(head) >= limit // 2 else cut[:limit]
    return cut.strip("-") or "run"


def new_run_id(name: str) -> str:
    """``<slug of the name>-<8 random characters>``."""
    tail = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return f"{slug(name, RUN_SLUG_CHARS)}-{tail}"


def short_name(requirement: str) -> str:
    """The requirement on one line, not too long."""
    line = " ".join(requirement.split())
    return line if len(line) <= NAME_CHARS else line[: NAME_CHARS - 3].rstrip() + "..."
