"""Goal: copies that travel as datagrams are taken from the process that a connection stands with,
and from nobody else; without them everything works as before.

Method: real sockets on loopback for the two networks, a scripted host for what is sent twice.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.datagrams import (
    DATAGRAM_BYTES_MAX,
    DATAGRAMS_MAX,
    DatagramPath,
    encode_datagrams,
    items_of,
    make_token,
    token_of,
)
from quorumcache.node.telemetry.counters import Counters
from tests.unit.node.peers.test_network import World, both, hello_of, run

TOKEN = bytes(range(16))
TICK_NS = 10_000_000


def test_items_come_back_as_they_were() -> None:
    items = [(3, i, b"x" * i) for i in range(60)]
    datagrams = encode_datagrams(TOKEN, [pack_item(item) for item in items])
    assert 1 < len(datagrams) <= DATAGRAMS_MAX
    assert all(len(datagram) <= DATAGRAM_BYTES_MAX for datagram in datagrams)
    assert all(token_of(datagram) == TOKEN for datagram in datagrams)
    assert [item for datagram in datagrams for item in items_of(datagram)] == items


def test_what_does_not_fit_is_left_out() -> None:
    items = [(1, b"a"), (2, b"b" * DATAGRAM_BYTES_MAX), (3, b"c")]
    datagrams = encode_datagrams(TOKEN, [pack_item(item) for item in items])
    assert [item for datagram in datagrams for item in items_of(datagram)] == [items[0], items[2]]
    assert encode_datagrams(TOKEN, []) == []
    many = [pack_item((1, b"x" * 1000))] * 20
    assert len(encode_datagrams(TOKEN, many)) == DATAGRAMS_MAX


class FullSocket:
    """Takes `room` datagrams, then keeps what it is given, as a transport does."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []

    def sendto(self, datagram: bytes) -> None:
        (self.sent if len(self.sent) < self.room else self.waiting).append(datagram)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def is_closing(self) -> bool:
        return False


def test_nothing_piles_up_before_a_socket_that_takes_nothing() -> None:
    """A heartbeat that leaves late is worth nothing, and memory has a bound."""
    path, transport = DatagramPath(), FullSocket(room=1)
    path.connection_made(transport)  # type: ignore[arg-type]
    path.token = TOKEN
    packed = pack_item((1, b"x" * (DATAGRAM_BYTES_MAX // 2)))
    for _ in range(3):
        for _ in range(DATAGRAMS_MAX):
            path.send(packed)
        path.flush()
    assert len(transport.sent) == len(transport.waiting) == 1
    transport.waiting.clear()
    transport.room = 3
    path.send(packed)
    path.flush()
    assert len(transport.sent) == 2


def test_damage_is_found() -> None:
    (whole,) = encode_datagrams(TOKEN, [pack_item((1, 2, 3))])
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        assert token_of(bytes(damaged)) != TOKEN
    for size in range(len(whole)):
        assert token_of(whole[:size]) == b""
    assert token_of(whole + b"x" * DATAGRAM_BYTES_MAX) == b""


@pytest.mark.parametrize("end", [0, 1])
def test_a_token_names_both_processes(end: int) -> None:
    ends = [hello_of(1), hello_of(2)]
    token = make_token(*ends)
    assert token == make_token(*(hello._replace(map_epoch=99) for hello in ends))
    for name, value in {"cluster_id": "c2", "node_id": 9, "disk_id": "d", "incarnation": 7}.items():
        changed = list(ends)
        changed[end] = changed[end]._replace(**{name: value})
        assert make_token(*changed) != token, name
    assert make_token(ends[1], ends[0]) != token


def throw(world: World, to: int, datagram: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
        thrower.sendto(datagram, ("127.0.0.1", world.ports[to]))


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 (there is no event for it)
        await asyncio.sleep(0.005)


async def until_it_arrives(a: Any, at_b: Any, item: tuple[Any, ...]) -> None:
    """The way for datagrams stands a moment after the connection, and loopback may drop some."""
    while not at_b.all("datagram", 1, item):
        a.send_again(2, pack_item(item))
        a.flush()
        await asyncio.sleep(0.005)


def test_a_copy_arrives_beside_the_connection() -> None:
    async def test() -> None:
        async with World() as world:
            a, _, _, at_b = await both(world)
            await until_it_arrives(a, at_b, (1, "copy"))
            assert not at_b.all("item")
            a.send_again(7, pack_item((1, "of nobody")))

    run(test())


def test_only_the_process_at_the_other_end_is_believed() -> None:
    async def test() -> None:
        async with World() as world:
            counters = Counters()
            ours, theirs = hello_of(2), hello_of(1)
            b, at_b = await world.start(2, hello=ours, counters=counters)
            item = [pack_item((1, "x"))]
            (good,) = encode_datagrams(make_token(theirs, ours), item)

            async def is_refused(datagram: bytes) -> None:
                before = counters.peer_datagrams_refused
                while counters.peer_datagrams_refused == before:
                    throw(world, 2, datagram)
                    await asyncio.sleep(0.005)
                assert not at_b.all("datagram")

            await is_refused(good)  # It has not introduced itself.
            a, _ = await world.start(1, hello=theirs)
            await at_b.wait("hello", 1)
            await is_refused(b"")
            await is_refused(b"x" * 100)
            for stale in (
                make_token(theirs._replace(incarnation=1), ours),
                make_token(theirs, ours._replace(incarnation=1)),
            ):
                await is_refused(encode_datagrams(stale, item)[0])
            bad = encode_datagrams(make_token(theirs, ours), [pack_item(("bad",))])[0]
            await is_refused(bad)
            assert b.is_up(1)
            while not at_b.all("datagram"):
                throw(world, 2, good)
                await asyncio.sleep(0.005)
            assert counters.peer_datagrams_received >= 1
            a.abort()
            await until(lambda: b._peers[1].inbound is None)
            at_b.events.clear()
            await is_refused(good)  # Its connection is gone.

    run(test())


def test_a_process_that_was_started_again_is_believed_and_the_one_before_is_not() -> None:
    async def test() -> None:
        async with World() as world:
            a, _, b, at_b = await both(world)
            await until_it_arrives(a, at_b, (1, "first"))
            old = make_token(a._handshake.hello, b._handshake.hello)
            a.abort()
            await until(lambda: b._peers[1].inbound is None)
            a, _ = await world.start(1)
            await until_it_arrives(a, at_b, (1, "second"))
            assert old not in b._datagrams._tokens
            assert len(b._datagrams._tokens) == 1

    run(test())


def test_without_the_port_for_datagrams_the_connection_carries_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with World() as world:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
                taken.bind(("127.0.0.1", world.ports[2]))
                a, _, b, at_b = await both(world)
                a.send(2, (1, "item"))
                a.send_again(2, pack_item((1, "item")))
                a.flush()
                assert (await at_b.wait("item", 1))[2] == (1, "item")
                assert a.is_up(2)
                assert b.is_up(1)

    run(test())
    assert any("peer_datagrams_off" in record.getMessage() for record in caplog.records)
