"""The server: which clients it takes in, what they share, and whom it closes."""

import asyncio
from typing import Any

from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.clients.context import REPLY_BYTES_MAX
from quorumcache.node.clients.server import (
    LOOK_NS,
    REPLY_BYTES_MIN,
    STALLED_NS,
    UNREAD_BYTES_MAX,
    MemcachedServer,
)
from quorumcache.node.protocol.responses import TOO_MANY_CONNECTIONS_LINE
from tests.support.fake_server import FakeServer, FakeTransport

MS = 1_000_000


class Transport(FakeTransport):
    """Tells its connection of its end in the next turn of the loop, as a real one does."""

    def __init__(self, loop: Any, high: int) -> None:
        super().__init__(high)
        self.loop = loop

    def abort(self) -> None:
        super().abort()
        self.loop.call_soon(self.protocol.connection_lost, None)


class Served:
    """A server without a listener: clients come by hand, and the clock is turned by hand."""

    def __init__(
        self, *, connections_max: int = 3, slow_client_ms: int = 0, idle_timeout_ms: int = 0
    ) -> None:
        self.context = FakeServer()
        self.loop: Any = self.context.loop
        self.counters = self.context.counters
        self.server = MemcachedServer(
            self.context,
            connections_max=connections_max,
            slow_client_ms=slow_client_ms,
            idle_timeout_ms=idle_timeout_ms,
        )

    def connect(self, high: int = 64 << 10) -> tuple[MemcachedConnection, Transport]:
        connection = self.server._new_connection()
        transport = Transport(self.loop, high)
        transport.protocol = connection
        made: Any = transport
        connection.connection_made(made)
        return connection, transport

    def pass_time(self, nanoseconds: int) -> None:
        """In looks, as the node's ticks have them."""
        while nanoseconds > 0:
            self.context.now_ns += min(LOOK_NS, nanoseconds)
            nanoseconds -= LOOK_NS
            self.server.sweep()
            self.loop.run()


def test_clients_are_taken_in_up_to_the_bound() -> None:
    served = Served(connections_max=2)
    first, _ = served.connect()
    served.connect()
    for _ in range(2):
        _, rejected = served.connect()
        assert rejected.closed
        assert bytes(rejected.unread) == TOO_MANY_CONNECTIONS_LINE
    counters = served.counters
    assert (counters.curr_connections, counters.total_connections) == (2, 2)
    assert (counters.rejected_connections, counters.connections_limit_reached) == (2, 1)
    first.connection_lost(None)
    assert counters.curr_connections == 1
    _, taken = served.connect()
    assert not taken.closed
    assert counters.curr_connections == 2


def test_a_rejected_client_that_leaves_makes_no_room() -> None:
    served = Served(connections_max=1)
    served.connect()
    rejected, _ = served.connect()
    rejected.connection_lost(None)
    assert served.counters.curr_connections == 1
    assert served.connect()[1].closed


def test_connections_have_names_of_their_own() -> None:
    served = Served()
    numbers = [served.connect()[0].number for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert list(served.server.connections) == numbers


def test_closing_lets_replies_out_and_aborting_does_not() -> None:
    served = Served()
    idle, idle_transport = served.connect()
    busy, busy_transport = served.connect()
    busy.data_received(b"gets k\r\n")
    served.server.close()
    served.loop.run()
    assert idle_transport.closed
    assert idle.state == busy.state == "closing"
    assert not busy_transport.closed
    coordinator: Any = served.context.coordinator
    coordinator.end_all()
    served.loop.run()
    assert bytes(busy_transport.unread) == b"END\r\n"
    assert busy_transport.closed
    served.server.abort()
    assert busy_transport.aborted, "it lives until the client has read everything"


def test_the_last_to_leave_is_waited_for() -> None:
    async def scenario() -> None:
        served = Served()
        connection, _ = served.connect()
        waiting = asyncio.ensure_future(served.server.wait_empty(60))
        await asyncio.sleep(0)
        assert not waiting.done()
        connection.connection_lost(None)
        await asyncio.wait_for(waiting, 30)
        await served.server.wait_empty(60)  # Nobody is left to wait for.

    asyncio.run(scenario())


def test_a_client_that_says_nothing_is_closed_when_its_time_is_over() -> None:
    served = Served(idle_timeout_ms=1000)
    _, silent = served.connect()
    talking, other = served.connect()
    served.pass_time(750 * MS)
    talking.data_received(b"version\r\n")
    assert not silent.aborted
    served.pass_time(500 * MS)
    assert silent.aborted
    assert not other.aborted
    assert served.counters.idle_kicks == 1


def test_a_client_that_takes_nothing_is_closed_as_slow() -> None:
    served = Served(slow_client_ms=1000)
    connection, transport = served.connect(high=1)
    connection.data_received(b"version\r\n")
    served.pass_time(1000 * MS)
    assert not transport.aborted
    served.pass_time(500 * MS)
    assert transport.aborted
    assert served.counters.slow_clients_closed == 1


def test_a_standstill_of_the_node_counts_as_two_looks() -> None:
    served = Served(slow_client_ms=1000)
    connection, transport = served.connect(high=1)
    connection.data_received(b"version\r\n")
    served.pass_time(LOOK_NS)
    served.context.now_ns += 3600 * 1000 * MS
    served.server.sweep()
    assert served.server.watched_ns == 3 * LOOK_NS
    assert not transport.aborted


def hold(connection: MemcachedConnection, size: int) -> None:
    """Replies of so many bytes wait for one that comes first."""
    replies = connection.replies
    replies.take_slot()
    replies.reply(bytes(size))


def test_connections_that_hold_much_share_the_bound() -> None:
    served = Served(connections_max=2000)
    assert served.context.reply_bytes_max == REPLY_BYTES_MAX
    count = 2 * UNREAD_BYTES_MAX // REPLY_BYTES_MAX
    connections = [served.connect()[0] for _ in range(count + 1)]
    hold(connections[0], REPLY_BYTES_MIN)  # So little has no part in it.
    for connection in connections[1:]:
        hold(connection, REPLY_BYTES_MIN + 1)
    served.pass_time(LOOK_NS)
    assert served.context.reply_bytes_max == REPLY_BYTES_MAX // 2
    for connection in connections[1:]:
        connection.connection_lost(None)
    served.pass_time(LOOK_NS)
    assert served.context.reply_bytes_max == REPLY_BYTES_MAX


def test_far_beyond_the_bound_those_that_hold_the_most_are_closed() -> None:
    served = Served()
    little, little_transport = served.connect(high=1)
    much, much_transport = served.connect(high=1)
    taking, taking_transport = served.connect(high=1)
    for connection in (little, much, taking):
        connection.data_received(b"version\r\n")  # Nothing of it is taken.
    hold(little, UNREAD_BYTES_MAX // 2)
    served.pass_time(STALLED_NS + 2 * LOOK_NS)
    assert not little_transport.aborted, "all together hold no more than is allowed"
    # Only counted, not held: the test needs no memory for it.
    much.replies.reply_bytes += UNREAD_BYTES_MAX
    taking.replies.reply_bytes += 3 * UNREAD_BYTES_MAX // 2
    taking_transport.drain()
    served.pass_time(LOOK_NS)
    assert much_transport.aborted
    assert not little_transport.aborted
    assert not taking_transport.aborted, "it has just taken something"
    assert served.counters.slow_clients_closed == 1


def test_clients_that_route_by_themselves_do_not_depend_on_this_node() -> None:
    served = Served()
    plain, _ = served.connect()
    routing, _ = served.connect()
    assert served.server.count_dependent() == 2
    routing.data_received(b"cluster redirect on\r\n")
    served.loop.run()
    assert served.server.count_dependent() == 1
    assert (plain.finds_leaders, routing.finds_leaders) == (False, True)


def test_another_limit_on_items_holds_for_those_that_are_connected_too() -> None:
    served = Served()
    store = b"set a 0 0 2000\r\n" + b"x" * 2000 + b"\r\n"
    earlier, _ = served.connect()
    served.server.limit_items(1024)
    later, _ = served.connect()
    for connection in (earlier, later):
        connection.data_received(store)
    assert served.counters.store_too_large == 2
