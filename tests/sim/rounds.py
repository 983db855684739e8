"""Rounds and their consequences: what has to run once more, and what counts no more.

Invariant: it follows from who saw which trees, by definition and not by bookkeeping as in the product.
"""

from collections.abc import Iterator

from pto_proto import events as ev
from pto_proto.ids import TaskId

from .stories import DONE, RunStory


def check_round(run: RunStory, entry: ev.TaskReady) -> Iterator[str]:
    """What is wrong with the round of an attempt that is handed out; it has seen these trees from then on."""
    story = run.story(entry.task)
    if entry.round != story.round:
        yield f"in round {entry.round}, not in {story.round}"
    if entry.evidence != story.evidence:
        yield f"with evidence {entry.evidence!r}, not {story.evidence!r}"
    if story.spec is not None:
        if story.keys.setdefault(entry.key, story.start) != story.start:
            yield "with the key of results that count no more"
        if entry.trees != run.sees(entry.task):
            yield "with other trees than its dependencies made"
        if run.waits(entry.task):
            yield "before all above it has ended"
    story.saw = entry.trees


def spread(run: RunStory, task: TaskId, tree: str) -> None:
    """What saw something else than this has to run once more, as soon as all above it has ended."""
    run.story(task).tree = tree
    if run.cancelling_seq or run.culprit is None:
        return
    waiting = [name for name in run.order if run.tasks[name].state in DONE]
    for name in [name for name in waiting if run.sees(name) != run.tasks[name].saw and not run.waits(name)]:
        if not run.waits(name):
            run.tasks[name].begin_again()
            if run.is_stopped:
                run.tasks[name].state = "skipped"
                skip(run, name)


def skip(run: RunStory, task: TaskId) -> None:
    """The task ended without success: what needs it, or the whole rest, never starts."""
    if run.culprit not in (None, task):
        _undo(run, run.below(task))
    if run.request.on_failure == "stop":
        run.is_stopped = True
    below = {*run.order} if run.is_stopped else run.below(task)
    for name in below:
        other = run.tasks[name]
        is_out = bool(other.attempts) and not other.attempts[-1].end_seq
        if not other.state and not is_out:
            other.state = "skipped"
            if run.culprit is not None:
                _undo(run, run.below(name))


def _undo(run: RunStory, names: set[TaskId]) -> None:
    """Nothing counts that needs what there is no more."""
    for name in names:
        if run.tasks[name].state in DONE:
            run.tasks[name].state = "skipped"
