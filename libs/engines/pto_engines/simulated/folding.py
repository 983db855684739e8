"""Says which parts of a project share a task, and what the tasks then need from each other.

Imports the standard library only. Invariant: tasks never need each other in a circle; rather there are more tasks than
were asked for.
"""

from collections.abc import Sequence

from pto_engines.simulated.parts import Part

Homes = dict[str, str]
"""Part -> the part whose task it belongs to; many belong to themselves."""
Needs = dict[str, set[str]]


def fold(parts: Sequence[Part], most: int) -> Homes:
    """Put parts into others' tasks, the least important first, until there are at most so many tasks."""
    homes = {part.key: part.key for part in parts}
    folded = True
    while folded:
        folded = False
        for part in reversed(parts):
            if len(set(homes.values())) <= most:
                return homes
            found = _moved(part, parts, homes)
            if found is not None:
                homes, folded = found, True
    return homes


def needs_of(parts: Sequence[Part], homes: Homes) -> Needs:
    """What each task needs, in the order of the parts: what all its parts need, without itself."""
    needs: Needs = {part.key: set() for part in parts if homes[part.key] == part.key}
    for part in parts:
        home = homes[part.key]
        needs[home] |= {homes[need] for need in part.needs} - {home}
    return needs


def in_order(needs: Needs) -> list[str]:
    """The tasks, each after what it needs; those in or behind a circle are left out."""
    done: dict[str, None] = {}
    ready = True
    while ready:
        ready = False
        for key, wanted in needs.items():
            if key not in done and wanted <= done.keys():
                done[key] = None
                ready = True
    return list(done)


def direct(needs: Needs, key: str) -> set[str]:
    """What a task needs directly: without what comes along with another need."""
    beyond: set[str] = set()
    waiting = [need for other in needs[key] for need in needs[other]]
    while waiting:
        need = waiting.pop()
        if need not in beyond:
            beyond.add(need)
            waiting.extend(needs[need])
    return needs[key] - beyond


def _moved(part: Part, parts: Sequence[Part], homes: Homes) -> Homes | None:
    """The homes with a part's task moved into the first other one where that makes no circle."""
    if homes[part.key] != part.key:
        return None
    for target in dict.fromkeys(homes[key] for key in part.fold):
        moved = {key: target if home == part.key else home for key, home in homes.items()}
        needs = needs_of(parts, moved)
        if target != part.key and len(in_order(needs)) == len(needs):
            return moved
    return None
