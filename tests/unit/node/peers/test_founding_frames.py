"""Goal: a new node's question and its answers come back whole; what is malformed is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import HandshakeRefused, PeerFrameError
from quorumcache.node.peers.codec import (
    HEADER,
    PROTOCOL_VERSION,
    Refusal,
    encode_hello,
    encode_refusal,
)
from quorumcache.node.peers.founding_frames import (
    ANSWER_BYTES_MAX,
    BLANK,
    FOUND,
    SETTING_CHARS_MAX,
    SETTINGS_MAX,
    Blank,
    Found,
    decode_answer,
    decode_question,
    encode_blank,
    encode_found,
    why_unequal,
)
from quorumcache.node.peers.founding_secret import with_secret
from quorumcache.node.storage.founding_record import RECORD_BYTES_MAX
from quorumcache.ring.secret import SECRET_CHARS_MAX, Secret
from tests.support.founding import founder, record_of
from tests.unit.node.peers.test_codec import HELLO, values

OWN = Blank(founder("a", 1), (("shards", "64"), ("zone", "")))


def payload_of(frame: bytes) -> bytes:
    return frame[HEADER.size :]


def test_a_question_is_an_answer_too_and_comes_back_whole() -> None:
    payload = payload_of(encode_blank(OWN))
    assert decode_question(payload) == OWN
    assert decode_answer(payload) == OWN


def test_a_record_comes_back_whole_and_fits() -> None:
    record = record_of("a", "b", "c")
    payload = payload_of(encode_found(record))
    assert len(payload) <= ANSWER_BYTES_MAX
    assert decode_answer(payload) == Found(record)
    assert decode_question(payload) is None


def test_a_secret_comes_with_the_record_and_is_not_shown() -> None:
    record, secret = record_of("a", "b"), Secret("made by the proposer")
    payload = payload_of(encode_found(record, secret))
    answer = decode_answer(payload)
    assert answer == Found(record, secret)
    assert secret.text not in repr(answer)
    longest = Secret("\N{SLIGHTLY SMILING FACE}" * SECRET_CHARS_MAX)
    room = ANSWER_BYTES_MAX - RECORD_BYTES_MAX
    assert len(payload_of(encode_found(record, longest))) - len(record.to_text()) <= room


@pytest.mark.parametrize("secret", ["short", "", 5, b"bytes that are no text", None])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: object) -> None:
    fields = (FOUND, PROTOCOL_VERSION, record_of("a").to_text(), secret)
    with pytest.raises(PeerFrameError) as caught:
        decode_answer(msgpack.packb(fields))
    assert "short" not in str(caught.value).replace("shorter", "")
    with pytest.raises(PeerFrameError, match="malformed"):
        decode_answer(msgpack.packb((*fields[:3], "a secret of some length", "more")))


def test_founders_with_different_secrets_are_unequal() -> None:
    def blank(name: str, secret: Secret | None) -> Blank:
        return Blank(founder(name, 1), with_secret(OWN.settings, secret))

    one, other = Secret("the secret of founder a"), Secret("the secret of founder b")
    assert why_unequal(blank("a", one), blank("b", one)) == ""
    assert why_unequal(blank("a", None), blank("b", None)) == ""
    assert "given different secrets" in why_unequal(blank("a", one), blank("b", other))
    assert "node b was not" in why_unequal(blank("a", one), blank("b", None))
    old = Blank(founder("b", 1), OWN.settings)
    assert why_unequal(blank("a", one), old) == "form is 2 at node a and unknown at node b"


def test_a_refusal_is_an_answer_and_a_hello_is_none() -> None:
    assert decode_answer(payload_of(encode_refusal("no", 5))) == Refusal("no", 5)
    hello = payload_of(encode_hello(HELLO))
    assert decode_question(hello) is None, "the first frame of a member"
    with pytest.raises(PeerFrameError, match="expected a founding record"):
        decode_answer(hello)


@pytest.mark.parametrize("kind", [BLANK, FOUND])
def test_another_version_is_named_whatever_follows(kind: str) -> None:
    payload = msgpack.packb((kind, PROTOCOL_VERSION + 1, {}))
    with pytest.raises(HandshakeRefused, match=f"peer protocol {PROTOCOL_VERSION + 1}"):
        decode_answer(payload)
    with pytest.raises(HandshakeRefused, match="None"):
        decode_answer(msgpack.packb((kind,)))


def question(position: int, value: object) -> bytes:
    fields: list[Any] = list(msgpack.unpackb(payload_of(encode_blank(OWN)), use_list=False))
    fields[position] = value
    return msgpack.packb(fields)


@pytest.mark.parametrize(
    ("position", "value", "why"),
    [
        (2, "", "a new node: "),
        (3, "no disk id", "disk_id is 'no disk id'"),
        (3, 5, "disk_id is 5"),
        (4, "nowhere", "a new node: "),
        (8, -1.0, "a new node: "),
        (9, 5, "settings are not a short array"),
        (9, (("a", "b"),) * (SETTINGS_MAX + 1), "settings are not a short array"),
        (9, (("a",),), "a setting is"),
        (9, (("a", 5),), "a setting is"),
        (9, (("a", "x" * (SETTING_CHARS_MAX + 1)),), "a setting is"),
        (9, (("a", "\n"),), "a setting is"),
    ],
)
def test_a_question_is_checked_field_by_field(position: int, value: object, why: str) -> None:
    with pytest.raises(PeerFrameError, match=why):
        decode_question(question(position, value))


def test_a_question_with_a_field_more_or_less_is_refused() -> None:
    fields = msgpack.unpackb(payload_of(encode_blank(OWN)), use_list=False)
    for wrong in (fields[:-1], (*fields, 1)):
        with pytest.raises(PeerFrameError, match="fields, expected 10"):
            decode_question(msgpack.packb(wrong))


@pytest.mark.parametrize("record", [(), (5,), ("no record",), ("", 1)])
def test_a_record_that_is_none_is_refused(record: tuple[object, ...]) -> None:
    with pytest.raises(PeerFrameError):
        decode_answer(msgpack.packb((FOUND, PROTOCOL_VERSION, *record)))


@given(st.sampled_from([BLANK, FOUND, "refuse"]), st.lists(values, max_size=10))
def test_anything_of_the_right_kind_is_refused_or_decoded(kind: str, rest: list[object]) -> None:
    payload = msgpack.packb((kind, PROTOCOL_VERSION, *rest))
    for decode in (decode_question, decode_answer):
        try:
            decode(payload)
        except PeerFrameError:
            continue


def test_unequal_settings_are_told_in_words() -> None:
    other = Blank(founder("b", 2), (("shards", "32"), ("zone", "")))
    assert why_unequal(OWN, other) == "shards is 64 at node a and 32 at node b"
    assert why_unequal(OWN, Blank(founder("b", 2), OWN.settings)) == ""
