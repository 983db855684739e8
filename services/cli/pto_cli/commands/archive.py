"""``orchestrator archive``: takes what nobody needs out of a broker's log, or removes old runs of this machine.

Imports siblings. Invariant: without ``--yes`` nothing is changed.
"""

import asyncio
import os
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_NOT_SUCCEEDED, EXIT_OK, Unavailable, WrongUse
from pto_cli.registry import RunFolder, all_runs, sweep_removed


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser(
        "archive",
        "With --nats-url, as the account `archiver`: export the beginning of the log, as far as no open run needs it, "
        "into FOLDER and purge it. Without: remove the folders of runs of this machine that have ended. "
        "Only --yes changes anything.",
    )
    parser.add_argument("--before", metavar="WHEN", default=None, help="days ago (30), or a date (2026-01-31)")
    parser.add_argument("-o", "--output-dir", metavar="FOLDER", default=None, help="where a log's segments are kept")
    parser.add_argument(
        "--blobs", action="store_true", help="also remove what no kept run of this machine names; reads all their logs"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what would be done")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    before = _moment(typed.before, datetime.now(UTC))
    if not typed.nats_url:
        return _embedded(typed, before)
    if typed.blobs:
        raise WrongUse("archive: --blobs is for runs of this machine; a broker keeps its blobs")
    if not typed.output_dir:
        raise WrongUse("archive: needs -o FOLDER, where the segments of this log are kept")
    return asyncio.run(_remote(typed, before))


def _moment(text: str | None, now: datetime) -> datetime | None:
    """``30`` (days ago) or a date, in UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        if text.isdecimal() and text.isascii() and len(text) < 7:
            return now - timedelta(days=int(text))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise WrongUse(
            f"archive: --before: {text!r} is neither a number of days nor a date such as 2026-01-31"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


# --- runs of this machine --------------------------------------------------------------------------------------------


def _embedded(typed: Namespace, before: datetime | None) -> int:
    from pto_cli.progress import write_lines

    if before is None:
        raise WrongUse("archive: needs --before WHEN for runs of this machine, such as --before 30 (days)")
    if typed.output_dir:
        raise WrongUse("archive: -o is for a broker's log (--nats-url); runs of this machine are removed")
    old, kept = [], []
    for folder in all_runs():
        ended = folder.ended_at()
        if ended is not None and ended < before.timestamp():
            old.append((folder, folder.size()))
        else:
            kept.append(folder)
    lines, code = [], EXIT_OK
    if typed.yes:
        sweep_removed()
    for folder, size in old:
        what = f"{folder.path.name}  {_size(size)}"
        if typed.yes and not folder.remove():
            kept.append(folder)
            what, code = f"{what}  kept: another command uses it", EXIT_NOT_SUCCEEDED
        lines.append(what)
    verb = "removed" if typed.yes else "would be removed"
    if not old:
        lines.append("nothing is old enough")
    else:
        total = sum(size for _, size in old)
        lines.append(f"{len(old)} ended runs {verb}, {_size(total)}; their output folders stay")
    if typed.blobs:
        lines.append(f"{asyncio.run(_sweep(kept, may_remove=typed.yes))} {verb}")
    write_lines(lines if typed.yes else [*lines, "--yes does it"])
    return code


async def _sweep(kept: list[RunFolder], *, may_remove: bool) -> str:
    from pto_cli.access import open_blob_cache
    from pto_cli.blob_sweep import unnamed

    _refuse_hosted(kept)
    found = await unnamed(kept, datetime.now(UTC).timestamp())
    store = open_blob_cache()
    sizes = [store.path_of(digest).stat().st_size for digest in found]
    _refuse_hosted(all_runs())
    if may_remove:
        for digest in found:
            store.discard(digest)
    return f"{len(found):,} blobs that nobody names, {_size(sum(sizes))},"


def _refuse_hosted(folders: list[RunFolder]) -> None:
    for folder in folders:
        if folder.is_hosted():
            raise Unavailable(f"run {folder.path.name} is being hosted: blobs are removed when no run is")


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


# --- a broker's log --------------------------------------------------------------------------------------------------


async def _remote(typed: Namespace, before: datetime | None) -> int:
    from pto_cli.access import open_archive
    from pto_cli.progress import write_lines
    from pto_client.archiver import Archiver
    from pto_core.archive import SegmentDamaged
    from pto_ports.event_log import LogCorrupt

    now = round(datetime.now(UTC).timestamp() * 1000)
    at = round(before.timestamp() * 1000) if before is not None else None

    async def attempt(archiver: Archiver) -> str:
        """What can leave the log, or has left it if that was asked for."""
        found = await archiver.look(at)
        rest = f"; {found.cut.held_by}" if found.cut.held_by else ""
        if not found.messages:
            return f"nothing can leave the log, which ends at sequence {found.head:,}{rest}"
        place = f"sequences {found.first:,} to {found.cut.seq:,} of {found.head:,}"
        if not typed.yes:
            return f"{place} can leave the log{rest}\n--yes does it"
        entry = await archiver.archive(found)
        return f"{place} left the log{rest}\nsegment {entry.segment}\nsnapshot {entry.snapshot}"

    async with open_archive(typed.nats_url, os.environ, Path(typed.output_dir), now) as (archiver, is_mirrored):
        if typed.yes and not is_mirrored:
            raise Unavailable("the mirror PTO_VIEW lacks the end of the log: nothing is purged before it has all")
        try:
            try:
                said = await attempt(archiver)
            except LogCorrupt:
                if not typed.yes:
                    raise
                # A snapshot that this version cannot use is made anew; if that is not the trouble, this says so.
                await archiver.renew()
                said = await attempt(archiver)
            if typed.yes:
                await archiver.finish()
        except SegmentDamaged as error:
            raise Unavailable(f"the archive in {typed.output_dir} is damaged: {error}") from error
    write_lines(said.splitlines())
    return EXIT_OK
