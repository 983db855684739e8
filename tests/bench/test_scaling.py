"""The model of ``scaling_model`` on sites that can be done in the head, and the measurements on their smallest scale.

Nothing here depends on how fast this machine is.
"""

import asyncio

import pytest

from .scaling import rest_of
from .scaling_broker import Bus, Way, Wire, _solve
from .scaling_costs import LARGE, SMALL, Line, Pure, Rig, Stages, _dispatcher, line, reports
from .scaling_model import Cost, Measured, Rest, Site, simulate

FREE = Wire(0, 0, 0, 0)
PURE = Pure(
    scheduler=Line(1000, 0), open_us=0, stages=Stages(0, 0, 0, 0), dispatcher=Line(2000, 0), foreign=Line(0, 0),
    task_bytes=500, single_bytes=500, memory_bytes=0,
)  # fmt: skip
COST = Cost(PURE, Bus(server=Wire(3000, 0, 0, 0), client=FREE, wait=Wire(3000, 0, 0, 0)))
"""1 ms for a tick, 2 ms for a dispatcher's batch, 3 ms for every write."""


def test_a_chain_pays_for_every_step_and_for_both_reports() -> None:
    found = simulate(Site(1), COST, 0.0, 100)
    assert found.rate == pytest.approx(1 / (0.001 + 0.003 + 0.002 + 2 * 0.003))
    assert found.tasks_per_tick == 1


def test_a_whole_wave_costs_what_one_task_costs() -> None:
    assert simulate(Site(50), COST, 0.0, 5_000).rate == pytest.approx(
        50 * simulate(Site(1), COST, 0.0, 100).rate, rel=0.2
    )


def test_a_core_is_never_busier_than_it_can_be() -> None:
    dear = COST._replace(rest=Rest(broker_us=1_000))
    found = simulate(Site(1_000), dear, 0.0, 20_000)
    assert found.rate <= 1_000
    assert found.broker <= 1
    assert found.rate >= 800, "nothing else is dear, so the broker should be the limit"


def test_shared_cores_are_slower_than_own_ones() -> None:
    own, shared = Site(100), Site(100, cores=1, others_us=50)
    assert simulate(shared, COST, 0.0, 10_000).rate < simulate(own, COST, 0.0, 10_000).rate


def test_long_tasks_keep_all_nodes_busy_and_short_ones_do_not() -> None:
    site = Site(1_000, lanes=5, replicas=3)
    assert simulate(site, COST, 60.0, 5_000).busy > 0.99
    assert simulate(site, COST, 0.05, 20_000).busy < 0.9


@pytest.mark.parametrize("site", [Site(40), Site(40, lanes=4), Site(40, per_lane=4), Site(40, lanes=4, logs=4)])
@pytest.mark.parametrize("length_s", [0.0, 0.5])
def test_the_same_seed_gives_the_same_figures(site: Site, length_s: float) -> None:
    assert simulate(site, COST, length_s, 400, seed=3) == simulate(site, COST, length_s, 400, seed=3)


def test_more_logs_carry_more_and_dear_batches_less() -> None:
    dear = COST._replace(bus=COST.bus._replace(server=Wire(500, 30_000, 0, 0), wait=Wire(500, 30_000, 0, 0)))
    cheap = COST._replace(bus=COST.bus._replace(server=Wire(500, 0, 0, 0), wait=Wire(500, 0, 0, 0)))
    one, four = (simulate(Site(400, lanes=8, logs=logs), cheap, 0.0, 8_000 // logs).rate for logs in (1, 4))
    assert four > 2 * one
    assert simulate(Site(400, lanes=8), dear, 0.0, 8_000).rate < one / 2


def test_collecting_reports_spares_the_broker_and_costs_time() -> None:
    at_once, later = (simulate(Site(100, collect_s=wait_s), COST, 1.0, 2_000) for wait_s in (0.0, 0.05))
    assert later.broker < at_once.broker
    assert 0 < 100 / later.rate - 100 / at_once.rate < 0.06


def test_the_rest_of_a_process_is_what_its_pieces_do_not_explain() -> None:
    run = Measured(
        executors=100, tasks=10_000, rate=0, scheduler_us=10 + 7, broker_us=3 * 30 + 8, dispatcher_us=20 + 9, others_us=0,
        other_cores=0, task_bytes=0, disk_bytes=0,
    )  # fmt: skip
    assert rest_of(COST, run) == pytest.approx((7, 8, 9), abs=0.5)


def test_unit_costs_come_out_of_totals() -> None:
    truth = Wire(300, 2000, 40, 7)
    ways = [
        Way(n, n * (size > 1), n * size, n * size * kb, 0, 0, 0)
        for n, size, kb in ((9, 1, 1), (5, 4, 1), (3, 40, 1), (2, 1, 50))
    ]
    totals = [truth.of(way.messages / way.appends, way.kilobytes / way.appends) for way in ways]
    assert _solve(totals, ways) == pytest.approx(truth)
    assert line(100 + 3 * SMALL, 100 + 3 * LARGE) == pytest.approx((100, 3))


def test_the_rig_does_what_a_scheduler_does() -> None:
    rig = Rig(25, 10)
    orders = rig.hand_out()
    assert [order.task for order in orders] == [f"task-{at:06d}" for at in range(10)]
    assert rig.hand_out() == []
    rig.read(reports(orders[:4]))
    assert len(rig.hand_out()) == 4
    assert all(seconds > 0 for seconds in rig.spent.values())


def test_the_real_dispatcher_ends_all_orders_it_is_measured_with() -> None:
    assert asyncio.run(asyncio.wait_for(_dispatcher(3), 30)) > 0
