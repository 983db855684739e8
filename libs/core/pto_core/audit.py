"""The promises that a log alone can show to be kept, checked beside the fold with books of their own.

Imports pto_proto and siblings only. Invariant: what is checked here is not asked of the fold, which might be wrong in
the same way; the fold's state is only compared with these books, and serves as the plan of each run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from pto_core.fold import evolve, poison
from pto_core.limits import MAX_ROUNDS
from pto_core.outcome import outcome_digest
from pto_core.reading import run_of
from pto_core.state import Run, State
from pto_core.transitions import TaskState
from pto_proto import events as ev
from pto_proto.envelope import Event, ProtocolError, UnknownVersion, decode_event
from pto_proto.ids import MERGE_TASK, Digest, RunId, TaskId

CHECKS = {
    "sequences": "the sequences have no gap",
    "events": "every event can be read and fits what the log said before it",
    "epochs": "no scheduler wrote anything after a newer one began",
    "executors": "never more attempts out than the run has executors",
    "hand-outs": "no attempt was handed out twice, and none after its run was cancelled or over",
    "dependencies": "no attempt was handed out before what its task depends on had succeeded",
    "rounds": "no task was reopened more than twice, ran with a revoked key, or ran again although it saw no change",
    "results": "no result was applied twice, or without its attempt",
    "outcomes": "each run's outcome digest is that of its tasks",
}
"""Check -> what it promises."""
_SCHEDULER = "scheduler/"
_NOT_DONE_AGAIN = (TaskState.PLANNED, TaskState.SKIPPED, TaskState.CANCELLED)

Attempt = tuple[TaskId, int, int]


class Finding(NamedTuple):
    """One promise that the log shows to be broken."""

    check: str
    seq: int
    run: RunId | None
    what: str


class Book:
    """What is noted of one run beside the fold."""

    def __init__(self, executors: int) -> None:
        self.executors = executors
        self.most_out = 0
        self.handed: dict[Attempt, str] = {}
        """Attempt -> wire id of the event that handed it out."""
        self.out: set[Attempt] = set()
        self.done: dict[TaskId, Digest] = {}
        """Task -> manifest of the success that was applied."""
        self.rounds: dict[TaskId, int] = {}
        """Task that was reopened -> its present round."""
        self.keys: dict[TaskId, dict[Digest, int]] = {}
        """Task -> key -> the first round in which it was handed out with that."""
        self.saw: dict[TaskId, tuple[Digest, ...]] = {}
        """Task -> the trees that its last attempt was handed."""
        self.closed = ""
        """Why nothing may be handed out any more."""
        self.finished: ev.RunFinished | None = None
        self.named: dict[Digest, str] = {}
        """Blobs that successes name -> what for."""


class Audit:
    """Folds a whole log, message by message, and keeps books beside it. ``finish`` compares both at the end."""

    def __init__(self) -> None:
        self.state = State()
        self.books: dict[RunId, Book] = {}
        self.findings: list[Finding] = []
        self.first_seq = 0
        self.seq = 0
        self.events = 0
        self.entries = 0
        self.epochs = 0
        self.attempts = 0
        self.repeats = 0
        """Entries that the log holds again, from the same message sent twice: the fold ignores them."""
        self.late = 0
        """Ends of attempts that had ended or been given up before: recorded and not applied."""
        self.unreadable = 0
        self._epoch = 0
        self._poisoned: set[RunId] = set()

    def take(self, seq: int, subject: str, data: bytes) -> None:
        """Take in the message stored at ``seq``. Raises UnknownVersion: this version cannot judge that log."""
        if self.seq and seq != self.seq + 1:
            self._find("sequences", seq, None, f"sequence {self.seq} is followed by {seq}")
        self.first_seq = self.first_seq or seq
        self.seq = seq
        self.events += 1
        try:
            event = decode_event(data)
        except UnknownVersion:
            raise
        except ProtocolError as error:
            self._unreadable(seq, subject, str(error))
            return
        self.entries += len(event.entries)
        self._check_epoch(seq, event)
        self._note(seq, event)
        if event.kind is ev.LogArchived:
            self._compare_archived(event.entries[-1].sequence)
        evolve(self.state, seq, event)
        self._after(seq, event)

    def finish(self) -> None:
        """Compare the books with the state that the fold came to."""
        for run in self.state.runs.values():
            self._compare(run)

    def _compare_archived(self, sequence: int) -> None:
        """The fold is about to forget these runs."""
        for run in self.state.runs.values():
            if 0 < run.finished_seq <= sequence:
                self._compare(run)

    def _compare(self, run: Run) -> None:
        book = self.books.get(run.id)
        if book is None or run.poisoned is not None:
            return
        below = {at for name in book.rounds if name in run.index for at in run.graph.descendants(run.index[name])}
        for task in (*run.tasks, *run.system.values()):
            applied = book.done.get(task.spec.id)
            if task.index in below and task.state in _NOT_DONE_AGAIN:
                continue  # what it had made counts no more
            if (task.state is TaskState.SUCCEEDED) != (applied is not None):
                what = f"task {task.spec.id} is {task.state.value}, its results say otherwise"
                self._find("results", self.seq, run.id, what)
            elif applied is not None and applied != task.manifest:
                self._find("results", self.seq, run.id, f"task {task.spec.id} has another manifest than its result")
        for task in run.tasks:
            before = task.spec.depends_on if task.state is TaskState.REUSED else ()
            for other in before:
                if run.tasks[run.index[other]].state is not TaskState.REUSED:
                    what = f"task {task.spec.id} was taken over, but {other}, which it depends on, was not"
                    self._find("dependencies", self.seq, run.id, what)

    def blobs(self) -> dict[Digest, str]:
        """Every blob that a success names -> the first that did."""
        named: dict[Digest, str] = {}
        for run, book in self.books.items():
            for digest, what in book.named.items():
                named.setdefault(digest, f"run {run}, {what}")
        return named

    def _note(self, seq: int, event: Event) -> None:
        if event.run is None:
            return
        if event.kind is ev.RunAccepted:
            self.books.setdefault(event.run, Book(event.entries[0].request.max_executors))
        note, book = _NOTES.get(event.kind), self.books.get(event.run)
        if note is not None and book is not None:
            for entry in event.entries:
                note(self, seq, event, book, entry)

    def _find(self, check: str, seq: int, run: RunId | None, what: str) -> None:
        self.findings.append(Finding(check, seq, run, what))

    def _unreadable(self, seq: int, subject: str, reason: str) -> None:
        """As the scheduler takes it: the event's run is quarantined."""
        self.unreadable += 1
        run = run_of(subject)
        self._find("events", seq, run, reason)
        poison(self.state, run, seq, reason)
        if run in self.state.runs and run is not None:
            self._poisoned.add(run)

    def _check_epoch(self, seq: int, event: Event) -> None:
        if not event.source.startswith(_SCHEDULER):
            return
        written = event.id.partition(".")[0]
        epoch = int(written) if written.isdecimal() else -1
        if event.kind is ev.SchedulerEpochStarted:
            self.epochs += 1
            if epoch <= self._epoch:
                self._find("epochs", seq, None, f"epoch {epoch} began after epoch {self._epoch}")
            self._epoch = max(self._epoch, epoch)
        elif epoch != self._epoch:
            what = f"{event.kind.__name__} of epoch {epoch} is in the log while epoch {self._epoch} leads"
            self._find("epochs", seq, event.run, what)

    def _after(self, seq: int, event: Event) -> None:
        run = self.state.runs.get(event.run) if event.run is not None else None
        if run is None:
            is_known = event.run is None or event.run in self.books  # the fold forgets archived runs
            if event.kind in _ABOUT_ACCEPTED and not is_known:
                self._find("events", seq, event.run, f"{event.kind.__name__} for a run that was never accepted")
            return
        if run.poisoned is not None and run.id not in self._poisoned:
            self._poisoned.add(run.id)
            self._find("events", run.poisoned[0], run.id, run.poisoned[1])
        if event.kind is ev.RunFinished:
            self._check_outcome(seq, run, event.entries[-1])

    def _check_outcome(self, seq: int, run: Run, entry: ev.RunFinished) -> None:
        book = self.books.get(run.id)
        if book is None or book.finished is not entry:
            return
        found = outcome_digest(run, entry.status)
        # An end that nobody waited for any more may have come while the run's own was being written.
        late = outcome_digest(run, entry.status, entry.unconfirmed) if entry.unconfirmed else found
        if entry.outcome_digest not in (found, late):
            what = f"RunFinished says outcome {entry.outcome_digest[:12] or 'nothing'}, its tasks say {found[:12]}"
            self._find("outcomes", seq, run.id, what)


# --- the books: what each kind of entry adds -------------------------------------------------------------------------


def _on_budget(audit: Audit, seq: int, event: Event, book: Book, entry: ev.BudgetChanged) -> None:
    book.executors = entry.max_executors


def _on_ready(audit: Audit, seq: int, event: Event, book: Book, entry: ev.TaskReady) -> None:
    attempt = (entry.task, entry.round, entry.attempt)
    name = f"attempt {entry.attempt} of {entry.task}"
    known = book.handed.get(attempt)
    if known == event.id:
        audit.repeats += 1
        return
    audit.attempts += 1
    if known is None:
        _check_round(audit, seq, event, book, entry)
    else:
        audit._find("hand-outs", seq, event.run, f"{name} was handed out again")
    if book.closed:
        audit._find("hand-outs", seq, event.run, f"{name} was handed out after {book.closed}")
    book.handed[attempt] = event.id
    book.out.add(attempt)
    book.most_out = max(book.most_out, len(book.out))
    if len(book.out) > book.executors:
        what = f"{name} was handed out with {len(book.out) - 1} others out; {book.executors} are allowed"
        audit._find("executors", seq, event.run, what)
    run = audit.state.runs.get(event.run or RunId(""))
    if run is not None:
        _check_dependencies(audit, seq, run, book, entry)


def _check_round(audit: Audit, seq: int, event: Event, book: Book, entry: ev.TaskReady) -> None:
    name = f"attempt {entry.attempt} of {entry.task}"
    current = book.rounds.get(entry.task, 0)
    if entry.round != current:
        audit._find("rounds", seq, event.run, f"{name} was handed out in round {entry.round}, not in {current}")
    first = book.keys.setdefault(entry.task, {}).setdefault(entry.key, entry.round) if entry.key else entry.round
    if first != entry.round:
        audit._find("rounds", seq, event.run, f"{name} was handed out with its key of round {first}, which is revoked")
    if entry.task in book.done and book.saw.get(entry.task) == entry.trees:
        audit._find("rounds", seq, event.run, f"{name} was handed out after a success, and it sees the same as then")
    elif entry.task in book.done:
        del book.done[entry.task]  # what it saw has changed since
    book.saw[entry.task] = entry.trees


def _check_dependencies(audit: Audit, seq: int, run: Run, book: Book, entry: ev.TaskReady) -> None:
    task = run.task(entry.task)
    for name in task.spec.depends_on if task is not None else ():
        before = run.task(name)
        if name not in book.done and (before is None or before.state is not TaskState.REUSED):
            what = f"attempt {entry.attempt} of {entry.task} was handed out before {name} had succeeded"
            audit._find("dependencies", seq, run.id, what)


def _on_reused(audit: Audit, seq: int, event: Event, book: Book, entry: ev.TaskReused) -> None:
    for what, digest in (("manifest", entry.manifest), ("tree", entry.tree)):
        if digest:
            book.named.setdefault(digest, f"{what} of {entry.task}")


def _on_lost(audit: Audit, seq: int, event: Event, book: Book, entry: ev.AttemptLost) -> None:
    book.out.discard((entry.task, entry.round, entry.attempt))


def _on_finished(audit: Audit, seq: int, event: Event, book: Book, entry: ev.TaskFinished) -> None:
    attempt = (entry.task, entry.round, entry.attempt)
    name = f"attempt {entry.attempt} of {entry.task}"
    if attempt not in book.handed:
        audit._find("results", seq, event.run, f"{name} ended, but it was never handed out")
        return
    if attempt not in book.out:
        audit.late += 1
        return
    book.out.remove(attempt)
    if entry.outcome != "succeeded":
        return
    if entry.task in book.done:
        audit._find("results", seq, event.run, f"{name} succeeded after another attempt of it had")
    book.done[entry.task] = entry.manifest
    for what, digest in (("manifest", entry.manifest), ("tree", entry.tree), ("log", entry.log)):
        if digest:
            book.named.setdefault(digest, f"{what} of {entry.task}")


def _on_reopened(audit: Audit, seq: int, event: Event, book: Book, entry: ev.TaskReopened) -> None:
    if entry.round <= book.rounds.get(entry.task, 0):
        audit.repeats += 1
        return
    book.rounds[entry.task] = entry.round
    book.rounds[MERGE_TASK] = book.rounds.get(MERGE_TASK, 0) + 1
    for name in (entry.task, MERGE_TASK):
        book.done.pop(name, None)
    if entry.round > MAX_ROUNDS:
        audit._find("rounds", seq, event.run, f"task {entry.task} was reopened for round {entry.round}")


def _on_consolidated(audit: Audit, seq: int, event: Event, book: Book, entry: ev.RunConsolidated) -> None:
    if (entry.task, entry.round, entry.attempt) in book.out and entry.manifest:
        book.named.setdefault(entry.manifest, "list of the merged files")


def _on_cancelling(audit: Audit, seq: int, event: Event, book: Book, entry: ev.RunCancelling) -> None:
    book.closed = book.closed or f"the run was cancelled at sequence {seq}"


def _on_settled(audit: Audit, seq: int, event: Event, book: Book, entry: ev.PlanSettled) -> None:
    if entry.decision == "rejected":
        book.closed = book.closed or f"the plan was rejected at sequence {seq}"


def _on_run_finished(audit: Audit, seq: int, event: Event, book: Book, entry: ev.RunFinished) -> None:
    if book.finished is None:
        book.finished = entry
        book.closed = book.closed or f"the run ended at sequence {seq}"
        book.out.clear()
    elif entry.status != book.finished.status:
        what = f"the run ended again as {entry.status}, before as {book.finished.status}"
        audit._find("outcomes", seq, event.run, what)


_NOTES: dict[type[ev.Entry], Callable[[Audit, int, Event, Book, Any], None]] = {
    ev.BudgetChanged: _on_budget,
    ev.TaskReady: _on_ready,
    ev.TaskReused: _on_reused,
    ev.AttemptLost: _on_lost,
    ev.TaskFinished: _on_finished,
    ev.TaskReopened: _on_reopened,
    ev.RunConsolidated: _on_consolidated,
    ev.RunCancelling: _on_cancelling,
    ev.PlanSettled: _on_settled,
    ev.RunFinished: _on_run_finished,
}
_ABOUT_ACCEPTED = frozenset(_NOTES)
