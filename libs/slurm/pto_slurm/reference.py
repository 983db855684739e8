"""``python -m pto_slurm.reference``: writes the tables into ``docs/reference/slurm-states.md``.

Imports siblings. Invariant: what the page says of states, words and answers is what the code does; a test compares.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pto_slurm.answers import PHRASES
from pto_slurm.pending import NEEDS_SOMEBODY
from pto_slurm.pooled import OVER, POOLED_ROWS
from pto_slurm.verdicts import ANY, BADLY_ENDED, GONE, ROWS, THERE, Row
from pto_slurm.words import WORDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "slurm-states.md"
_BLOCK = re.compile(r"(<!-- (\w+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)

_GROUPS: dict[tuple[str, ...], str] = {
    (ANY,): "anything",
    (GONE,): "(nothing)",
    THERE: "any state of a job that is there",
    BADLY_ENDED: "any bad end",
    OVER: "any end",
}


def tables() -> dict[str, str]:
    """Name of a block in the page -> its table."""
    return {
        "states": _table(("SLURM says", "and we see", "then"), map(_state_row, ROWS)),
        "pooled": _table(("SLURM says of the pilot", "and we see", "then"), map(_state_row, POOLED_ROWS)),
        "words": _table(
            ("word", "class", "what it says", "what to do"),
            ((f"`{name}`", word.failure, word.reason, word.hint) for name, word in WORDS.items()),
        ),
        "answers": _table(
            ("sbatch says", "it is", "what to do"),
            ((f"`{phrase.words}`", _meaning(phrase.meaning, phrase.failure), phrase.hint) for phrase in PHRASES),
        ),
        "waits": _table(
            ("reason", "what it needs"), ((f"`{reason}`", what) for reason, what in NEEDS_SOMEBODY.items())
        ),
    }


def filled(page: str) -> str:
    """The page with all its tables as they are now."""
    found = tables()
    return _BLOCK.sub(lambda match: f"{match[1]}{found[match[2]]}{match[3]}", page)


def _state_row(row: Row) -> tuple[str, ...]:
    said = _GROUPS.get(row.states) or ", ".join(f"`{state}`" for state in row.states)
    then = f"`{row.word}`" if row.kind == "ended" else row.kind
    more = f"more {row.more}" if row.more else ""
    notes = [more, "cancelled first" if row.cancel else "", "node left out" if row.exclude else ""]
    return said, " and ".join(row.signs), "; ".join(filter(None, [then, *notes]))


def _meaning(meaning: str, failure: str) -> str:
    said = {
        "ambiguous": "looked for by its name",
        "throttled": "tried again when a job has ended",
        "unasked": "tried again later: SLURM was not asked",
    }
    return said.get(meaning, f"refused ({failure})")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(filled(PAGE.read_text()))
    sys.stdout.write(f"{PAGE.name} is written\n")


if __name__ == "__main__":
    main()
