"""What a measurement was told: sizes, repeats, how the broker syncs."""

from dataclasses import dataclass

SYNC = {"always": "always", "default": "2m"}
"""Name -> the broker's ``sync_interval``; the default is that of ``nats-server``."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The same for all workloads of one command."""

    scale: float = 1.0
    """Multiplies sizes and sleeps; for trying the harness, not for figures."""
    repeats: int = 3
    sync: str = "always"

    def size(self, full: int, least: int = 2) -> int:
        """How many tasks instead of ``full``."""
        return max(least, round(full * self.scale))
