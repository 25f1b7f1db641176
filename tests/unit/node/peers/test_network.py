"""Goal: two networks find each other, notice each other's end, and send strangers away by name.

Method: real sockets on loopback, and a recorder that a test waits on. Deadlines are generous.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.bench.ports import free_ports
from quorumcache.node.clock import SystemClock
from quorumcache.node.errors import PeerFrameError, StartupError
from quorumcache.node.peers import network as network_module
from quorumcache.node.peers.codec import (
    FRAME_BYTES_MAX,
    PROTOCOL_VERSION,
    REFUSED_RETRY_MS,
    FrameDecoder,
    Hello,
    Refusal,
    decode_hello,
    encode_frame,
    encode_hello,
    encode_items,
    pack_item,
)
from quorumcache.node.peers.link import BULK_BYTES_MAX
from quorumcache.node.peers.network import PeerNetwork, PeerSpec
from quorumcache.node.peers.open_links import UNKNOWN_LINKS_MAX
from quorumcache.node.peers.peer import ONE_WAY_NS
from quorumcache.node.peers.proofs import OWN_FORM, encode_proof, make_proof, nonce_of, with_extras
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring.secret import Secret
from tests.support.background import background_tasks
from tests.support.founding import disk_id
from tests.support.hung_names import HungNames

DEADLINE_SECONDS = 30


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await test

    asyncio.run(bounded())


class Recorder:
    """A `PeerHandler` that keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()
        self.fail_on: object = None

    def _add(self, *event: Any) -> None:
        self.events.append(event)
        self._changed.set()

    def on_peer_items(self, node_id: int, items: tuple) -> None:
        for item in items:
            if item[0] == "bad":
                raise PeerFrameError("bad item")
            self._add("item", node_id, item)

    def on_peer_datagram(self, node_id: int, items: tuple) -> None:
        for item in items:
            if item[0] == "bad":
                raise PeerFrameError("bad item")
            self._add("datagram", node_id, item)

    def on_peer_hello(self, node_id: int, hello: Hello) -> None:
        self._add("hello", node_id, hello)

    def on_peer_up(self, node_id: int) -> None:
        self._add("up", node_id)

    def on_peer_down(self, node_id: int, why: str) -> None:
        self._add("down", node_id, why)

    def on_question(self, asker: Any, payload: bytes) -> bool:
        return False

    def on_newer_map(self) -> None:
        self._add("newer map")

    def on_farewell(self, epoch: int) -> None:
        self._add("farewell", epoch)

    def on_refused(self, node_id: int, why: str) -> None:
        self._add("refused", node_id, why)

    def all(self, *start: Any) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[: len(start)] == start]

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def wait(self, *start: Any, count: int = 1) -> tuple[Any, ...]:
        await self.until(lambda: len(self.all(*start)) >= count)
        return self.all(*start)[count - 1]


def hello_of(node_id: int, **changes: Any) -> Hello:
    name = "?abc"[node_id]
    fields: dict[str, Any] = {
        "protocol_version": PROTOCOL_VERSION,
        "cluster_id": "c1",
        "disk_id": disk_id(node_id),
        "is_founded": True,
        "peer_address": f"10.0.0.{node_id}:7400",
        "settings_fingerprint": "f0",
        "node_id": node_id,
        "name": name,
        "incarnation": random.getrandbits(60),
        "start_number": 0,
        "start_nonces": b"",
        "client_address": f"10.0.0.{node_id}:11211",
        "http_address": "",
        "zone": "z",
        "weight": 1.5,
        "map_epoch": 4,
        "version": "0.1.0",
    }
    return Hello(**(fields | changes))


class Lines(logging.Handler):
    """Waits for a line of the log, while it is attached. `with` attaches it."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, asyncio.Event] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._told.setdefault(record.getMessage(), asyncio.Event()).set()

    async def wait(self, event: str) -> None:
        await self._told.setdefault(event, asyncio.Event()).wait()

    def __enter__(self) -> Lines:
        logging.getLogger("quorumcache.peers").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("quorumcache.peers").removeHandler(self)


class World:
    """Nodes a and b (ids 1 and 2) on fixed free ports."""

    def __init__(self) -> None:
        self.ports = dict(zip((1, 2), free_ports(2), strict=True))
        self.networks: list[PeerNetwork] = []

    def address(self, node_id: int) -> str:
        return f"127.0.0.1:{self.ports[node_id]}"

    def make(self, node_id: int, *, peer_name: str = "", **options: Any) -> Any:
        other = 3 - node_id
        hello = options.pop("hello", None) or hello_of(node_id)
        secret = options.pop("secret", None)
        recorder = Recorder()
        network = PeerNetwork(
            asyncio.get_running_loop(),
            SystemClock(),
            random.Random(node_id),
            listen_address=self.address(node_id),
            tasks=background_tasks(),
            **options,
        )
        name = peer_name or "?abc"[other]
        peers = {other: PeerSpec(name, self.address(other), disk_id(other))}
        network.join(hello, peers, recorder, secret=secret, entropy=random.Random())
        self.networks.append(network)
        return network, recorder

    async def start(self, node_id: int, **options: Any) -> Any:
        network, recorder = self.make(node_id, **options)
        assert await network.start() == self.address(node_id)
        return network, recorder

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: object) -> None:
        for network in self.networks:
            await network.stop()
        # Transports say goodbye in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)


async def both(world: World) -> Any:
    a, at_a = await world.start(1)
    b, at_b = await world.start(2)
    await at_a.wait("up", 2)
    await at_b.wait("up", 1)
    # The first to start could not reach the other yet. That is past.
    for recorder in (at_a, at_b):
        recorder.events = [event for event in recorder.events if event[0] != "down"]
    return a, at_a, b, at_b


def test_two_networks_meet_and_exchange_items() -> None:
    async def test() -> None:
        async with World() as world:
            counters = Counters()
            a, at_a = await world.start(1, counters=counters)
            b, at_b = await world.start(2)
            await at_a.wait("up", 2)
            await at_b.wait("up", 1)
            assert (await at_a.wait("hello", 2))[2].client_address == "10.0.0.2:11211"
            assert (await at_b.wait("hello", 1))[2].map_epoch == 4
            assert (a.node_ids, b.node_ids) == ((2,), (1,))
            assert a.is_up(2)
            assert not a.is_up(7)
            items = [(5, i, b"x" * i, (None, True, ())) for i in range(300)]
            for item in items:
                assert a.send(2, item)
            assert not at_b.all("item")
            a.flush()
            await at_b.wait("item", 1, count=300)
            assert [event[2] for event in at_b.all("item")] == items
            assert counters.peer_messages_sent == 300
            b.send(1, (1, "back"))
            b.flush()
            assert (await at_a.wait("item", 2))[2] == (1, "back")
            assert counters.peer_messages_received == 1

    run(test())


def test_before_a_node_has_joined_it_has_nobody_to_send_to() -> None:
    """As while it is new, or alone."""

    async def test() -> None:
        counters = Counters()
        network = PeerNetwork(
            asyncio.get_running_loop(),
            SystemClock(),
            random.Random(1),
            listen_address="127.0.0.1:0",
            tasks=background_tasks(),
            counters=counters,
        )
        assert not network.has_joined
        assert not network.send(2, (1,))
        assert not network.send_bulk(2, (1,))
        network.send_again(2, b"x")
        network.send_to_all((1,))
        network.flush()
        assert (network.node_ids, network.is_up(2), network.is_heard(2)) == ((), False, False)
        assert (network.refusals(), network.why_apart()) == ({}, {})
        assert counters.peer_messages_sent == 0
        network.abort()
        await network.stop()

    run(test())


def test_a_turn_is_one_frame_and_one_write() -> None:
    async def test() -> None:
        async with World() as world:
            a, _, _, _ = await both(world)
            writes: list[bytes] = []
            link = a._ready[2]
            link._transport = Spy(link._transport, writes)
            for i in range(50):
                a.send(2, (i,))
            assert writes == []
            a.flush()
            a.flush()
            assert len(writes) == 1
            assert len(FrameDecoder().feed(writes[0])) == 1

    run(test())


class Spy:
    def __init__(self, transport: Any, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def test_large_items_arrive_whole() -> None:
    async def test() -> None:
        async with World() as world:
            a, _, _, at_b = await both(world)
            items = [(i, bytes([i]) * (3 << 20)) for i in range(6)]
            for item in items:
                assert a.send(2, item)
            a.flush()
            await at_b.wait("item", 1, count=6)
            assert [event[2] for event in at_b.all("item")] == items

    run(test())


def test_a_peer_that_ends_is_noticed_once_and_dialed_until_it_is_back() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a, b, _ = await both(world)
            b.abort()
            await at_a.until(lambda: not a.is_up(2))
            await at_a.wait("down", 2)
            assert not a.send(2, (1,))
            downs = len(at_a.all("down"))
            await asyncio.sleep(0.3)  # several redials are refused meanwhile
            assert len(at_a.all("down")) <= max(downs, 2)
            b2, at_b2 = await world.start(2)
            await at_a.wait("up", 2, count=2)
            await at_b2.wait("up", 1)
            assert a.send(2, (9,))
            a.flush()
            assert (await at_b2.wait("item", 1))[2] == (9,)
            assert b2.is_up(1)

    run(test())


def test_a_peer_that_was_never_there_is_reported_once() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            why = (await at_a.wait("down", 2))[2]
            assert world.address(2) in why
            await asyncio.sleep(0.3)
            assert len(at_a.all("down")) == 1
            assert not a.send(2, (1,))

    run(test())


def test_a_graceful_stop_sends_what_was_queued() -> None:
    async def test() -> None:
        async with World() as world:
            a, _, _, at_b = await both(world)
            for i in range(100):
                a.send(2, (i, b"x" * 1000))
            await a.stop()
            await at_b.wait("item", 1, count=100)
            await at_b.wait("down", 1)

    run(test())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cluster_id": "c2"}, ("cluster c1", "cluster c2")),
        ({"settings_fingerprint": "f1"}, ("settings differ", "f0", "f1")),
        (
            {"settings_fingerprint": "f1", "settings": (("shards", "128"),)},
            ("settings differ: shards is ", "128 at node b", "unknown at node a"),
        ),
        ({"name": "z"}, ("node z", "node b")),
        ({"node_id": 3, "name": "c"}, ("id 3", "does not know")),
        ({"disk_id": disk_id(9)}, ("node b", disk_id(9), "node a", disk_id(2))),
    ],
)
def test_strangers_are_refused_by_name_on_both_sides(
    changes: dict[str, Any], sentence: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            b, at_b = await world.start(2, hello=hello_of(2)._replace(**changes))
            for recorder in (at_a, at_b):
                await recorder.wait("refused")
                texts = [event[2] for event in recorder.all("refused")]
                assert any(all(part in text for part in sentence) for text in texts), texts
                assert not recorder.all("up")
            assert not at_a.all("hello")
            if {"cluster_id", "settings_fingerprint"} & changes.keys():
                assert not at_b.all("hello")  # Else only `a` can tell: `b` takes `a` in at first.
            assert not a.is_up(2)
            assert not b.is_up(1)

    with caplog.at_level("DEBUG", "quorumcache.peers"):
        run(test())
    lines = [record for record in caplog.records if record.message == "peer_refused"]
    assert {record.levelname for record in lines} == {"ERROR"}
    texts = [(record.fields["peer"], record.fields["by"], record.fields["why"]) for record in lines]
    assert len(set(texts)) >= 2


def test_a_stranger_with_a_newer_map_is_tried_again_once_the_map_names_it() -> None:
    """Another data directory speaks for b: refused at first, and taken when the map says so."""

    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            new = hello_of(2, disk_id=disk_id(9), map_epoch=5)
            _, at_b = await world.start(2, hello=new)
            await at_a.wait("newer map")
            assert not at_a.all("up")
            a.update_peers({2: PeerSpec("b", world.address(2), disk_id(9))})
            await at_a.wait("up", 2)
            await at_b.wait("up", 1)

    run(test())


def test_a_peer_that_cannot_read_a_new_map_loses_its_links_and_is_refused() -> None:
    """Its version was heard before the map got a form that it does not read."""

    async def test() -> None:
        async with World() as world:
            a, at_a, _, at_b = await both(world)
            a.set_map(5, OWN_FORM + 1)
            await at_a.wait("refused")
            await at_b.wait("down", 1)
            await until(lambda: not a.is_heard(2) and not a.is_up(2))
            assert "cannot read the cluster map of node a" in at_a.all("refused")[0][2]

    run(test())


def test_peers_that_left_are_let_go_of_and_new_ones_dialed() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a, b, at_b = await both(world)
            a.update_peers({})
            assert a.node_ids == ()
            await at_b.wait("down", 1)
            assert not a.send(2, (1,))
            a.update_peers({2: PeerSpec("b", world.address(2), disk_id(2))})
            await at_a.until(lambda: a.is_up(2))
            await at_b.until(lambda: b.is_up(1))

    run(test())


def test_nothing_is_left_of_a_node_that_was_forgotten() -> None:
    """Once it is a stranger that dials us, and again after it was added anew."""

    async def test() -> None:
        async with World() as world:
            a, at_a, b, at_b = await both(world)
            await until(lambda: a.is_heard(2) and 2 in a._datagrams._paths)
            for _ in range(2):
                at_a.events.clear()
                at_b.events.clear()
                a.forget(2)
                assert (a.node_ids, a.is_up(2), a.is_heard(2)) == ((), False, False)
                assert not a.send(2, (1,))
                ways = a._datagrams
                assert (ways._tokens, ways._paths, a._ready, a._dialer._dials) == ({}, {}, {}, {})
                assert (await at_b.wait("refused", 1))[2].endswith("which node a does not know")
                assert not at_a.all("down"), "it did not go down: it has left"
                a.add(2, PeerSpec("b", world.address(2), disk_id(2)))
                await until(lambda: a.is_up(2) and a.is_heard(2) and b.is_up(1))

    run(test())


def test_a_node_is_dialed_where_it_says_that_it_is() -> None:
    """Our settings have an address at which nobody answers."""

    async def test() -> None:
        async with World() as world:
            _, _ = await world.start(2)
            a, at_a = world.make(1)
            [nowhere] = free_ports(1)
            a.update_peers({2: PeerSpec("b", f"127.0.0.1:{nowhere}", disk_id(2))})
            await a.start()
            await at_a.wait("hello", 2)
            assert not a.is_up(2)
            specs = {2: PeerSpec("b", f"127.0.0.1:{nowhere}", disk_id(2), world.address(2))}
            a.update_peers(specs)
            await at_a.wait("up", 2)

    run(test())


def test_what_refuses_us_and_who_does_not_reach_us_is_told() -> None:
    """b refuses a at first. Then b does not find a: it dials a port where nobody is."""

    async def test() -> None:
        async with World() as world:
            clock = SystemClock()
            a, at_a = await world.start(1)
            _, _ = await world.start(2, hello=hello_of(2, cluster_id="c2"))
            await at_a.until(lambda: 2 in a.refusals())
            assert "node b refuses this node: " in a.refusals()[2]
        async with World() as world:
            a, at_a = await world.start(1)
            b, _ = world.make(2)
            [nowhere] = free_ports(1)
            b.update_peers({1: PeerSpec("a", f"127.0.0.1:{nowhere}", disk_id(1))})
            await b.start()
            await at_a.wait("up", 2)
            assert a.refusals() == {}
            later = clock.monotonic_ns() + ONE_WAY_NS + 1_000_000_000
            a._clock = SimpleNamespace(monotonic_ns=lambda: later)
            assert "cannot connect to this node" in a.refusals()[2]

    run(test())


def test_a_refused_node_waits_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with World() as world:
            _, at_a = await world.start(1)
            await world.start(2, hello=hello_of(2, cluster_id="c2"))
            await at_a.wait("refused", count=2)
            await asyncio.sleep(1)
            # A redial after 10 to 500 ms would have made many by now.
            assert len(at_a.all("refused")) <= 4

    with caplog.at_level("INFO", "quorumcache.peers"):
        run(test())
    lines = [record for record in caplog.records if record.message == "peer_refused"]
    assert len(lines) <= 4


SECRET, OTHER_SECRET = Secret("the secret of the cluster"), Secret("the secret of another")


def test_nodes_with_the_secret_prove_it_to_each_other() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1, secret=SECRET)
            assert (a.form_of(2), a.form_of(7), a.proven()) == (1, 1, {1})
            b, at_b = await world.start(2, secret=SECRET)
            await at_a.wait("up", 2)
            await until(lambda: a.proven() == b.proven() == {1, 2})
            assert (a.form_of(2), b.form_of(1)) == (OWN_FORM, OWN_FORM)
            a.require_proofs(True)
            b.require_proofs(True)
            a.send(2, (5, b"x"))
            a.flush()
            await at_b.wait("item", 1)
            assert not at_a.all("down")[1:], "one: b was not there yet"
            b.abort()
            await until(lambda: a.proven() == {1})
            assert a.form_of(2) == OWN_FORM, "what it was when it was heard last"

    run(test())


def test_nodes_with_different_secrets_refuse_each_other_and_say_so() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1, secret=SECRET)
            b, at_b = await world.start(2, secret=OTHER_SECRET)
            for recorder in (at_a, at_b):
                told = [await recorder.wait("refused", *other) for other in ((0,), ())]
                assert all("has another secret than node" in event[2] for event in told)
            await until(lambda: a.refusals() and b.refusals())
            assert "node b refuses this node: node a has another secret" in a.refusals()[2]
            for network, recorder in ((a, at_a), (b, at_b)):
                network.send_to_all((5, b"x"))
                network.flush()
                assert len(network.proven()) == 1, "itself"
                assert not network.is_heard(1)
                assert not network.is_heard(2)
                assert not recorder.all("item")

    run(test())


def test_a_node_without_the_secret_is_let_in_until_proofs_are_required() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1, secret=SECRET)
            b, at_b = await world.start(2)
            await at_a.wait("up", 2)
            await until(lambda: a.is_heard(2) and b.is_heard(1))
            assert (a.proven(), b.proven()) == ({1}, set())
            a.require_proofs(True)
            await until(lambda: not a.is_heard(2))
            refused = await at_b.wait("refused", 1)
            assert "node b does not prove that it knows the cluster's secret" in refused[2]
            await at_a.wait("down", 2)
            await until(lambda: b.refusals())
            assert b.is_heard(1), "it can check nothing"

    run(test())


def test_a_stranger_that_knows_all_but_the_secret_brings_nothing() -> None:
    """It says what node b would say, from another process, while b is away."""

    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1, secret=SECRET)
            a.require_proofs(True)
            hello = with_extras(hello_of(2), "0" * 32, True)
            item = encode_items([pack_item((5, b"x"))])
            for first in (item, encode_proof(b""), encode_proof(bytes(32)), encode_proof(b"x")):
                reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
                writer.write(encode_hello(hello) + first + item)
                await read_payload(reader)  # a introduces itself
                await ended(reader)
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
            writer.write(encode_hello(hello_of(2)) + item)
            refusal = decode_hello(await read_payload(reader))
            assert isinstance(refusal, Refusal)
            assert "does not prove" in refusal.sentence
            writer.close()
            assert not at_a.all("item")
            assert not at_a.all("hello")
            assert not a.is_heard(2)

    run(test())


def test_a_proof_that_was_overheard_is_of_no_use_on_another_connection() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1, secret=SECRET)
            a.require_proofs(True)
            hello = hello_of(2)
            overheard = b""
            for is_honest in (True, False):
                reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
                writer.write(encode_hello(with_extras(hello, "0" * 32, True)))
                told = decode_hello(await read_payload(reader))
                assert isinstance(told, Hello)
                if is_honest:
                    overheard = make_proof(SECRET, hello, told, nonce_of(told))
                writer.write(encode_proof(overheard) + encode_items([pack_item((5, b"x"))]))
                if is_honest:
                    await at_a.wait("item", 2)
                    writer.close()
                    await until(lambda: not a.is_heard(2))
                else:
                    await at_a.wait("refused", 0)
                    await ended_after_a_frame(reader)
                    writer.close()
            assert len(at_a.all("item")) == 1

    run(test())


async def ended_after_a_frame(reader: asyncio.StreamReader) -> None:
    """Waits until the other side has said one thing more and closed the connection."""
    await read_payload(reader)
    await ended(reader)


def test_a_second_process_of_the_same_name_is_refused_while_the_first_lives() -> None:
    async def test() -> None:
        async with World() as world:
            _, at_a, b, at_b = await both(world)
            reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
            writer.write(encode_hello(hello_of(2)))
            refusal = decode_hello(await read_payload(reader))
            assert isinstance(refusal, Refusal)
            assert "another process is connected to node a as node b" in refusal.sentence
            assert refusal.retry_ms == 500
            writer.close()
            assert b.is_up(1)
            assert len(at_a.all("up")) == len(at_b.all("up")) == 1

    run(test())


async def read_payload(reader: asyncio.StreamReader) -> bytes:
    decoder = FrameDecoder()
    while True:
        data = await reader.read(65536)
        assert data, "closed without a frame"
        payloads = decoder.feed(data)
        if payloads:
            return payloads[0]


async def ended(reader: asyncio.StreamReader) -> None:
    """Waits until the other side has closed the connection, one way or the other."""
    with suppress(ConnectionError):
        assert await reader.read() == b""


@pytest.mark.parametrize(
    ("garbage", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "over the maximum"),
        (b"\x00" * 100, "not valid msgpack"),
        (b"\x00\x00\x00\x03\x00\x00\x00\x00abc", "checksum"),
        (b"\x00\x00\x00\x05", None),
        (encode_frame(b"\x91\x01"), "neither a hello nor a refusal"),
        (b"\xff" * 100, "over the maximum"),
        (encode_items([pack_item((1, 2))]), "neither a hello nor a refusal"),
    ],
)
def test_garbage_is_closed_with_one_line(
    garbage: bytes, why: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a, _, at_b = await both(world)
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
                writer.write(garbage)
                if why is None:
                    writer.write_eof()
                refused_or_closed = await reader.read()
                assert len(refused_or_closed) < 1000
                writer.close()
            # Nobody else was disturbed.
            assert a.is_up(2)
            assert not at_a.all("down")
            a.send(2, (1,))
            a.flush()
            await at_b.wait("item", 1)

    with caplog.at_level("INFO", "quorumcache.peers"):
        run(test())
    lines = [record for record in caplog.records if record.message == "peer_handshake_failed"]
    assert len(lines) == 1
    assert (why or "closed by the other side") in lines[0].fields["why"]


def test_garbage_after_the_hello_ends_the_link_and_not_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
            writer.write(encode_hello(hello_of(2)))
            assert isinstance(decode_hello(await read_payload(reader)), Hello)
            writer.write(encode_items([pack_item((1,))]))
            await at_a.wait("item", 2)
            writer.write(b"\xff" * 8)
            await ended(reader)
            writer.close()
            assert not a.is_up(2)

    with caplog.at_level("INFO", "quorumcache.peers"):
        run(test())
    [line] = [record for record in caplog.records if record.message == "peer_link_lost"]
    assert "over the maximum" in line.fields["why"]


def test_an_item_the_handler_cannot_take_ends_the_link() -> None:
    async def test() -> None:
        async with World() as world:
            _, at_a, b, at_b = await both(world)
            b.send(1, ("bad",))
            b.flush()
            assert (await at_a.wait("down", 2))[2] == "bad item"
            await at_b.wait("up", 1, count=2)

    run(test())


def test_callers_that_say_nothing_are_bounded_and_sent_away() -> None:
    async def test() -> None:
        async with World() as world:
            _, _ = await world.start(1)
            idle = []
            for _ in range(UNKNOWN_LINKS_MAX):
                idle.append(await asyncio.open_connection("127.0.0.1", world.ports[1]))
            # A peer gets in at once, and the oldest of the silent ones makes room for it.
            _, at_b = await world.start(2)
            await at_b.wait("up", 1)
            await ended(idle[0][0])
            assert not any(one.at_eof() for one, _ in idle[2:])
            # The others are closed by the node once they were silent for too long.
            await ended(idle[1][0])
            for _, one in idle:
                one.close()

    run(test())


class Valve:
    """A forwarder between a and b whose directions can be shut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.open = {"there": asyncio.Event(), "back": asyncio.Event()}
        for event in self.open.values():
            event.set()
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: Any, writer: Any) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        self.tasks.append(asyncio.create_task(self._pump("there", reader, far_writer)))
        self.tasks.append(asyncio.create_task(self._pump("back", far_reader, writer)))

    async def _pump(self, way: str, reader: Any, writer: Any) -> None:
        try:
            while data := await reader.read(65536):
                await self.open[way].wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def stop(self) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_link_cut_one_way_is_noticed_at_both_ends(way: str) -> None:
    async def test() -> None:
        async with World() as world:
            valve = Valve(("127.0.0.1", world.ports[2]))
            recorder = Recorder()
            a = PeerNetwork(
                asyncio.get_running_loop(),
                SystemClock(),
                random.Random(1),
                listen_address=world.address(1),
                tasks=background_tasks(),
            )
            peers = {2: PeerSpec("b", f"127.0.0.1:{await valve.start()}", disk_id(2))}
            a.join(hello_of(1), peers, recorder)
            world.networks.append(a)
            await a.start()
            b, at_b = await world.start(2)
            await recorder.wait("up", 2)
            await until(lambda: b.is_heard(1))
            valve.open[way].clear()
            # The dialer hears nothing of what it says; the other side hears nothing, or the end.
            await recorder.until(lambda: not a.is_up(2))
            await recorder.wait("down", 2)
            await at_b.wait("down", 1)
            valve.open[way].set()
            await recorder.wait("up", 2, count=2)
            await valve.stop()

    run(test())


def test_an_idle_link_stays() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a, _, at_b = await both(world)
            await asyncio.sleep(3)
            assert not at_a.all("down")
            assert not at_b.all("down")
            assert a.is_up(2)

    run(test())


def test_an_outbox_is_bounded_while_the_peer_does_not_read() -> None:
    async def test() -> None:
        async with World() as world:
            counters = Counters()
            a, at_a = await world.start(1, queue_bytes_max=8 << 20, counters=counters)
            deaf = await asyncio.start_server(hello_and_no_more, "127.0.0.1", world.ports[2])
            await at_a.wait("up", 2)
            item = (1, b"x" * (1 << 20))
            sent = 0
            for _ in range(64):
                sent += a.send(2, item)
                a.flush()
            assert sent < 40
            assert counters.peer_messages_dropped == 64 - sent
            assert a._ready[2].outbox_bytes <= (8 << 20) + (1 << 20) + 100
            # And a peer that reads nothing answers nothing: it is given up.
            await at_a.wait("down", 2)
            deaf.close()

    async def hello_and_no_more(reader: Any, writer: Any) -> None:
        writer.transport.pause_reading()
        writer.write(encode_hello(hello_of(2)))
        try:
            await asyncio.sleep(DEADLINE_SECONDS)
        finally:
            writer.transport.abort()

    run(test())


def test_an_item_that_no_frame_can_carry_is_refused_and_holds_nothing_up() -> None:
    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            _, at_b = await world.start(2)
            await at_a.wait("up", 2)
            long = (1, b"x" * FRAME_BYTES_MAX)
            assert not a.send(2, long)
            assert not a.send_bulk(2, long)
            assert a.send(2, (1, b"short"))
            a.flush()
            assert (await at_b.wait("item", 1))[2] == (1, b"short")

    run(test())


def test_values_without_room_are_refused_before_they_are_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leader that is asked for far too much would spend its turns on copies of values."""
    packed: list[int] = []

    def pack(item: tuple[Any, ...]) -> bytes:
        packed.append(len(item[2]))
        return pack_item(item)

    async def test() -> None:
        async with World() as world:
            a, at_a = await world.start(1)
            await world.start(2)
            await at_a.wait("up", 2)
            monkeypatch.setattr(network_module, "pack_item", pack)
            large = (35, 1, (bytes(BULK_BYTES_MAX // 4),))
            sent = 0
            while a.send_bulk(2, large):
                sent += 1
                assert sent < 10
            assert len(packed) == sent
            assert a.send_bulk(2, (35, 2, (b"small",))), "a small one still has room"
            assert a.send_bulk(2, (35, 2, (None,)))
            assert not a.send_bulk(2, large)
            assert len(packed) == sent + 2

    run(test())


def test_a_hello_tells_the_newest_epoch() -> None:
    async def test() -> None:
        async with World() as world:
            a, _ = await world.start(1)
            a.set_map(77, 1)
            _, at_b = await world.start(2)
            assert (await at_b.wait("hello", 1))[2].map_epoch == 77

    run(test())


def test_a_port_in_use_is_a_clear_error() -> None:
    async def test() -> None:
        async with World() as world:
            await world.start(1)
            other, _ = world.make(1)
            with pytest.raises(StartupError, match=f"cannot listen on {world.address(1)}.* --peer"):
                await other.start()

    run(test())


def test_a_lost_link_is_dialed_again_while_the_name_server_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One peer's name never had an answer, and since the link was lost nothing has."""
    server = HungNames(monkeypatch)
    server.addresses["b.test"] = "127.0.0.1"
    server.silent.add("c.test")

    async def test() -> None:
        async with World() as world:
            recorder = Recorder()
            a = PeerNetwork(
                asyncio.get_running_loop(),
                SystemClock(),
                random.Random(1),
                listen_address=world.address(1),
                tasks=background_tasks(),
            )
            peers = {
                2: PeerSpec("b", f"b.test:{world.ports[2]}", disk_id(2)),
                3: PeerSpec("c", "c.test:7400", disk_id(3)),
            }
            a.join(hello_of(1), peers, recorder)
            world.networks.append(a)
            await a.start()
            await recorder.wait("down", 3)
            await world.start(2)
            await recorder.wait("up", 2)
            server.silent.add("b.test")
            link = a._peers[2].link
            assert link is not None
            link.abort("a fault")
            await recorder.wait("up", 2, count=2)
            assert server.asked.count("c.test") == 1

    try:
        run(test())
    finally:
        server.release()


def test_a_probe_that_leaves_without_a_word_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Load balancers and orchestrators probe the port every few seconds, for ever."""

    async def test() -> None:
        async with World() as world:
            a, at_a, _, _ = await both(world)
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", world.ports[1])
                writer.close()
                await writer.wait_closed()
            await lines.wait("peer_handshake_failed")
            assert a.is_up(2)
            assert not at_a.all("down")

    with caplog.at_level("DEBUG", "quorumcache.peers"), Lines() as lines:
        run(test())
    assert {r.levelname for r in caplog.records if r.message == "peer_handshake_failed"} == {
        "DEBUG"
    }


def test_a_dial_that_leads_back_to_its_own_port_is_given_up_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TCP's simultaneous open: the node would read its own hello, take it for another node's, and
    dial that node no more for some seconds. The port is free again for the node that it belongs to.
    """

    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with World() as world:
            a, at_a = world.make(1)
            usual = a._dialer._names.connect

            async def connect(factory: Any, host: str, port: int, turn: int) -> None:
                a._dialer._names.connect = usual
                near = socket.socket()
                near.setblocking(False)
                near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                near.bind((host, port))
                await loop.sock_connect(near, (host, port))
                await loop.create_connection(factory, sock=near)

            a._dialer._names.connect = connect
            await a.start()
            await lines.wait("peer_handshake_failed")
            began = loop.time()
            await world.start(2)
            await at_a.wait("up", 2)
            assert loop.time() - began < REFUSED_RETRY_MS / 1000
            assert not at_a.all("refused")

    with caplog.at_level("WARNING", "quorumcache.peers"), Lines() as lines:
        run(test())
    assert "its own port" in str(vars(caplog.records[0]))
