"""What must hold of a task when an attempt of it is handed out, by the story that the log told so far."""

from collections.abc import Iterator

from pto_proto import events as ev
from pto_proto.ids import TaskId

from .stories import Attempt, RunStory, TaskStory


def check_task(run: RunStory, entry: ev.TaskReady, what: str) -> Iterator[str]:
    """What is wrong with handing out this attempt now."""
    story = run.story(entry.task)
    last = story.attempts[-1] if story.attempts else None
    spec = story.spec
    if spec is not None:
        for dependency in spec.depends_on:
            if run.story(dependency).state not in ("succeeded", "reused"):
                yield f"promise 5: {what} before {dependency} succeeded"
    else:
        yield from _check_system_task(run, entry.task, what)
    if story.state in ("succeeded", "failed", "cancelled", "reused"):
        yield f"promise 6: {what}, although the task has ended as {story.state}"
    yield from _check_number(story, last, entry, what)


def least_wait(run: RunStory, attempt: Attempt) -> int:
    """The backoff without its jitter: 80 % of 5 s, doubled with every failure of the task itself."""
    if attempt.failure not in ("task", "timeout"):
        return 0
    burned = run.story(attempt.name[1]).failures("task", "timeout")
    return min(300_000, 5_000 << (burned - 1)) * 8 // 10


def _check_number(story: TaskStory, last: Attempt | None, entry: ev.TaskReady, what: str) -> Iterator[str]:
    if last is None or last.name[2] != entry.round:
        if entry.attempt != 1:
            yield f"promise 2: {what} as the first attempt of its round"
    elif not last.end_seq:
        yield f"promise 2: {what} while attempt {last.name[3]} is out"
    elif entry.attempt != last.name[3] + 1:
        yield f"promise 2: {what} after attempt {last.name[3]}"
    elif story.start == len(story.attempts):
        pass  # it has to run once more: there is no failure to wait after
    elif not last.retry_due or entry.at < last.retry_due:
        yield f"promise 11: {what} at {entry.at}, due at {last.retry_due}"


def _check_system_task(run: RunStory, task: TaskId, what: str) -> Iterator[str]:
    if task not in ("_plan", "_edit", "_merge"):
        yield f"promise 5: {what}, which the plan does not have"
        if run.request.approve and not run.settled_seq:
            yield f"promise 17: {what}, but its plan is not settled"
    elif task == "_edit" and run.edited is None:
        yield f"promise 17: {what}, but nobody edited the plan"
    elif task == "_merge" and not run.executed_seq:
        yield f"promise 5: {what} before all tasks ended"
