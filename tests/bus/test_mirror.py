"""The mirror right after a start: whoever waits for it sees the end of the log."""

from pathlib import Path

from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.event_log import NatsEventLog
from pto_bus.mirror import wait_for_mirror
from pto_bus.topology import single_host_accounts
from pto_ports.event_log import Outgoing
from pto_proto.ids import LANE_LOCAL


async def test_after_a_restart_the_mirror_is_waited_for(tmp_path: Path) -> None:
    accounts = single_host_accounts("p", (LANE_LOCAL,))
    for count in range(1, 4):
        with Broker.start(tmp_path / "store", accounts) as broker:
            keeper = await connect(broker.url, user="bootstrap", password="p")
            await bootstrap(keeper, accounts, may_create_log=not broker.had_log)
            assert await wait_for_mirror(keeper)
            viewer = await connect(broker.url, user="viewer", password="p")
            assert await NatsEventLog(viewer, "PTO_VIEW").last_seq() == count - 1
            writer = await connect(broker.url, user="scheduler", password="p")
            await NatsEventLog(writer).append([Outgoing("pto.run-accepted._.run-0001", b"x", f"id{count}")])
            for connection in (keeper, viewer, writer):
                await connection.close()
