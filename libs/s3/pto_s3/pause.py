"""How long to leave S3 alone after it was away or refused. Pure; imports siblings."""

from pto_s3 import limits


def pause_s(failures: int, chance: float) -> float:
    """Seconds after so many failed rounds in a row; ``chance`` from 0 to 1 spreads those who failed together."""
    longest = min(limits.PAUSE_CAP_S, limits.PAUSE_S * 2.0 ** min(failures - 1, 16))
    return longest * (0.5 + chance / 2)
