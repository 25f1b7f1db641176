"""Answers of other nodes in their places, and gets that fall back to the general way."""

from typing import Any

from quorumcache.node.operations.failure import Failure
from quorumcache.node.peers.items import NOT_LED, UNANSWERED
from quorumcache.node.store.item import PIECES, pack_header
from tests.support.fake_server import item, set_line, value_lines
from tests.unit.node.clients.test_forwarded_gets import (
    ELSEWHERE,
    END,
    GROUP,
    THERE,
    World,
    gets,
)


def started(world: World) -> list[tuple[bytes, ...]]:
    return [operation.keys for operation in world.coordinator.started]


def test_what_falls_back_is_read_in_its_place_and_its_followers_with_it() -> None:
    world = World()
    world.client.send(gets(world.a, world.b, world.x, world.a))
    sent = world.sent()
    world.answer(THERE, sent[THERE], item(b"1"), UNANSWERED, item(b"old"))
    assert started(world) == [(world.b,), (world.a,)]
    assert world.coordinator.started[1].after is world.coordinator.started[0]
    world.answer(ELSEWHERE, sent[ELSEWHERE], None)
    first, second = world.coordinator.started
    second.end([item(b"new")])
    first.end([item(b"2")])
    world.client.turn()
    lines = [value_lines(world.a, b"1"), value_lines(world.b, b"2"), b""]
    lines.append(value_lines(world.a, b"new"))
    assert world.client.read() == END.join(lines) + END
    connection = world.client.connection
    assert connection.replies.reply_bytes == 0
    assert not connection.conversation.order.lanes
    assert not connection.conversation.order.quick


def test_what_fell_back_has_the_deadline_that_it_had() -> None:
    world = World()
    deadlines: list[int] = []
    read = world.coordinator.read

    def noted(*args: Any) -> Any:
        deadlines.append(args[6])
        return read(*args)

    world.coordinator.read = noted  # type: ignore[method-assign]
    world.ways.now_ns = 1_000
    world.client.send(gets(world.a))
    world.sent()
    world.ways.now_ns = 9_000
    world.ways.bundles.peer_down(THERE)
    assert deadlines == [world.ways.bundles.deadline_ns(1_000)]


def test_gets_that_fell_back_go_before_a_write_that_waits() -> None:
    """The first one ends at once: the write must not begin before the second one."""
    world = World()
    world.client.send(gets(world.a, world.b) + set_line(world.b))
    world.sent()
    order: list[Any] = []

    def answer(operation: Any) -> Any:
        order.append((operation.is_write, operation.keys[0]))
        return None if operation.is_write else [None]

    world.coordinator.answer = answer
    world.ways.bundles.changed(GROUP)
    assert order == [(False, world.a), (False, world.b), (True, world.b)]


def test_an_error_takes_the_place_of_one_get() -> None:
    world = World()
    world.client.send(gets(world.a, world.x))
    sent = world.sent()
    world.answer(THERE, sent[THERE], NOT_LED)
    world.coordinator.take().end(Failure("why", outcome_known=True))
    world.answer(ELSEWHERE, sent[ELSEWHERE], None)
    assert world.client.read() == b"SERVER_ERROR not done: why\r\n" + END


def test_the_keys_of_one_get_fall_back_as_one_read() -> None:
    world = World()
    world.client.send(b"get %b %b %b\r\n" % (world.a, world.x, world.b) + gets(world.a))
    sent = world.sent()
    world.answer(ELSEWHERE, sent[ELSEWHERE], item(b"x"))
    world.ways.bundles.peer_down(THERE)
    assert started(world) == [(world.a, world.b), (world.a,)]
    many, one = world.coordinator.started
    one.end([item(b"3")])
    many.end([item(b"1"), item(b"2")])
    world.client.turn()
    lines = (value_lines(world.a, b"1"), value_lines(world.x, b"x"), value_lines(world.b, b"2"))
    assert world.client.read() == b"".join(lines) + END + value_lines(world.a, b"3") + END


def test_a_large_item_is_opened_the_general_way() -> None:
    world = World()
    world.client.send(gets(world.a))
    world.answer(THERE, world.sent()[THERE], UNANSWERED)
    large = pack_header(PIECES, 0, 1) + b" 0 1\r\nx\r\n"
    assert large[0] & PIECES
    assert started(world) == [(world.a,)]


def test_without_room_the_gets_of_a_client_all_fall_back() -> None:
    world = World()
    world.client.send(gets(world.x, world.a, world.b))
    sent = world.sent()
    world.server.reply_bytes_max = 0
    world.client.connection.replies.reply_bytes += 1  # Another answer waits.
    world.answer(THERE, sent[THERE], item(b"1"), None)
    assert sorted(started(world)) == sorted([(world.x,), (world.a,), (world.b,)])


def test_a_client_that_left_is_no_trouble() -> None:
    world = World()
    world.client.send(gets(world.a) + set_line(world.b, noreply=True))
    sent = world.sent()[THERE]
    world.client.connection.connection_lost(None)
    world.answer(THERE, sent, item(b"1"))
    assert started(world) == [(world.b,)], "what it sent before it left is still done"
