"""A person at the terminal: lines that are typed, and an editor on a text, while everything else goes on.

Imports the standard library and siblings. Invariant: nothing here blocks the loop; what waits calls ``meanwhile`` again
and again, and gives up when that says so.
"""

import asyncio
import os
import select
import shlex
import shutil
import sys
import termios
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pto_cli.loop import interrupts_ignored

Meanwhile = Callable[[], Awaitable[bool]]
"""Goes on with everything else for a moment; False: what is waited for is not wanted any more."""
EDITORS = ("sensible-editor", "nano", "vim", "vi")
"""Tried in this order when neither VISUAL nor EDITOR is set."""
WIDTH_WITHOUT_TERMINAL = 100
"""Columns where nobody can be asked how many there are."""


class NoEditor(Exception):
    """The text could not be edited; the message says why. The user's to mend."""


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def columns() -> int:
    """How wide a line may be."""
    return shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns


def write(text: str) -> None:
    """Write to the terminal; a character that it does not have becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


class Lines:
    """Lines typed at standard input."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        with suppress(termios.error):
            termios.tcflush(self._input, termios.TCIFLUSH)  # what was typed before anything was asked is no answer

    async def ask(self, question: str, meanwhile: Meanwhile) -> str | None:
        """What is typed in answer; None for the end of input, or when nobody wants to know any more."""
        write(question)
        answer: str | None = None
        while await meanwhile():
            # Looked at now and then: a loop's reader would make the terminal non-blocking for everybody who has it.
            if select.select([self._input], [], [], 0)[0]:
                answer = self._read()
                break
        if answer is None:
            write("\n")
        return answer

    def _read(self) -> str | None:
        """One line, because a terminal gives out no more at once."""
        try:
            data = os.read(self._input, 4096)
        except OSError:  # the terminal has gone
            return None
        return data.decode(errors="replace").strip() if data else None


async def edit(path: Path, meanwhile: Meanwhile) -> None:
    """Have the person edit the file; Ctrl-C belongs to the editor. Raises NoEditor."""
    command = editor_command(os.environ)
    try:
        with interrupts_ignored():
            editor = await asyncio.create_subprocess_exec(*command, str(path))
            ended = asyncio.create_task(editor.wait())
            while not ended.done():
                await meanwhile()
            code = await ended
    except OSError as error:
        raise NoEditor(f"the editor {command[0]!r} cannot be started: {error.strerror}") from error
    if code != 0:
        raise NoEditor(f"the editor {command[0]!r} ended with {code}; the plan is as it was")


def editor_command(environment: Mapping[str, str]) -> list[str]:
    """The person's editor. Raises NoEditor."""
    for name in ("VISUAL", "EDITOR"):
        words = environment.get(name, "").strip()
        if words:
            try:
                return shlex.split(words)
            except ValueError as error:
                raise NoEditor(f"{name} is not a command: {error}") from error
    for editor in EDITORS:
        if shutil.which(editor):
            return [editor]
    raise NoEditor("there is no editor; name one in EDITOR")
