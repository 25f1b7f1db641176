"""Meta commands over a cluster: every node answers alike, whichever of them leads the shard."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from quorumcache.ring import key_token
from tests.simulation.client import LOST
from tests.simulation.stage import Stage
from tests.simulation.town import ANSWER_SECONDS, Town

NODES = ("a", "b", "c")
FENCE = b"MN\r\n"
SHARD = (key_token(b"new") >> 63) & 1
"""Of two, the one of the key `new`."""

# What is sent to one node after the other, and what each answers. From memcached 1.6.18, where its
# answers are those of 1.6.45. `@` is the round, `#` its number.
DIALOGUE: tuple[tuple[bytes, bytes], ...] = (
    (b"mg @k v", b"EN\r\n"),
    (b"mg @k k Oq1", b"EN k@k Oq1\r\n"),
    (b"mg @k q", b""),
    (b"mg @new t N30 v", b"VA 0 t-1 W\r\n\r\n"),
    (b"mg @new t v N30", b"VA 0 t30 Z\r\n\r\n"),
    (b"mg @new2 N30 t T100", b"HD t30 W\r\n"),
    (b"mg @new2 t", b"HD t100 Z\r\n"),
    (b"mg @new3 T100 t N30", b"HD t100 W\r\n"),
    (b"mg @new3 t", b"HD t30 Z\r\n"),
    (b"ms @k 1 F5\r\na", b"HD\r\n"),
    (b"ms @k 1 MA s\r\nb", b"HD s2\r\n"),
    (b"ms @k 1 MP Ox k s\r\nc", b"HD Ox k@k s3\r\n"),
    (b"mg @k f s v", b"VA 3 f5 s3\r\ncab\r\n"),
    (b"ms @k 1 ME c\r\nb", b"NS c0\r\n"),
    (b"ms @nok 1 MR s k Oq q c\r\nb", b"NS s1 k@nok Oq c0\r\n"),
    (b"ms @k 1 q\r\nd", b""),
    (b"mg @k f t s v", b"VA 1 f0 t-1 s1\r\nd\r\n"),
    (b"ms @k 1 C99999 c\r\nb", b"EX c0\r\n"),
    (b"md @k C99999", b"EX\r\n"),
    (b"md @k q", b""),
    (b"md @k q k", b"NF k@k\r\n"),
    (b"ms @s 1 T100\r\na", b"HD\r\n"),
    (b"md @s I T30", b"HD\r\n"),
    (b"get @s", b"VALUE @s 0 1\r\na\r\nEND\r\n"),
    (b"mg @s v t", b"VA 1 t30 X W\r\na\r\n"),
    (b"mg @s v t", b"VA 1 t30 Z X\r\na\r\n"),
    (b"get @s", b"VALUE @s 0 1\r\na\r\nEND\r\n"),
    (b"ms @s 1 C1 I T5\r\nb", b"HD\r\n"),
    (b"mg @s v t", b"VA 1 t30 Z X\r\nb\r\n"),
    (b"ms @s 1\r\nc", b"HD\r\n"),
    (b"mg @s v t", b"VA 1 t-1\r\nc\r\n"),
    (b"md @s x F7", b"HD\r\n"),
    (b"mg @s v f t", b"VA 0 f7 t-1\r\n\r\n"),
    (b"ma @c", b"NF\r\n"),
    (b"ma @c N30 t J5 v", b"VA 1 t30\r\n5\r\n"),
    (b"ma @c t T90 v D10", b"VA 2 t30\r\n15\r\n"),
    (b"ma @c T80 t v MD D6", b"VA 1 t80\r\n9\r\n"),
    (b"mg @c v s", b"VA 2 s2\r\n9 \r\n"),
    (b"ma @c q", b""),
    (b"ma @c q v", b""),
    (b"ma @c C99999 v", b"EX\r\n"),
    (b"ms @c 0\r\n", b"HD\r\n"),
    (b"ma @c", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    (b"ms @e 1 E#000 c\r\na", b"HD c#000\r\n"),
    (b"mg @e c v C#000", b"HD c#000\r\n"),
    (b"mg @e c v C#001", b"VA 1 c#000\r\na\r\n"),
    (b"ms @e 1 c C#000\r\nb", b"HD c#001\r\n"),
    (b"ms @e 1 MA N30 E77 c s\r\nb", b"HD c77 s2\r\n"),
    (b"ms @f 3 MA N30 s F3\r\nabc", b"HD s3\r\n"),
    (b"mg @f s f t", b"HD s3 f3 t30\r\n"),
    (b"mg @f R30 t", b"HD t30\r\n"),
    (b"mg @f R31 t v", b"VA 3 t30 W\r\nabc\r\n"),
    (b"mg @f R31 t", b"HD t30 Z\r\n"),
    (b"mg @f T-1 v", b"VA 3 Z\r\nabc\r\n"),
    (b"mg @f", b"EN\r\n"),
    (b"ms bnVsADE= 1 b\r\na", b"HD\r\n"),
    (b"mg bnVsADE= b k v", b"VA 1 kbnVsADE= b\r\na\r\n"),
    (b"get nul\x001", b"VALUE nul\x001 0 1\r\na\r\nEND\r\n"),
)


async def _ask(town: Town, name: str, requests: list[bytes]) -> list[bytes]:
    """Each request's reply. They are sent together, with a fence behind each."""
    reader, writer = await asyncio.open_connection(*town.nodes[name].address)
    replies = []
    try:
        writer.write(b"".join([request + b"\r\nmn\r\n" for request in requests]))
        async with asyncio.timeout(ANSWER_SECONDS):
            for _ in requests:
                reply = b""
                while not reply.endswith(FENCE):
                    reply += await reader.readline()
                replies.append(reply[: -len(FENCE)])
    finally:
        writer.close()
    return replies


def _play(*, pipelined: bool, seed: int) -> None:
    town = Town(NODES, seed=seed)

    async def story() -> None:
        town.start()
        await town.put_all(NODES, {f"k{number}": "x" for number in range(8)})
        await asyncio.sleep(2)
        for round_, name in enumerate(NODES):
            dialogue = [
                (_of_round(request, round_), _of_round(reply, round_))
                for request, reply in DIALOGUE
            ]
            if pipelined:
                replies = await town.client.spawn(_ask(town, name, [r for r, _ in dialogue]))
                for (request, expected), reply in zip(dialogue, replies, strict=True):
                    assert reply == expected, request
                continue
            for number, (request, expected) in enumerate(dialogue):
                node = NODES[(round_ + number) % len(NODES)]
                (reply,) = await town.client.spawn(_ask(town, node, [request]))
                assert reply == expected, (node, request)

    town.run(story())


def _of_round(line: bytes, round_: int) -> bytes:
    """With other keys in each round, and other uniques."""
    return line.replace(b"@", b"%d-" % round_).replace(b"#", b"%d" % (round_ + 1))


def test_one_request_after_the_other_through_different_nodes() -> None:
    _play(pipelined=False, seed=1)


def test_all_requests_at_once_through_each_node() -> None:
    _play(pipelined=True, seed=2)


def test_a_repeated_mg_hears_that_it_has_won_and_no_other_client_does() -> None:
    town = Town(NODES, seed=3)

    async def story() -> None:
        town.start()
        await town.put_all(NODES, {"k": "x"})
        await asyncio.sleep(2)
        (opened,) = await town.client.spawn(_ask(town, "a", [b"cluster session open %d" % SHARD]))
        session = int(opened.split()[2])
        once = b"cluster once %d 1 1\r\n" % session
        for name in (*NODES, *NODES):
            reply = await town.client.spawn(_ask(town, name, [once + b"mg new N30 v"]))
            assert reply == [b"VA 0 W\r\n\r\n"], name
            reply = await town.client.spawn(_ask(town, name, [b"mg new N30 v"]))
            assert reply == [b"VA 0 Z\r\n\r\n"], name
        for name in NODES:
            (reply,) = await town.client.spawn(_ask(town, name, [once + b"ms new 3 c\r\nabc"]))
            assert reply == b"HD\r\n", "the identity is spent: it hears that all is done"
            (reply,) = await town.client.spawn(_ask(town, name, [b"mg new v"]))
            assert reply == b"VA 0 Z\r\n\r\n"

    town.run(story())


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("level", [b"linearizable", b"bounded 5000", b"local"])
def test_one_winner_while_the_leader_dies(seed: int, level: bytes) -> None:
    """Many clients of all nodes ask for a stale item, at each read level, and its leader is killed
    among them. Those that are told of no outcome may have won; of the others one has, at most.
    """
    town = Town(NODES, seed=seed, shards=1)
    replies: list[bytes] = []

    async def ask(name: str, seconds: float, level: bytes) -> None:
        await asyncio.sleep(seconds)
        try:
            lines = [b"cluster read " + level, b"mg k v"]
            _, reply = await _ask(town, name, lines)
        except LOST:
            return
        replies.append(reply)

    async def story() -> None:
        town.start()
        await town.put_all(NODES, {"k": "x"})
        await asyncio.sleep(2)
        assert await town.client.spawn(_ask(town, "a", [b"md k I"])) == [b"HD\r\n"]
        await asyncio.sleep(0.2)
        nodes = {name: town.nodes[name].node for name in NODES}
        (leader,) = [name for name, node in nodes.items() if node and node.host.groups[1].is_leader]
        clients = [
            town.client.spawn(ask(name, town.random.random() * 0.02, level))
            for name in NODES
            for _ in range(20)
        ]
        await asyncio.sleep(town.random.random() * 0.02)
        town.kill([leader])
        await asyncio.gather(*clients)
        others = [name for name in NODES if name != leader]
        for name in others:
            await town.client.spawn(ask(name, 0, b"linearizable"))

    town.run(story())
    won = sum(reply.startswith(b"VA 1 X W\r\n") for reply in replies)
    lost = sum(reply.startswith(b"VA 1 Z X\r\n") for reply in replies)
    assert won <= 1
    assert lost >= 2, "the last ones certainly"


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_new_cluster_answers_no_command_with_an_error(nodes: int) -> None:
    """Each node is asked from the moment on at which it listens: before there is a map."""
    without_map: list[str] = []

    async def first_words(stage: Stage, name: str) -> None:
        wire = None
        while wire is None:
            with contextlib.suppress(OSError):
                wire = await stage.connect(name)
            await asyncio.sleep(0.001)
        if stage.node(name).map is None:
            without_map.append(name)
        for shard in range(stage.shards):
            key = b"%b-%b" % (stage.key(shard), name.encode())
            for request, reply in (
                (b"mg %b N5 s", b"HD s0 W\r\n"),
                (b"ms %b 1\r\na", b"HD\r\n"),
                (b"md %b", b"HD\r\n"),
                (b"ma %b N0 J7", b"HD\r\n"),
            ):
                assert await wire.ask(request % key + b"\r\n") == reply

    async def scenario(stage: Stage) -> None:
        await asyncio.gather(*(first_words(stage, name) for name in stage.nodes))
        assert all(node.map is not None and node.map.form == 2 for node in stage.up())

    Stage(nodes=nodes, request_timeout_ms=5000).run(scenario, all_well=False)
    assert len(without_map) == nodes
