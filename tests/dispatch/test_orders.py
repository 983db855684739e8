"""What a dispatcher instance concludes from its lane."""

from pto_dispatch.orders import OpenOrders
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec


def event(*entries: ev.Entry, wire_id: str = "x") -> Event:
    return Event(
        id=wire_id, source="test", kind=type(entries[0]), lane=Lane("local"), run=RunId("run-one"), entries=entries
    )


def ready(task: str, instance: str = "local-1", attempt: int = 1) -> ev.TaskReady:
    spec = TaskSpec(id=TaskId(task), noop=True)
    return ev.TaskReady(at=1, task=TaskId(task), attempt=attempt, instance=InstanceId(instance), spec=spec)


def finished(task: str) -> ev.TaskFinished:
    return ev.TaskFinished(at=1, task=TaskId(task), attempt=1, instance=InstanceId("local-1"), outcome="succeeded")


def test_only_orders_for_this_instance_are_started_and_each_once() -> None:
    orders = OpenOrders(InstanceId("local-1"))
    news = orders.apply(5, event(ready("a"), ready("b", "local-2")))
    assert [order.ready.task for order in news.start] == ["a"]
    assert not orders.apply(6, event(ready("a"))).start


def test_an_order_that_ended_is_not_open() -> None:
    orders = OpenOrders(InstanceId("local-1"))
    orders.apply(1, event(ready("a"), ready("b")))
    orders.apply(2, event(finished("a")))
    assert [order.ready.task for order in orders.open.values()] == ["b"]


def test_a_stop_and_a_loss_end_only_what_is_open_here() -> None:
    orders = OpenOrders(InstanceId("local-1"))
    orders.apply(1, event(ready("a"), ready("c", "local-2")))
    identity = {"at": 2, "attempt": 1, "instance": InstanceId("local-1")}
    stop = ev.AttemptStopRequested(**identity, task=TaskId("a"), reason="enough")
    (order,) = orders.apply(2, event(stop)).stop
    assert (order.ready.task, orders.stop_reason(order)) == ("a", "enough")
    lost = ev.AttemptLost(**identity, task=TaskId("c"), reason="silent")
    assert orders.apply(3, event(lost)).stop == []


def test_a_hand_out_that_was_stored_twice_is_taken_once() -> None:
    orders = OpenOrders(InstanceId("local-1"))
    assert orders.apply(1, event(ready("a"), wire_id="3.9.0")).start
    orders.apply(2, event(finished("a")))
    assert not orders.apply(3, event(ready("a"), wire_id="3.9.0")).start
    assert orders.apply(4, event(ready("b"), wire_id="3.10.0")).start
    assert orders.apply(5, event(ready("c"), wire_id="4.1.0")).start
