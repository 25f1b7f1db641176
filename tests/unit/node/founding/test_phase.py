"""What the founders say to each other: records and frames, and which record a new node accepts."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import msgpack
import pytest

from quorumcache.node.errors import FoundingError, HandshakeRefused, PeerError, PeerFrameError
from quorumcache.node.founding.phase import FoundingPhase, why_unfit
from quorumcache.node.peers.codec import PROTOCOL_VERSION, FrameDecoder, encode_refusal
from quorumcache.node.peers.founding_frames import (
    Blank,
    Found,
    decode_answer,
    decode_question,
    encode_blank,
    encode_found,
    why_unequal,
)
from quorumcache.node.storage.founding_record import FoundingRecord, propose
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.founding import disk_id, founder, record_of

MEMBERS = {name: f"{name}:7400" for name in "abc"}
FIXED = dict(record_of("a").settings)
RECORD = record_of("a", "b", "c")
B = Blank(founder("b", 2), tuple(FIXED.items()))


def payload(frame: bytes) -> bytes:
    [only] = FrameDecoder().feed(frame)
    return only


def test_a_record_and_back() -> None:
    assert FoundingRecord.from_text(RECORD.to_text()) == RECORD
    assert "\n" not in RECORD.to_text()
    assert RECORD.directory_voters == (1, 2, 3)
    assert record_of(*"abcdefg").directory_voters == (1, 2, 3, 4, 5)
    first = RECORD.first_map()
    assert (first.epoch, first.cluster_id, first.nodes) == (1, RECORD.cluster_id, RECORD.founders)
    assert first.settings == RECORD.settings
    assert first.founding_sets == first.replica_sets


def test_two_foundings_of_the_same_nodes_are_two_clusters() -> None:
    assert record_of("a", "b", seed=1).cluster_id != record_of("a", "b", seed=2).cluster_id


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: replace(r, cluster_id="x"), "cluster id"),
        (lambda r: replace(r, founders=()), "0 founders"),
        (lambda r: replace(r, founders=r.founders[::-1]), "has the node id"),
        (lambda r: replace(r, founders=(replace(r.founders[0], disk_id=""),)), "has the disk id"),
        (lambda r: replace(r, directory_voters=(9,)), "directory voters"),
        (lambda r: replace(r, directory_voters=(1, 1)), "directory voters"),
        (lambda r: replace(r, directory_voters=()), "directory voters"),
        (lambda r: replace(r, settings=()), "makes no cluster"),
        (lambda r: replace(r, settings=(("shards", 4),)), "pairs of text"),
    ],
)
def test_a_malformed_record_is_refused(change: Any, told: str) -> None:
    with pytest.raises(FoundingError, match=told):
        change(RECORD)


@pytest.mark.parametrize("text", ["", "{}", "[]", "1", "{" * 5000, '{"cluster_id": 1}'])
def test_text_that_is_no_record(text: str) -> None:
    with pytest.raises(FoundingError):
        FoundingRecord.from_text(text)


def test_two_founders_with_one_address_make_no_cluster() -> None:
    twins = [founder("a", 1, client="h:1"), founder("b", 2, client="h:1")]
    with pytest.raises(FoundingError, match="share the client_address"):
        propose(Random(1), twins, FIXED)


def test_questions_and_answers_and_back() -> None:
    asked = decode_question(payload(encode_blank(B)))
    assert asked is not None
    assert (replace(asked.info, node_id=2), asked.settings) == (B.info, B.settings)
    assert decode_answer(payload(encode_found(RECORD))) == Found(RECORD)
    assert decode_question(payload(encode_refusal("no", 1))) is None


@pytest.mark.parametrize(
    "fields",
    [
        ("blank", PROTOCOL_VERSION, "b"),
        ("blank", PROTOCOL_VERSION, "b", "x", "h:1", "h:2", "", "", 1.0, ()),
        ("blank", PROTOCOL_VERSION, "b", disk_id(1), "h", "h:2", "", "", 1.0, ()),
        ("blank", PROTOCOL_VERSION, "b", disk_id(1), "h:1", "h:2", "", "", 1.0, 5),
        ("blank", PROTOCOL_VERSION, "b", disk_id(1), "h:1", "h:2", "", "", 1.0, (("a", 1),)),
        ("found", PROTOCOL_VERSION, "{}"),
        ("found", PROTOCOL_VERSION, 5),
        ("found", PROTOCOL_VERSION),
    ],
)
def test_malformed_frames_are_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        decode_answer(msgpack.packb(fields))


def test_another_protocol_is_named_whatever_follows() -> None:
    for word in ("blank", "found"):
        with pytest.raises(HandshakeRefused, match="peer protocol 99"):
            decode_answer(msgpack.packb((word, 99, {})))


def test_only_a_record_that_names_this_disk_and_these_founders_fits() -> None:
    assert why_unfit(RECORD, B, MEMBERS, FIXED) == ""
    other = replace(B.info, disk_id=disk_id(9))
    assert "does not name this disk" in why_unfit(RECORD, B._replace(info=other), MEMBERS, FIXED)
    assert "does not name this disk" in why_unfit(record_of("a"), B, MEMBERS, FIXED)
    assert "is a, b" in why_unfit(RECORD, B, {"a": "", "b": ""}, FIXED)
    assert "shards is 8" in why_unfit(RECORD, B, MEMBERS, FIXED | {"shards": "8"})
    assert "shards is 4 at node b and 8 at node c" in why_unequal(
        B, Blank(founder("c", 3), tuple((FIXED | {"shards": "8"}).items()))
    )


def phase(
    name: str, number: int, waits: list[str], loop: VirtualLoop, **options: Any
) -> FoundingPhase:
    return FoundingPhase(
        loop=loop,
        random=Random(number),
        own=Blank(founder(name, number), tuple(FIXED.items())),
        fixed_settings=FIXED,
        members=MEMBERS,
        on_waiting=waits.append,
        **options,
    )


def test_a_new_node_does_not_accept_a_record_without_it() -> None:
    """It waits, and says why, until a member shows one that fits."""
    loop = VirtualLoop()
    Network(loop, Random(1))
    waits: list[str] = []
    new = phase("b", 2, waits, loop)
    records = [record_of("a"), record_of("a", "b"), RECORD]

    async def ask(name: str) -> Any:
        return Found(records[0] if len(waits) == 0 else records[min(len(waits), 2)])

    new._ask = ask  # type: ignore[method-assign]
    assert loop.run_until_complete(new.run()) == Found(RECORD)
    assert [wait[:20] for wait in waits] == ["the founding record ", "the founding record "]
    loop.close()


MADE, GIVEN = Secret("made by the proposer"), Secret("given by the operator")


@pytest.mark.parametrize(
    ("name", "options", "shown", "secret"),
    [
        ("a", {"new_secret": lambda: MADE}, None, MADE),
        ("a", {"new_secret": lambda: MADE, "given_secret": GIVEN}, None, GIVEN),
        ("a", {}, None, None),
        ("b", {"new_secret": lambda: GIVEN}, MADE, MADE),
        ("b", {"new_secret": lambda: MADE}, None, None),
        ("b", {"given_secret": GIVEN}, None, GIVEN),
    ],
)
def test_the_secret_is_the_given_one_or_what_the_proposer_made(
    name: str, options: dict[str, Any], shown: Secret | None, secret: Secret | None
) -> None:
    loop = VirtualLoop()
    Network(loop, Random(1))
    new = phase(name, " ab".index(name), [], loop, **options)

    async def ask(asked: str) -> Any:
        if name != "a" and asked == "a":
            return Found(RECORD, shown)
        return Blank(founder(asked, " abc".index(asked)), tuple(FIXED.items()))

    new._ask = ask  # type: ignore[method-assign]
    assert loop.run_until_complete(new.run()).secret == secret
    loop.close()


def test_what_several_founders_answer_is_told_once() -> None:
    """Else the sentence is cut off before it has named all that wait."""
    loop = VirtualLoop()
    new = phase("b", 2, [], loop)
    assert new._waiting({"a": "no", "c": "no", "d": "yes"}) == (
        "waits for all founders; a, c: no; d: yes"
    )
    loop.close()


def test_a_new_node_answers_new_nodes_and_sends_members_away() -> None:
    loop = VirtualLoop()
    new = phase("b", 2, [], loop)
    assert new.answer(payload(encode_blank(B))) == encode_blank(B)
    refusal = decode_answer(payload(new.answer(msgpack.packb(("hello", PROTOCOL_VERSION)))))
    assert "belongs to no cluster yet" in refusal.sentence  # type: ignore[union-attr]
    with pytest.raises(PeerError):
        new.answer(b"\xc1")
    loop.close()
