"""Which gets of a client go to another node together with those of others, and which do not."""

from typing import Any

import pytest

from quorumcache.node.clients.forwarded_gets import EXPECTED_BYTES_MAX
from quorumcache.node.peers.items import FORWARD_GETS
from quorumcache.node.store.results import STORED
from tests.support.fake_server import Client, item, keys_of, set_line, value_lines

HERE_GROUP, GROUP, OTHER = 1, 2, 3
THERE, ELSEWHERE = 2, 3
END = b"END\r\n"


class World:
    """A node that leads one group; two others are led by other nodes."""

    def __init__(self) -> None:
        self.client = Client()
        self.server = self.client.server
        self.coordinator = self.client.coordinator
        self.ways = self.coordinator.ways
        groups: Any = self.server.groups
        groups[HERE_GROUP].lead()
        self.ways.leads = {GROUP: THERE, OTHER: ELSEWHERE}
        (self.here, self.here_too) = keys_of(self.server, HERE_GROUP, 2)
        (self.a, self.b) = keys_of(self.server, GROUP, 2)
        (self.x,) = keys_of(self.server, OTHER, 1)
        self.client.put(self.here, b"h")

    def sent(self) -> dict[int, tuple[Any, ...]]:
        return dict(self.ways.turn())

    def answer(self, node_id: int, item: tuple[Any, ...], *found: Any) -> None:
        self.ways.answer(node_id, item, *found)
        self.client.turn()


@pytest.fixture
def world() -> World:
    return World()


def gets(*keys: bytes) -> bytes:
    return b"".join(b"get %b\r\n" % key for key in keys)


def test_gets_of_one_read_go_to_their_leaders_and_are_answered_in_their_order(
    world: World,
) -> None:
    world.client.send(gets(world.a, world.here, world.x, world.b, world.here_too))
    assert world.coordinator.started == []
    sent = world.sent()
    assert sent[THERE][2] == (GROUP, world.a, GROUP, world.b)
    assert sent[ELSEWHERE] == (FORWARD_GETS, sent[ELSEWHERE][1], (OTHER, world.x))
    assert world.client.read() == b""
    world.answer(ELSEWHERE, sent[ELSEWHERE], item(b"xx"))
    assert world.client.read() == b""
    world.answer(THERE, sent[THERE], item(b"aa"), None)
    a, here, x = (
        value_lines(key, value) + END
        for key, value in ((world.a, b"aa"), (world.here, b"h"), (world.x, b"xx"))
    )
    assert world.client.read() == a + here + x + END + END
    counters = world.server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (5, 3, 2)
    assert counters.lease_reads == 2
    conversation = world.client.connection.conversation
    assert not conversation.order.quick
    assert world.client.connection.replies.reply_bytes == 0


def test_a_client_that_is_told_where_to_go_is_told_so(world: World) -> None:
    world.client.send(b"cluster redirect on\r\n")
    assert world.client.read() == b"OK\r\n"
    world.client.send(gets(world.here, world.a))
    assert world.sent() == {}
    told = world.client.read()
    assert told.startswith(value_lines(world.here, b"h") + END + b"MOVED ")


def test_gets_of_later_reads_go_too_while_others_are_under_way(world: World) -> None:
    world.client.send(gets(world.a))
    first = world.sent()[THERE]
    world.client.send(gets(world.b, world.here))
    second = world.sent()[THERE]
    world.client.send(b"version\r\n" + gets(world.a))
    third = world.sent()[THERE]
    for sent in (first, second, third):
        world.answer(THERE, sent, item(b"v"))
    a, b, here = (value_lines(key, b"v") + END for key in (world.a, world.b, world.here))
    assert world.client.read() == a + b + here.replace(b"v\r\n", b"h\r\n") + b"VERSION 1\r\n" + a
    assert world.coordinator.started == []


def test_a_get_of_many_keys_asks_each_leader_once(world: World) -> None:
    for word in (b"get", b"gets"):
        world.client.send(
            b" ".join((word, world.a, world.here, world.x, world.b, world.a)) + b"\r\n"
        )
        sent = world.sent()
        assert sent[THERE][2] == (GROUP, world.a, GROUP, world.b)
        assert sent[ELSEWHERE][2] == (OTHER, world.x)
        world.answer(THERE, sent[THERE], item(b"aa"), item(b"bb"))
        assert world.client.read() == b""
        world.answer(ELSEWHERE, sent[ELSEWHERE], None)
        reply = world.client.read()
        assert reply.count(b"VALUE ") == 4
        assert reply.startswith(b"VALUE " + world.a)
        assert reply.endswith(END)
    assert world.coordinator.started == []
    assert world.server.counters.get_hits == 8
    assert not world.client.connection.conversation.order.quick


def test_a_write_waits_for_gets_of_its_group_and_gets_for_a_write(world: World) -> None:
    world.client.send(gets(world.a) + set_line(world.b) + set_line(world.x) + gets(world.a))
    (other,) = world.coordinator.started
    assert other.keys == (world.x,), "the write of another group does not wait"
    sent = world.sent()[THERE]
    assert sent[2] == (GROUP, world.a), "the get behind the write waits with it"
    world.answer(THERE, sent, item(b"aa"))
    assert [each.keys for each in world.coordinator.started] == [(world.x,), (world.b,)]
    assert world.sent() == {}
    writes, world.coordinator.started = world.coordinator.started, []
    for write in writes:
        write.end(STORED)
    read = world.coordinator.take()
    assert read.keys == (world.a,)
    read.end([item(b"ab")])
    a, b = (value_lines(world.a, value) + END for value in (b"aa", b"ab"))
    world.client.turn()
    assert world.client.read() == a + b"STORED\r\n" * 2 + b


def test_a_noreply_write_is_not_overtaken(world: World) -> None:
    world.client.send(set_line(world.b, noreply=True))
    world.client.send(gets(world.a))
    world.client.send(gets(world.x))
    assert set(world.sent()) == {ELSEWHERE}
    assert world.coordinator.take().keys == (world.b,)


def test_what_this_node_leads_now_is_not_read_here_before_what_is_under_way(world: World) -> None:
    """Whatever becomes of the way, the second get must not see an older state."""
    world.client.send(gets(world.a))
    group: Any = world.server.groups[GROUP]
    group.lead()
    sent = world.sent()[THERE]
    for line in (
        gets(world.b),
        b"version\r\n" + gets(world.b),
        b"get %b %b\r\n" % (world.b, world.a),
    ):
        world.client.send(line)
    world.client.send(b"mg %b v\r\n" % world.b)
    assert world.client.read() == b""
    assert world.server.counters.lease_reads == 0
    assert world.sent() == {}
    world.answer(THERE, sent, None)
    assert len(world.coordinator.started) + len(world.coordinator.meta_reads) >= 4


@pytest.mark.parametrize("line", [b"gets %b\r\n", b"mg %b v\r\n", b"gat 0 %b\r\n"])
def test_other_retrievals_go_the_general_way(world: World, line: bytes) -> None:
    world.client.send(line % world.a)
    assert world.sent() == {}


def test_reads_that_may_be_old_or_are_watched_go_the_general_way(world: World) -> None:
    world.client.connection.conversation.settings.staleness_ns = 1
    world.client.send(gets(world.a) + b"get %b %b\r\n" % (world.a, world.x))
    world.client.connection.conversation.settings.staleness_ns = 0
    world.server.quick_groups = {}
    world.client.connection.use_quick_groups()
    world.client.send(gets(world.a))
    world.client.send(b"get %b %b\r\n" % (world.b, world.x))
    assert world.sent() == {}
    assert world.coordinator.started


def test_a_client_of_large_values_asks_the_general_way(world: World) -> None:
    replies = world.client.connection.replies
    replies.came(replies.reserve(1), 1, EXPECTED_BYTES_MAX + 1)
    world.client.send(gets(world.a))
    world.client.send(b"get %b %b\r\n" % (world.b, world.a))
    assert world.sent() == {}
    assert [read.keys for read in world.coordinator.started] == [(world.a,), (world.b, world.a)]


def test_gets_stop_at_the_bound_of_a_connection(world: World) -> None:
    world.server.reply_bytes_max = 3 * world.client.connection.replies.expected_bytes
    world.client.transport.is_reading = True
    world.client.send(gets(*[world.a] * 5))
    sent = world.sent()[THERE]
    assert len(sent[2]) == 2 * 3
    assert not world.client.transport.is_reading
    world.answer(THERE, sent, None, None, None)
    assert len(world.sent()[THERE][2]) == 2 * 2
    assert world.client.transport.is_reading
