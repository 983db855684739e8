"""Names from free text: a title for people and a package name for Python.

Imports the standard library only. Invariant: whatever the text, a title consists of ASCII letters, digits and single
spaces, and a package name is an identifier that is no keyword and hides no module a test run needs.
"""

import keyword
import re
import sys

from pto_engines.simulated.blueprint import Names

MAX_WORDS = 4
"""Words of a title: enough to recognise the project by."""
MAX_WORD_CHARS = 20
"""A longer word is cut, so that paths stay short."""
VERBS = frozenset(
    "add build code construct create design develop do generate give implement make process produce program run train "
    "write please lets let need want i we you can could would me us".split()
)
FILLERS = frozenset("a an the my our your some new simple small large big complete full basic for of to and on in".split())
ENDS = frozenset("with using that which where who including having via from by so".split())
"""Words after which a sentence says how, no longer what."""
TAKEN = frozenset("src tests conftest pytest pluggy iniconfig packaging hypothesis setuptools pip numpy project".split())
_WORD = re.compile(r"[A-Za-z0-9]+")


def words_of(text: str) -> list[str]:
    """The ASCII words of a text in lower case; ``e-commerce`` counts as one."""
    lowered = re.sub(r"\be-(?=[a-z])", "e", text.lower())
    return re.findall(r"[a-z0-9]+", lowered)


def name_project(requirement: str, fallback: str) -> Names:
    """Title and package of the project that a requirement asks for; ``fallback`` names one without usable words."""
    first_line = requirement.strip().split("\n", 1)[0]
    first_clause = re.split(r"[.:;,!?()]", first_line, maxsplit=1)[0]
    words: list[str] = []
    for word in _WORD.findall(re.sub(r"\b([Ee])-(?=[a-z])", r"\1", first_clause)):
        lowered = word.lower()
        if words and lowered in ENDS:
            break
        if lowered not in FILLERS and not (lowered in VERBS and not words) and lowered not in ENDS:
            words.append(word[:MAX_WORD_CHARS])
        if len(words) == MAX_WORDS:
            break
    words = words or fallback.split()
    title = " ".join(word[0].upper() + word[1:] for word in words)
    return Names(title, _package("_".join(words).lower()))


def _package(name: str) -> str:
    risky = keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in TAKEN or name in sys.stdlib_module_names
    if risky or name.startswith("pytest") or name.split("_")[0] == "typing":
        name += "_project"
    return f"project_{name}" if name[0].isdigit() else name
