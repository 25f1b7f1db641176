"""What may come to the peer port: garbage, strangers, nodes of other settings or versions."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    FrameDecoder,
    Hello,
    Refusal,
    decode_hello,
    encode_frame,
    encode_hello,
    encode_items,
    pack_item,
)
from tests.support.load import in_threads
from tests.support.processes import Cluster, running_cluster, running_node
from tests.support.wire import Wire, ask


@pytest.fixture
def peer_port(cluster: Cluster) -> Iterator[int]:
    """Of node a of the shared cluster, which goes on as if nothing had happened."""
    cluster.wait_balanced()  # Else shards still move to their preferred leaders meanwhile.
    before = {node.name: len(node.log_lines("event=peer_down")) for node in cluster}
    yield cluster.peer_ports["a"]
    for node in cluster:
        assert node.is_running
        with node.wire() as wire:
            assert wire.set(b"after", b"peers") == b"STORED\r\n"
    cluster.wait_balanced()
    down = [
        line for node in cluster for line in node.log_lines("event=peer_down")[before[node.name] :]
    ]
    if not any("heard nothing for" in line for line in down):  # That tells of a busy machine.
        assert not down
    cluster.check_logs()


def hello_of(cluster: Cluster, **changed: object) -> Hello:
    """What node b would say, with something changed."""
    joined = cluster["a"].wait_log("founding_accepted")
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=joined.split(" cluster=")[1].split()[0],
        disk_id="0" * 32,
        settings_fingerprint="0" * 16,
        node_id=2,
        name="b",
        incarnation=1,
        start_number=2,
        start_nonces=b"mar1mar2",
        is_founded=True,
        peer_address="127.0.0.1:2",
        client_address="127.0.0.1:1",
        http_address="",
        zone="",
        weight=1.0,
        map_epoch=0,
        version="0.0.0",
        settings=(("shards", "4096"),),
    )
    return hello._replace(**changed)


def answer_to(port: int, hello: Hello) -> Hello | Refusal:
    with Wire(port) as wire:
        wire.send(encode_hello(hello))
        (frame,) = FrameDecoder(1 << 20).feed(wire.rest())
        return decode_hello(frame)


def test_garbage(peer_port: int) -> None:
    draw = random.Random(5)

    def one(number: int) -> None:
        with Wire(peer_port) as wire, contextlib.suppress(ConnectionError):
            wire.send(draw.randbytes(10_000) if number % 2 else b"get k\r\n" * 1000)
            wire.rest()  # Ends: the node closes.

    in_threads(10, one)


def test_items_before_an_introduction(peer_port: int) -> None:
    with Wire(peer_port) as wire:
        wire.send(encode_items([pack_item((0, 0, (99, 99, 99)))]))
        assert wire.rest() == b""


def test_connections_that_say_nothing(peer_port: int) -> None:
    """They are let go of; peers get through meanwhile (see the fixture)."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Wire(peer_port)) for _ in range(100)]
        for wire in silent[-20:]:  # Too many strangers at a time are closed unheard.
            assert wire.rest() == b""


def test_another_protocol_version(peer_port: int, cluster: Cluster) -> None:
    answer = answer_to(peer_port, hello_of(cluster, protocol_version=PROTOCOL_VERSION + 1))
    assert isinstance(answer, Refusal)
    assert f"protocol {PROTOCOL_VERSION + 1}" in answer.sentence
    cluster["a"].wait_log(answer.sentence)


def test_another_cluster(peer_port: int, cluster: Cluster) -> None:
    answer = answer_to(peer_port, hello_of(cluster, cluster_id="f" * 16))
    assert isinstance(answer, Refusal)
    assert "cluster" in answer.sentence
    cluster["a"].wait_log(answer.sentence)


def test_a_name_nobody_knows(peer_port: int, cluster: Cluster) -> None:
    answer = answer_to(peer_port, hello_of(cluster, node_id=9, name="z"))
    assert isinstance(answer, Refusal)
    cluster["a"].wait_log(answer.sentence)


@pytest.mark.parametrize("changed", [{"settings": 5}, {"start_nonces": "x"}, {"is_founded": 1}])
def test_a_hello_with_a_member_of_another_type(
    peer_port: int, cluster: Cluster, changed: dict[str, object]
) -> None:
    """It ends the connection as any other frame of an unknown form, and is no failure of the node:
    the fixture looks at its log."""
    with Wire(peer_port) as wire:
        wire.send(encode_frame(pack_item(("hello", *hello_of(cluster, **changed)))))
        assert wire.rest() == b""


def test_a_node_started_with_other_settings(tmp_path: Path) -> None:
    """Both sides say what differs; the other two go on; with the right setting it joins."""
    with running_cluster(tmp_path) as cluster:
        odd = cluster["c"]
        assert odd.terminate() == 0
        right = list(odd.flags)
        odd.flags += ["--election-ms", "1200"]
        odd.launch()
        for node in (odd, cluster["a"]):
            node.wait_log("peer_refused", "election_ms is", "1200")
        for node in cluster.others("c"):
            assert ask(node.port, b"set k 0 0 1\r\nx") == b"STORED\r\n"
        odd.end()
        odd.flags = right
        odd.start()
        cluster.wait_led()
        with odd.wire() as wire:
            assert wire.get(b"k") == b"x"


def test_a_node_restarted_with_another_number_of_shards(tmp_path: Path) -> None:
    """It ends with a line that holds both values, and misroutes nothing."""
    with running_cluster(tmp_path, shards=4) as cluster:
        odd = cluster["c"]
        assert odd.terminate() == 0
        right = list(odd.flags)
        odd.flags[odd.flags.index("--shards") + 1] = "8"
        odd.launch()
        assert odd.wait_end() != 0
        assert "shards is 8 in the settings of this node, but the cluster was created with 4" in (
            odd.log()
        )
        odd.flags = right
        odd.start()
        cluster.wait_led()


def test_two_processes_of_one_name(tmp_path: Path) -> None:
    """A second node c with a directory of its own stays outside, whether the first one is there or
    not; the first one is let in again.
    """
    with running_cluster(tmp_path, shards=2) as cluster:
        words = list(cluster["c"].flags)
        words[words.index("--data-dir") + 1] = str(tmp_path / "c-again")
        with running_node(tmp_path / "again", *words, "--peer", "127.0.0.1:0", name="c") as twin:
            twin.wait_log("that name belongs to data directory")
            for node in cluster:
                assert ask(node.port, b"set k 0 0 1\r\nx") == b"STORED\r\n"
            cluster["c"].kill()
            for node in cluster.others("c"):
                assert ask(node.port, b"set k 0 0 1\r\ny") == b"STORED\r\n"
            cluster["c"].start()
            cluster.wait_led()
            assert ask(cluster["c"].port, b"set k 0 0 1\r\nx") == b"STORED\r\n"
