"""Names that are safe wherever they are put: identifiers, slugs, titles and quotations.

Imports the standard library only. Invariant: whatever the text, a name is a valid Python identifier that hides
nothing of Python or of the templates, and a title is one line without quotes, backslashes or control characters.
"""

import keyword
import re
import unicodedata
from functools import cache
from importlib.resources import files

from pto_engines.simulated.catalogue import word_list
from pto_engines.simulated.limits import MAX_NAME, MAX_QUOTED, MAX_TITLE

WORD = re.compile(r"[^\W\d_]+")
TAKEN = word_list("taken")
"""Words that the templates use themselves, in lower case."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, accents removed where that leaves letters."""
    return [plain(word) for word in WORD.findall(text.lower())]


def plain(word: str) -> str:
    """``crème`` -> ``creme``; other scripts stay as they are."""
    folded = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    return folded or word


def is_name(word: str) -> bool:
    """Whether a word from a text can become a name."""
    return word.isascii() and word.isalpha() and 3 <= len(word) <= MAX_NAME


def safe_noun(word: str) -> str:
    """The word, or with ``_record`` if Python or the templates use it already."""
    reserved = keyword.iskeyword(word) or keyword.iskeyword(word.capitalize()) or word in TAKEN or word in _modules()
    return word + "_record" if reserved else word


def singular(word: str) -> str:
    """``categories`` -> ``category``, ``boxes`` -> ``box``, ``users`` -> ``user``; good enough for names."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def plural(word: str) -> str:
    """The inverse of ``singular``, as good."""
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def class_of(name: str) -> str:
    """``page_record`` -> ``PageRecord``."""
    return "".join(part.capitalize() for part in name.split("_"))


def title_of(requirement: str) -> str:
    """The start of the requirement as one harmless line: letters, digits, spaces and a few signs."""
    kept = "".join(sign if sign.isalnum() or sign in "-,.:&+" else " " for sign in requirement[: MAX_TITLE * 8])
    line = " ".join(kept.split())
    if len(line) > MAX_TITLE:
        line = line[:MAX_TITLE].rsplit(" ", 1)[0] + " ..."
    line = line.strip(" ,:-.&+") if any(sign.isalnum() for sign in line) else ""
    return line[:1].upper() + line[1:] if line else "Untitled project"


def quoted(requirement: str) -> str:
    """The requirement as an indented Markdown block, in which nothing has a meaning."""
    text = requirement if len(requirement) <= MAX_QUOTED else requirement[:MAX_QUOTED] + " [...]"
    clean = "".join(sign if sign == "\n" or sign.isprintable() else " " for sign in text)
    return "\n".join("    " + line.rstrip() for line in clean.split("\n"))


@cache
def _modules() -> frozenset[str]:
    """The first words of all template files: a thing from the text must not take their place."""
    folders = (files(__package__) / "templates").iterdir()
    return frozenset(file.name.split(".")[0] for folder in folders if folder.is_dir() for file in folder.iterdir())
