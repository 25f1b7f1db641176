"""Goal: a new node joins as soon as a member can take it in, waits for what changes by itself, and
ends with one clear line where waiting would not help.

Method: scripted members on a virtual network, each with a real `Admission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from quorumcache.node.errors import JoinRefused, PeerError
from quorumcache.node.founding.admission import Verdict
from quorumcache.node.founding.joining import UNREACHED_SECONDS, member_at
from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    FrameDecoder,
    decode_hello,
    encode_frame,
    encode_refusal,
    pack_item,
)
from quorumcache.node.peers.joining_frames import Joined, Reached, decode_join_answer, encode_reach
from quorumcache.ring.address import parse_address
from quorumcache.ring.names import Names
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.founding import disk_id
from tests.support.joining import (
    RECORD,
    MemberEnd,
    joining_phase,
    listening,
    newcomer,
)

SECONDS = 300.0


def play(story: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    loop = VirtualLoop()
    Network(loop, Random(1))

    async def timed() -> None:
        async with asyncio.timeout(SECONDS):
            await story(loop)

    loop.run_until_complete(timed())
    loop.close()


class Speaker(asyncio.Protocol):
    """Something that is no member: it says `words` to whatever comes, and hangs up if there are
    none; None: it says nothing at all."""

    def __init__(self, words: bytes | None) -> None:
        self._words = words
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._words:
            self._transport.write(self._words)
        elif self._words is not None:
            self._transport.close()


class Memcached(Speaker):
    """It takes the frame for the beginning of a line, and waits for the end of that."""

    def __init__(self) -> None:
        super().__init__(b"")

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n"):
            self._transport.write(b"VERSION 1.6.45\r\n")


async def speaks(loop: VirtualLoop, host: str, words: bytes | None) -> None:
    await loop.create_server(lambda: Speaker(words), host, 1)


def test_a_member_takes_a_new_node_in() -> None:
    async def story(loop: VirtualLoop) -> None:
        member, phase = MemberEnd(loop), joining_phase(loop)
        await member.listen()
        await listening(phase, loop)
        joined = await phase.run()
        assert joined == Joined(RECORD, 3, member.map)  # type: ignore[arg-type]
        assert member.asked == [newcomer()]
        assert member.waits_longer == 1
        # It died before it stored that. The next process of the same directory asks again.
        assert await phase.run() == joined
        phase.close()

    play(story)


def test_seeds_are_asked_in_turn_until_one_is_a_member() -> None:
    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        await speaks(loop, "service", b"SSH-2.0-x\r\n")
        phase = joining_phase(loop, "nobody:1", "service:1", "b:1", waits=waits)
        await listening(phase, loop)
        run = loop.create_task(phase.run())
        await asyncio.sleep(5)
        assert "cannot connect to nobody:1" in waits[0]
        assert "cannot connect to b:1" in waits[0]
        assert "service:1 is not the peer address of a member" in waits[0]
        await asyncio.sleep(60)
        assert not run.done(), "nobody at the seeds is waited for"
        await MemberEnd(loop, "b").listen()
        assert (await run).node_id == 3
        phase.close()

    play(story)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (b"ERROR\r\n", "what answers there is no node of QuorumCache"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no node of QuorumCache"),
        (encode_frame(pack_item(("hello", PROTOCOL_VERSION))), "is not the peer address"),
        (encode_frame(pack_item(("nonce", 99))), "peer protocol 99"),
    ],
)
def test_what_is_no_member_ends_the_join_when_there_is_no_other_seed(
    words: bytes, told: str
) -> None:
    async def story(loop: VirtualLoop) -> None:
        await speaks(loop, "a", words)
        phase = joining_phase(loop)
        with pytest.raises(JoinRefused, match=told) as refused:
            await phase.run()
        assert "a:1" in str(refused.value)
        phase.close()

    play(story)


def test_a_node_does_not_wait_for_itself() -> None:
    async def story(loop: VirtualLoop) -> None:
        own = joining_phase(loop)._own.peer_address
        phase = joining_phase(loop, own)
        await loop.create_server(phase.accept, *parse_address(own))
        with pytest.raises(JoinRefused, match=f"{own} is this node itself: give a member's"):
            await phase.run()
        phase.close()

    play(story)


def test_a_port_for_clients_is_named_as_such() -> None:
    async def story(loop: VirtualLoop) -> None:
        await loop.create_server(Memcached, "a", 1)
        phase = joining_phase(loop)
        with pytest.raises(JoinRefused, match="a:1 is an address for memcached clients: give the"):
            await phase.run()
        phase.close()

    play(story)


@pytest.mark.parametrize("words", [None, b""])
def test_a_seed_that_says_nothing_is_waited_for(words: bytes | None) -> None:
    """It may be a member that starts, or one of an earlier version that is being replaced."""

    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        await speaks(loop, "a", words)
        phase = joining_phase(loop, waits=waits)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await phase.run()
        assert waits
        assert "a:1" in waits[-1]
        phase.close()

    play(story)


def refused(told: str, change: Callable[[MemberEnd], None], **options: Any) -> None:
    """A member that was changed so refuses a new node for good, and nothing was changed."""

    async def story(loop: VirtualLoop) -> None:
        member, phase = MemberEnd(loop), joining_phase(loop, **options)
        change(member)
        before = member.map
        await member.listen()
        await listening(phase, loop)
        with pytest.raises(JoinRefused, match=told) as caught:
            await phase.run()
        assert str(caught.value).startswith("cannot join the cluster: a:1: ")
        assert "\n" not in str(caught.value)
        assert member.map == before
        phase.close()

    play(story)


def waited(
    told: str, change: Callable[[MemberEnd], None], undo: Callable[[MemberEnd], None]
) -> None:
    """A member that was changed so lets a new node wait; once that is undone, it takes it in."""

    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        member, phase = MemberEnd(loop), joining_phase(loop, waits=waits)
        change(member)
        await member.listen()
        await listening(phase, loop)
        run = loop.create_task(phase.run())
        await asyncio.sleep(10)
        assert not run.done()
        assert told in waits[-1]
        undo(member)
        assert (await run).node_id == 3
        phase.close()

    play(story)


def test_another_secret_is_refused() -> None:
    other = Secret("the secret of another cluster")
    refused("does not know the secret of cluster", lambda member: None, secret=other)


def test_a_member_that_does_not_prove_the_secret_is_not_believed() -> None:
    class Liar(Secret):
        def is_proof(self, context: str, given: bytes, *parts: bytes) -> bool:
            return True

    def lie(member: MemberEnd) -> None:
        member.secret = Liar("the secret of nobody at all")
        member.verdict = Verdict(member.with_node(newcomer()).to_bytes())

    refused("node a did not prove the secret", lie)


def test_what_the_directory_refuses_is_final() -> None:
    def refuse(member: MemberEnd) -> None:
        member.verdict = Verdict(b"", "the name d is taken", is_final=True)

    refused("the name d is taken", refuse)


def test_settings_of_another_cluster_are_refused() -> None:
    settings = {"heartbeat_ms": "50", "shards": "32"}
    refused("shards is 32 at node d, but 4 in cluster", lambda m: None, settings=settings)
    settings = {"heartbeat_ms": "70"}
    refused("heartbeat_ms is 70 at node d, but 50", lambda m: None, settings=settings)


def test_a_cluster_that_keeps_nothing_takes_nobody_in() -> None:
    refused("keeps nothing on disk", lambda member: member.settings.update(durability="memory"))


def test_a_member_that_tells_nobody_where_it_is_takes_nobody_in() -> None:
    async def story(loop: VirtualLoop) -> None:
        member, phase = MemberEnd(loop), joining_phase(loop)
        await member.listen()
        member.own = replace(member.own, peer_address="0.0.0.0:1")
        with pytest.raises(JoinRefused, match="start it with --advertise-peer"):
            await phase.run()
        phase.close()

    play(story)


def test_no_leader_no_secret_no_map_and_old_members_are_waited_for() -> None:
    def unheard(member: MemberEnd) -> None:
        member.verdict = Verdict(b"", "the directory has no leader")

    def heard(member: MemberEnd) -> None:
        member.verdict = None

    waited("the directory has no leader", unheard, heard)
    first: dict[str, Any] = {}

    def without(name: str) -> Callable[[MemberEnd], None]:
        def change(member: MemberEnd) -> None:
            first[name] = getattr(member, name)
            setattr(member, name, None)

        return change

    def back(name: str) -> Callable[[MemberEnd], None]:
        return lambda member: setattr(member, name, first[name])

    waited("does not know the secret of", without("secret"), back("secret"))
    waited("has no map yet", without("map"), back("map"))

    def old(member: MemberEnd) -> None:
        first["map"] = member.map
        member.map = RECORD.first_map()

    waited("not all nodes of cluster", old, back("map"))


def test_an_address_that_does_not_reach_the_new_node_is_refused() -> None:
    own = newcomer()

    async def story(loop: VirtualLoop) -> None:
        member = MemberEnd(loop)
        await member.listen()
        before = member.map
        for address, told in {
            "nowhere:1": r"d is not reachable at nowhere:1 from node a: .*--advertise-peer.*60 s",
            "a:1": "node a, another one, answers there",
        }.items():
            phase = joining_phase(loop, own=replace(own, peer_address=address))
            with pytest.raises(JoinRefused, match=told):
                await phase.run()
            phase.close()
        assert member.map == before
        assert not member.asked

    play(story)


def test_an_address_that_another_node_answers_at_is_refused_at_once() -> None:
    async def story(loop: VirtualLoop) -> None:
        member = MemberEnd(loop)
        await member.listen()
        phase = joining_phase(loop, own=replace(newcomer(), peer_address="a:1"))
        with pytest.raises(JoinRefused, match="another one, answers there"):
            async with asyncio.timeout(5):
                await phase.run()
        phase.close()

    play(story)


def test_an_address_that_comes_up_late_is_waited_for() -> None:
    """The port of a container, a firewall, a name: the node says what it waits for, and joins."""

    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        member, phase = MemberEnd(loop), joining_phase(loop, waits=waits)
        await member.listen()
        run = loop.create_task(phase.run())
        await asyncio.sleep(UNREACHED_SECONDS - 5)
        assert not run.done()
        assert not member.asked
        assert "d is not reachable at d:1 from node a" in waits[-1]
        assert len(waits) < UNREACHED_SECONDS, "at a sensible pace"
        assert len(set(waits)) < 3, "the same line each time, which is logged once"
        await listening(phase, loop)
        assert (await run).node_id == 3
        phase.close()

    play(story)


def test_the_time_for_an_address_counts_anew_after_the_members_had_other_reasons() -> None:
    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        member, phase = MemberEnd(loop), joining_phase(loop, waits=waits)
        await member.listen()
        run = loop.create_task(phase.run())
        await asyncio.sleep(UNREACHED_SECONDS - 5)
        known, member.map = member.map, None
        await asyncio.sleep(10)
        assert "has no map yet" in waits[-1]
        member.map = known
        await asyncio.sleep(UNREACHED_SECONDS - 10)
        assert not run.done()
        with pytest.raises(JoinRefused, match="is not reachable at d:1"):
            await run
        phase.close()

    play(story)


def test_who_dials_a_new_node_is_told_what_it_is() -> None:
    loop = VirtualLoop()
    phase = joining_phase(loop)

    def payload(frame: bytes) -> bytes:
        [only] = FrameDecoder().feed(frame)
        return only

    reached = decode_join_answer(payload(phase.answer(payload(encode_reach()))))
    assert reached == Reached("d", disk_id(9))
    sent_away = decode_hello(payload(phase.answer(pack_item(("hello", PROTOCOL_VERSION)))))
    assert "waits to join" in sent_away.sentence  # type: ignore[union-attr]
    assert sent_away.retry_ms  # type: ignore[union-attr]
    other = decode_hello(payload(phase.answer(pack_item(("reach", 99)))))
    assert "peer protocol 99" in other.sentence  # type: ignore[union-attr]
    with pytest.raises(PeerError):
        phase.answer(b"\xc1")
    loop.close()


def test_a_refusal_with_a_pause_is_waited_for() -> None:
    async def story(loop: VirtualLoop) -> None:
        waits: list[str] = []
        await speaks(loop, "a", encode_refusal("node a is new: it waits for its founding", 200))
        phase = joining_phase(loop, waits=waits)
        run = loop.create_task(phase.run())
        await asyncio.sleep(5)
        assert not run.done()
        assert "it waits for its founding" in waits[-1]
        run.cancel()
        phase.close()

    play(story)


def test_the_member_behind_a_seed() -> None:
    async def story(loop: VirtualLoop) -> None:
        await MemberEnd(loop).listen()
        await speaks(loop, "service", b"SSH-2.0-x\r\n")
        names = Names(loop)
        found = await member_at(loop, Random(1), names, "a:1")
        assert found is not None
        assert (found.cluster_id, found.name) == (RECORD.cluster_id, "a")
        assert await member_at(loop, Random(1), names, "service:1") is None
        assert await member_at(loop, Random(1), names, "nobody:1") is None

    play(story)
