"""Goal: a proof is good for one secret, one purpose and one list of values; the secret shows itself
nowhere.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import (
    PROOF_BYTES,
    SECRET_CHARS_MAX,
    SECRET_CHARS_MIN,
    Secret,
)

TEXT = "correct horse battery staple"
SECRET = Secret(TEXT)

PARTS = st.lists(st.binary(max_size=6), max_size=4)


def test_a_proof_is_the_hmac_that_others_can_compute() -> None:
    message = b"\0\0\0\6client\0\0\0\2ab\0\0\0\0"
    expected = hmac.new(TEXT.encode(), message, sha256).digest()
    assert SECRET.proof("client", b"ab", b"") == expected
    assert len(expected) == PROOF_BYTES


@settings(max_examples=100, deadline=None)
@given(PARTS, PARTS)
def test_proofs_are_equal_only_of_equal_parts(one: list[bytes], other: list[bytes]) -> None:
    is_equal = SECRET.proof("peer", *one) == SECRET.proof("peer", *other)
    assert is_equal == (one == other)
    assert SECRET.is_proof("peer", SECRET.proof("peer", *one), *one)


@pytest.mark.parametrize("context", ["", "pee", "peers", "client"])
def test_a_proof_is_good_for_its_purpose_only(context: str) -> None:
    assert not SECRET.is_proof("peer", SECRET.proof(context, b"n"), b"n")
    assert not SECRET.is_proof(context, SECRET.proof("peer", b"n"), b"n")


def test_a_proof_counts_whole() -> None:
    good = SECRET.proof("peer", b"n")
    for wrong in (b"", good[:-1], good + b"\0", good[:-1] + bytes([good[-1] ^ 1])):
        assert not SECRET.is_proof("peer", wrong, b"n")
    for at in range(PROOF_BYTES):
        assert not SECRET.is_proof("peer", good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], b"n")
    assert not Secret(TEXT + "s").is_proof("peer", good, b"n")


def test_line_breaks_at_the_end_do_not_count() -> None:
    for ending in ("\n", "\r\n", "\n\n"):
        assert Secret(TEXT + ending) == SECRET
    assert Secret.from_bytes(f"{TEXT}\n".encode()) == SECRET
    assert Secret(TEXT + " ") != SECRET
    assert SECRET != TEXT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("x" * (SECRET_CHARS_MIN - 1), "has 15 characters"),
        ("x" * (SECRET_CHARS_MAX + 1), "has 4097 characters"),
        (TEXT + "\n" + TEXT, "not one line"),
        (TEXT + "\0", "not one line"),
        (TEXT + "\udc80", "not one line"),
    ],
)
def test_a_text_that_is_no_secret(text: str, why: str) -> None:
    with pytest.raises(SecretError, match=why) as caught:
        Secret(text)
    assert not text.strip() or text not in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(SecretError, match="not one line") as caught:
        Secret.from_bytes(b"\xff" * 20)
    assert caught.value.__cause__ is None


def test_the_shortest_and_the_longest() -> None:
    assert Secret("x" * SECRET_CHARS_MIN) != Secret("x" * SECRET_CHARS_MAX)


def test_it_shows_itself_nowhere() -> None:
    for shown in (repr(SECRET), str(SECRET), f"{SECRET!r:.60}", str([SECRET])):
        assert TEXT not in shown
    assert hash(SECRET) == hash(Secret("another one of this sort"))
