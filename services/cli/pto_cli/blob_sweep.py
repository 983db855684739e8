"""Which blobs of this machine's cache nobody names any more. Imports siblings, ports and proto.

Invariant: what looks like a digest in a kept run's log or notes, or in a blob that is named, is a name; so too much is
kept rather than too little. What was stored lately is kept anyway, because its name may be on its way.
"""

import re
from collections.abc import Iterable, Iterator

from pto_cli.access import open_blob_cache, open_run
from pto_cli.registry import RunFolder
from pto_proto.ids import Digest

LATELY_S = 86_400.0
"""No event comes this long after the blob that it names."""
LIST_BYTES = 256 * 1024 * 1024
"""Lists of files are shorter than this; what is longer names nothing."""
_NAME = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_READ_S = 1.0


def names_in(data: bytes) -> Iterator[Digest]:
    """Everything that may be a digest."""
    return (Digest(found.decode()) for found in _NAME.findall(data))


async def unnamed(folders: Iterable[RunFolder], now: float) -> list[Digest]:
    """The blobs that none of these runs names and that were not stored lately. Reads every log. Raises BusError."""
    store = open_blob_cache()
    old = {digest for digest, at in store.stored() if at < now - LATELY_S}
    if not old:
        return []
    named: set[Digest] = set()
    for folder in folders:
        for path in (path for path in folder.path.iterdir() if path.is_file()):
            named.update(names_in(path.read_bytes()))
        if folder.store.is_dir():
            named.update(await _names_of(folder))
    waiting = list(named & old)
    while waiting:
        path = store.path_of(waiting.pop())
        found = set(names_in(path.read_bytes())) - named if path.stat().st_size <= LIST_BYTES else set()
        named |= found
        waiting += found & old
    return sorted(old - named)


async def _names_of(folder: RunFolder) -> set[Digest]:
    access = await open_run(folder.path.name)
    try:
        reader = await access.session.view.read()
        found: set[Digest] = set()
        while not reader.caught_up:
            for recorded in await reader.next(_READ_S):
                found.update(names_in(recorded.data))
        await reader.close()
        return found
    finally:
        await access.close()
