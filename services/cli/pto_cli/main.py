"""``orchestrator``: finds the command, runs it, and turns what ends it into an exit code.

Imports the standard library; each command is imported when it is called, so that ``--help`` is quick. Invariant: no
foreseen error shows a traceback, and a reader that closes the pipe ends a command quietly.
"""

import gc
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from pto_cli.problems import EXIT_INTERRUPTED, EXIT_OK, WrongUse, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

COMMANDS = {
    "run": "run REQUIREMENTS, or a plan with --plan (the word `run` may be left out)",
    "list": "list runs",
    "status": "show the state of a run and its tasks",
    "watch": "follow a run until it ends",
    "logs": "show what a run's tasks have printed",
    "events": "print a run's events",
    "explain": "say why a task ran or did not run",
    "approve": "approve, edit or reject the plan of a run that waits for it",
    "pause": "hand out nothing more of a run",
    "budget": "change a run's executors or its limit of cost while it goes on",
    "resume": "go on with a run that was interrupted, paused or not finished well",
    "cancel": "stop a run and all its tasks",
    "fetch": "write a run's output folder",
    "audit": "hold a log against what was promised",
    "archive": "shorten a broker's log, or remove old runs of this machine",
    "doctor": "check that everything is here that a run needs",
    "demo": "show five short runs",
    "accounts": "keep a broker's accounts and their keys",
    "bootstrap": "set up the streams on a broker (with --nats-url)",
}
HIDDEN = {"_host": "host a run in the background"}
_interrupts: list[int] = []
"""Ctrl-C that came before a command had its own way to deal with it."""


def main() -> None:
    """Entry point of the console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
    code = run(sys.argv[1:])
    gc.freeze()  # the process ends: looking for garbage in all that was imported would take longer than the rest of it
    sys.exit(code)


def run(words: list[str]) -> int:
    """Do what was typed; returns the exit code."""
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_OK
    except Exception as error:
        known = exit_code_of(error)
        if known is not None:
            return known
        if _interrupts:  # it came while a module in C was read, and that made another error of it
            return EXIT_INTERRUPTED
        raise
    return code


def _on_interrupt(number: int, frame: "FrameType | None") -> None:
    _interrupts.append(number)
    signal.default_int_handler(number, frame)


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("-h", "--help", "help"):
        return _help()
    if first == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"orchestrator {version('parallel-task-orchestrator')}\n")
        return EXIT_OK
    if first in COMMANDS or first in HIDDEN:
        return _call(first, words[1:])
    if len(words) == 1 and first.isalpha():
        _refuse_typing_error(first)
    return _call("run", words)


def _call(name: str, words: list[str]) -> int:
    command: Callable[[list[str]], int] = import_module(f"pto_cli.commands.{name.strip('_')}").main
    return command(words)


def _refuse_typing_error(word: str) -> None:
    from difflib import get_close_matches

    near = get_close_matches(word, [*COMMANDS], n=1, cutoff=0.75)
    if near:
        raise WrongUse(
            f"there is no command {word!r}; did you mean {near[0]!r}? (to build something: orchestrator run {word})"
        )


def _help() -> int:
    from pto_cli.flags import run_parser

    lines = ["usage: orchestrator REQUIREMENTS [options]", "       orchestrator COMMAND ...", "", "Commands:"]
    lines += [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    text = run_parser().format_help()
    sys.stdout.write("\n".join([*lines, "", text[text.index("General options") :]]))
    return EXIT_OK


def _forget_stdout() -> None:
    """Nobody reads any more; what is still buffered must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
