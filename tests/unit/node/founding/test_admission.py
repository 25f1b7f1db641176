"""What a member answers a new node, beside what the join itself shows (`test_joining`)."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.node.errors import HandshakeRefused, PeerFrameError
from quorumcache.node.founding.admission import JOINS_MAX, Verdict
from quorumcache.node.peers.codec import FrameDecoder, Refusal, pack_item
from quorumcache.node.peers.joining_frames import (
    JOIN_PROOF,
    NEVER_MS,
    MemberNonce,
    Reached,
    decode_join_answer,
    encode_join,
    encode_join_question,
    encode_reach,
    join_body,
)
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.joining import RECORD, SECRET, MemberEnd, joining_phase, listening, newcomer

NONCE = b"n" * 16


class Asker:
    def __init__(self) -> None:
        self.nonces: tuple[bytes, bytes] | None = None
        self.answers: list[Any] = []
        self.is_over = False

    def answer(self, frame: bytes, *, is_last: bool = True) -> None:
        [payload] = FrameDecoder().feed(frame)
        self.answers.append(decode_join_answer(payload))
        self.is_over = is_last

    def wait_longer(self) -> None:
        """It does."""


def payload(frame: bytes) -> bytes:
    [only] = FrameDecoder().feed(frame)
    return only


def member_end() -> tuple[VirtualLoop, MemberEnd]:
    loop = VirtualLoop()
    Network(loop, Random(1))
    return loop, MemberEnd(loop)


def request(member: MemberEnd, asker: Asker, name: str = "d", number: int = 9) -> None:
    member.admission.question(asker, payload(encode_join_question(NONCE)))
    nonce = asker.answers[-1]
    assert isinstance(nonce, MemberNonce)
    assert not asker.is_over
    body = join_body(newcomer(name, number), {})
    parts = (NONCE, nonce.nonce, nonce.cluster_id.encode(), body)
    proven = encode_join(body, SECRET.proof(JOIN_PROOF, *parts))
    assert member.admission.question(asker, payload(proven))


def test_a_member_says_who_answers_at_its_address() -> None:
    loop, member = member_end()
    asker = Asker()
    assert member.admission.question(asker, payload(encode_reach()))
    assert asker.answers == [Reached("a", member.own.disk_id)]
    assert asker.is_over
    assert not member.admission.question(asker, pack_item(("hello", 3)))
    loop.close()


def test_each_nonce_is_good_for_one_request() -> None:
    """What was recorded cannot be sent again, on this connection or another."""
    loop, member = member_end()
    body = join_body(newcomer(), {})
    first, second = Asker(), Asker()
    for asker in (first, second):
        member.admission.question(asker, payload(encode_join_question(NONCE)))
    assert first.answers[0].nonce != second.answers[0].nonce
    parts = (NONCE, first.answers[0].nonce, RECORD.cluster_id.encode(), body)
    proven = payload(encode_join(body, SECRET.proof(JOIN_PROOF, *parts)))
    member.admission.question(second, proven)
    assert "does not know the secret" in second.answers[-1].sentence
    assert second.answers[-1].retry_ms == NEVER_MS
    member.admission.question(second, proven)
    assert "asked out of turn" in second.answers[-1].sentence
    assert not member.asked
    loop.close()


def test_requests_under_way_are_bounded() -> None:
    loop, member = member_end()
    askers = [Asker() for _ in range(JOINS_MAX + 1)]
    for number, asker in enumerate(askers):
        request(member, asker, f"n{number}", 100 + number)
    last = askers[-1].answers[-1]
    assert isinstance(last, Refusal)
    assert last.retry_ms > NEVER_MS
    assert f"{JOINS_MAX} other nodes are joining" in last.sentence
    assert not any(asker.is_over for asker in askers[:-1])
    loop.run_until_complete(asyncio.sleep(10))  # None of them can be reached.
    assert all(asker.is_over for asker in askers)
    again = Asker()
    request(member, again, "n0", 100)
    assert not again.is_over, "there is room again"
    loop.run_until_complete(asyncio.sleep(10))
    loop.close()


@pytest.mark.parametrize("data", [b"no map", b""])
def test_a_directory_that_answers_without_the_node_lets_it_ask_again(data: bytes) -> None:
    loop, member = member_end()
    asker = Asker()
    member.verdict = Verdict(data)

    async def story() -> None:
        await listening(joining_phase(loop), loop)
        request(member, asker)
        await asyncio.sleep(1)

    loop.run_until_complete(story())
    assert "does not name it" in asker.answers[-1].sentence
    assert asker.answers[-1].retry_ms > NEVER_MS
    loop.close()


def test_what_is_malformed_ends_the_connection() -> None:
    loop, member = member_end()
    with pytest.raises(PeerFrameError):
        member.admission.question(Asker(), pack_item(("join?", 3)))
    with pytest.raises(HandshakeRefused):
        member.admission.question(Asker(), pack_item(("join?", 99, NONCE)))
    loop.close()
