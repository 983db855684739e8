"""Deliberate bugs in the product, by name: each breaks a promise, and the simulation has to notice.

A mutant replaces product functions for the rest of the process; ``python -m tests.sim --mutant NAME`` runs seeds with it.
"""

from typing import Any

from pto_core import (
    allowance,
    fold,
    hand_out,
    movements,
    reopening,
    silence,
)
from pto_core import intake as core_intake
from pto_core.state import Task
from pto_core.transitions import TaskState
from pto_dispatch import dispatcher, heartbeat, orders, worker
from pto_dispatch.orders import News, identity_of, no_news
from pto_ports.backend import Order
from pto_proto import events as ev
from pto_scheduler import intake, leadership, scheduler

from . import agent_mutants as agent_mutants
from . import place_mutants as place_mutants
from .breaking import MUTANTS as MUTANTS
from .breaking import handle, mutant, put

# --- the fold --------------------------------------------------------------------------------------------------------


@mutant
def late_result_of_a_lost_attempt_counts() -> None:
    honest = fold._on_finished

    def finished(at: Any, entry: ev.TaskFinished) -> None:
        task = at.task(entry)
        if task.state is TaskState.WAITING_RETRY and entry.outcome == "succeeded" and entry.attempt == task.attempt:
            task.state = TaskState.RUNNING
            fold.forget_retry(at.run, task)
            at.run.open[entry.task] = task
        honest(at, entry)

    handle(ev.TaskFinished, finished)


@mutant
def last_word_about_an_attempt_counts() -> None:
    honest = fold._on_finished

    def finished(at: Any, entry: ev.TaskFinished) -> None:
        task = at.task(entry)
        if task.state is TaskState.SUCCEEDED and entry.outcome == "failed" and entry.attempt == task.attempt:
            task.state = TaskState.FAILED
            at.run.counts[TaskState.SUCCEEDED] = at.run.counts.get(TaskState.SUCCEEDED, 0) - 1
            at.run.counts[TaskState.FAILED] = at.run.counts.get(TaskState.FAILED, 0) + 1
        honest(at, entry)

    handle(ev.TaskFinished, finished)


@mutant
def lost_attempt_keeps_its_slot() -> None:
    handle(ev.AttemptLost, lambda at, entry: None)


@mutant
def dependents_are_released_too_early() -> None:
    def release(run: Any, task: Task) -> None:
        for child in run.graph.children[task.index] if task.index >= 0 else ():
            dependent = run.tasks[child]
            dependent.unmet -= 1
            if dependent.unmet <= 1 and dependent.state is TaskState.PLANNED:
                dependent.unmet = 0
                movements.make_ready(run, dependent)

    put(reopening, "release_dependents", release)


@mutant
def only_children_are_skipped() -> None:
    honest = movements.give_up

    def give_up(run: Any, task: Task) -> None:
        if run.request.on_failure == "stop" or task.index < 0:
            honest(run, task)
            return
        for child in run.graph.children[task.index]:
            movements.drop(run, run.tasks[child], movements.TaskTrigger.SKIPPED)

    put(movements, "give_up", give_up)


@mutant
def cancel_forgets_waiting_retries() -> None:
    honest = movements.drop

    def drop(run: Any, task: Task, trigger: Any) -> None:
        if task.state is not TaskState.WAITING_RETRY:
            honest(run, task, trigger)

    put(movements, "drop", drop)


@mutant
def one_retry_more_than_allowed() -> None:
    honest = movements.retries
    put(movements, "retries", lambda run, task: honest(run, task) + 1)


@mutant
def every_wrong_setting_pauses_anew() -> None:
    honest = movements.fail

    def fail(state: Any, run: Any, task: Task, failure: str, *rest: Any) -> None:
        honest(state, run, task, failure, *rest)  # type: ignore[arg-type]
        if failure == "config" and task.state is TaskState.WAITING_RETRY:
            run.halt = ("config", "again")

    put(fold, "fail", fail)


@mutant
def infrastructure_burns_retries() -> None:
    honest = reopening.fail

    def fail(state: Any, run: Any, task: Task, failure: str, *rest: Any) -> None:
        task.burned += failure == "infra"
        honest(state, run, task, failure, *rest)  # type: ignore[arg-type]

    put(fold, "fail", fail)


@mutant
def nobody_is_told_of_a_pause() -> None:
    handle(ev.RunPaused, lambda at, entry: fold.note_answer(at.state, entry))


# --- deciding --------------------------------------------------------------------------------------------------------


@mutant
def retry_does_not_wait() -> None:
    put(hand_out, "_due", lambda run, now: [run.task(name) for _, name in run.due])


@mutant
def one_executor_too_many() -> None:
    honest = allowance.Allowance.__init__

    def begin(self: Any, *args: Any) -> None:
        honest(self, *args)
        self.left += 1

    put(allowance.Allowance, "__init__", begin)


@mutant
def capacity_is_not_looked_at() -> None:
    honest = hand_out._Room.__init__

    def begin(self: Any, *args: Any) -> None:
        honest(self, *args)
        self.free = {name: free + 2 for name, free in self.free.items()}
        self.left = sum(self.free.values())

    put(hand_out._Room, "__init__", begin)


@mutant
def lost_at_the_first_silence() -> None:
    put(silence, "_is_lost", lambda *_: True)


@mutant
def judge_does_not_notice_its_own_sleep() -> None:
    put(silence, "MAX_NAP_S", 10_000.0)


# --- the scheduler's shell -------------------------------------------------------------------------------------------


@mutant
def no_fence() -> None:
    put(scheduler, "Fence", lambda *_: None)


@mutant
def standby_acts_without_an_epoch() -> None:
    async def start_epoch(self: Any) -> None:
        self._epoch = self.state.epoch or 1

    async def take(self: Any, *, may_claim: bool = False) -> bool:
        return True

    put(scheduler.Scheduler, "_start_epoch", start_epoch)
    put(leadership.Leadership, "take", take)


@mutant
def unsettled_write_counts_as_written() -> None:
    honest = scheduler.Scheduler._read_back

    async def read_back(self: Any, wire_id: str, patience_s: float | None) -> None:
        if patience_s is None:
            await honest(self, wire_id, patience_s)
        else:
            self._seen.add(wire_id)

    put(scheduler.Scheduler, "_read_back", read_back)


@mutant
def tick_is_not_read_back() -> None:
    async def read_back(self: Any, wire_id: str, patience_s: float | None) -> None:
        self._seen.add(wire_id)

    put(scheduler.Scheduler, "_read_back", read_back)


@mutant
def request_is_forgotten_when_taken() -> None:
    honest = intake.Intake.answers

    def answers(self: Any, state: Any, now: int) -> Any:
        decisions = honest(self, state, now)
        return decisions if self._random_drop() else []

    counter = iter(range(10**9))
    put(intake.Intake, "_random_drop", lambda self: next(counter) % 40 != 7)
    put(intake.Intake, "answers", answers)


# --- dispatchers -----------------------------------------------------------------------------------------------------


@mutant
def order_that_comes_again_starts_again() -> None:
    class Trusting(orders.OpenOrders):
        def apply(self, seq: int, event: Any) -> News:
            if event.kind is not ev.TaskReady:
                return super().apply(seq, event)
            news = no_news()
            for entry in event.entries:
                if entry.instance == self._instance:
                    order = Order(event.run, seq, entry)
                    self.open[identity_of(event.run, entry)] = order
                    news.start.append(order)
            return news

    put(dispatcher, "OpenOrders", Trusting)


@mutant
def orders_from_before_are_started_again() -> None:
    async def adopt(self: Any, order: Order) -> None:
        if not await self._backend.adopt(order):
            await self._backend.start(order)

    put(worker.OrderWorker, "adopt", adopt)


@mutant
def orders_from_before_are_forgotten() -> None:
    async def adopt(self: Any, order: Order) -> None:
        await self._backend.adopt(order)

    put(worker.OrderWorker, "adopt", adopt)


@mutant
def anybody_changes_a_run() -> None:
    put(core_intake, "not_theirs", lambda run, requester: None)


@mutant
def report_without_an_answer_is_dropped() -> None:
    async def look_for(self: Any, wanted: set[str], reader: Any) -> None:
        self._unsettled -= wanted

    put(dispatcher.Dispatcher, "_look_for", look_for)


@mutant
def order_that_was_given_up_in_hand_still_starts() -> None:
    def take(self: Any, news: News) -> None:
        for order in news.start:
            self._waiting[identity_of(order.run, order.ready)] = order
        self._stops.extend(news.stop)
        self._wake.set()

    async def start(self: Any, order: Order) -> None:
        await self._backend.start(order)

    put(worker.OrderWorker, "take", take)
    put(worker.OrderWorker, "_start", start)


@mutant
def sleeper_starts_what_it_has_in_hand() -> None:
    put(heartbeat.HeartbeatSender, "take_nap", lambda self: False)
