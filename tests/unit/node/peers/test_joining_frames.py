"""What a new node and a member say to each other in a join: there and back, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from quorumcache.node.errors import HandshakeRefused, PeerFrameError
from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    FrameDecoder,
    Refusal,
    encode_frame,
    encode_refusal,
    pack_item,
)
from quorumcache.node.peers.joining_frames import (
    NEVER_MS,
    Joined,
    JoinedAnswer,
    JoinQuestion,
    JoinRequest,
    MemberNonce,
    Reached,
    ReachQuestion,
    Unreached,
    decode_join_answer,
    decode_newcomer,
    encode_join,
    encode_join_question,
    encode_joined,
    encode_nonce,
    encode_reach,
    encode_reached,
    encode_unreached,
    join_body,
    joined_body,
)
from tests.support.founding import disk_id, record_of
from tests.support.joining import RECORD, newcomer, newest_map

NONCE, PROOF = b"n" * 16, b"p" * 32
BODY = join_body(newcomer(), {"shards": "4"})


def payload(frame: bytes) -> bytes:
    [only] = FrameDecoder().feed(frame)
    return only


def test_questions_there_and_back() -> None:
    assert decode_newcomer(payload(encode_join_question(NONCE))) == JoinQuestion(NONCE)
    assert decode_newcomer(payload(encode_reach())) == ReachQuestion()
    asked = decode_newcomer(payload(encode_join(BODY, PROOF)))
    assert asked == JoinRequest(newcomer(), (("shards", "4"),), BODY, PROOF)
    assert decode_newcomer(pack_item(("hello", 3))) is None
    assert decode_newcomer(pack_item(())) is None


def test_answers_there_and_back() -> None:
    nonce = MemberNonce(NONCE, RECORD.cluster_id, "a")
    assert decode_join_answer(payload(encode_nonce(nonce))) == nonce
    reached = Reached("d", disk_id(9))
    assert decode_join_answer(payload(encode_reached(reached))) == reached
    unreached = Unreached("node d is not reachable at d:1 from node a: no answer")
    assert decode_join_answer(payload(encode_unreached(unreached))) == unreached
    joined = Joined(RECORD, 2, newest_map())
    body = joined_body(joined)
    answer = decode_join_answer(payload(encode_joined(body, PROOF)))
    assert answer == JoinedAnswer(joined, body, PROOF)
    assert decode_join_answer(payload(encode_refusal("no", NEVER_MS))) == Refusal("no", NEVER_MS)


V = PROTOCOL_VERSION


@pytest.mark.parametrize(
    "fields",
    [
        ("join?", V),
        ("join?", V, b"short"),
        ("join?", V, "n" * 16),
        ("join", V, BODY),
        ("join", V, BODY, "proof"),
        ("join", V, BODY, b"p" * 65),
        ("join", V, b"\xc1", PROOF),
        ("join", V, msgpack.packb(("d",)), PROOF),
        ("join", V, msgpack.packb((*"dddddddd",)), PROOF),
        ("join", V, join_body(newcomer(), {"x": "\n"}), PROOF),
        ("reach", V, 1),
    ],
)
def test_malformed_questions_are_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        decode_newcomer(msgpack.packb(fields))


@pytest.mark.parametrize(
    "fields",
    [
        ("nonce", V, NONCE, "x", "a"),
        ("nonce", V, NONCE, disk_id(1), 5),
        ("nonce", V, b"", disk_id(1), "a"),
        ("reached", V, "d", "x"),
        ("reached", V, "\n", disk_id(1)),
        ("unreached", V),
        ("unreached", V, b"why"),
        ("unreached", V, "why\n"),
        ("joined", V, b"\x90", PROOF),
        ("joined", V, msgpack.packb(("{}", 1, b"")), PROOF),
        ("joined", V, msgpack.packb((RECORD.to_text(), 1, b"")), PROOF),
        ("blank", V),
    ],
)
def test_malformed_answers_are_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        decode_join_answer(msgpack.packb(fields))


def test_the_map_of_another_cluster_than_the_records_is_refused() -> None:
    other = replace(newest_map(), cluster_id=record_of("a", seed=7).cluster_id)
    body = joined_body(Joined(RECORD, 1, other))
    with pytest.raises(PeerFrameError, match="the record of another cluster"):
        decode_join_answer(payload(encode_joined(body, PROOF)))


@pytest.mark.parametrize("word", ["join?", "join", "reach"])
def test_another_protocol_is_named_whatever_follows(word: str) -> None:
    with pytest.raises(HandshakeRefused, match="peer protocol 99"):
        decode_newcomer(payload(encode_frame(msgpack.packb((word, 99, {})))))
