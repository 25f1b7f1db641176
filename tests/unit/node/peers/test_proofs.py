"""Goal: what a hello carries beyond its fields is read as it was written, by this release; the one
before ignores it; and whatever stands there instead is no form, nonce or proof.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import (
    HEADER,
    HELLO_BYTES_MAX,
    Hello,
    decode_hello,
    decode_items,
    encode_hello,
)
from quorumcache.node.peers.items import PROOF
from quorumcache.node.peers.proofs import (
    FORM_MAX,
    OWN_FORM,
    encode_proof,
    form_of,
    has_secret,
    is_proof,
    keyed,
    make_proof,
    nonce_of,
    proof_in,
    with_extras,
    without_extras,
)
from quorumcache.node.peers.strangers import KnownPeer, why_stranger
from quorumcache.ring.secret import PROOF_BYTES, Secret
from tests.support.founding import disk_id
from tests.unit.node.peers.test_codec import HELLO

SECRET = Secret("the secret of the cluster")
OTHER = HELLO._replace(node_id=2, name="b", disk_id=disk_id(2), incarnation=8)
NONCE = "0123456789abcdef" * 2


@pytest.mark.parametrize("secret", [False, True])
def test_a_hello_tells_its_form_nonce_and_whether_it_has_the_secret(secret: bool) -> None:
    frame = encode_hello(with_extras(HELLO, NONCE, secret))
    assert len(frame) - HEADER.size <= HELLO_BYTES_MAX
    told = decode_hello(frame[HEADER.size :])
    assert isinstance(told, Hello)
    assert (form_of(told), nonce_of(told), has_secret(told)) == (OWN_FORM, NONCE, secret)
    assert without_extras(told.settings) == HELLO.settings
    assert told._replace(settings=()) == HELLO._replace(settings=())


def test_a_hello_without_is_of_the_release_before() -> None:
    assert (form_of(HELLO), nonce_of(HELLO), has_secret(HELLO)) == (1, "", False)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2", 2),
        ("3", 3),
        ("0", 1),
        ("", 1),
        ("x", 1),
        ("-2", 1),
        ("²", 1),
        ("٢", 1),
        ("9" * 200, 1),
    ],
)
def test_a_form_is_a_small_number(text: str, form: int) -> None:
    assert form_of(HELLO._replace(settings=(("form", text),))) == form
    assert form_of(HELLO._replace(settings=(("form", "9999999"),))) == FORM_MAX


def test_what_is_drawn_for_a_connection_makes_nobody_a_stranger() -> None:
    known = {2: KnownPeer("b", disk_id(2))}
    told = with_extras(OTHER, NONCE, True)
    assert why_stranger(HELLO, told, known) is None
    changed = told._replace(
        settings_fingerprint="f9", settings=(("shards", "9"), *told.settings[len(OTHER.settings) :])
    )
    why = why_stranger(HELLO, changed, known)
    assert why is not None
    assert "shards" in why
    for extra in ("form", "nonce", NONCE, "secret"):
        assert extra not in why


def test_a_proof_names_the_cluster_both_nodes_and_the_connection() -> None:
    proof = make_proof(SECRET, OTHER, HELLO, NONCE)
    assert len(proof) == PROOF_BYTES
    assert is_proof(SECRET, proof, OTHER, HELLO, NONCE)
    for sender, receiver, nonce in (
        (HELLO, OTHER, NONCE),
        (OTHER._replace(node_id=3), HELLO, NONCE),
        (OTHER, HELLO._replace(node_id=3), NONCE),
        (OTHER, HELLO._replace(cluster_id="c9"), NONCE),
        (OTHER, HELLO, NONCE[:-1]),
        (OTHER, HELLO, ""),
    ):
        assert not is_proof(SECRET, proof, sender, receiver, nonce)
    assert not is_proof(Secret("the secret of another one"), proof, OTHER, HELLO, NONCE)


@pytest.mark.parametrize("proof", [b"", bytes(PROOF_BYTES)])
def test_the_first_frame_is_a_proof_alone(proof: bytes) -> None:
    items: Any = decode_items(encode_proof(proof)[HEADER.size :])
    assert proof_in(items) == proof


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(st.just(PROOF), st.integers(0, 99), st.binary(max_size=9), st.text()),
            min_size=1,
            max_size=3,
        ).map(tuple),
        max_size=3,
    ).map(tuple)
)
def test_any_other_first_frame_is_refused(items: tuple[tuple[Any, ...], ...]) -> None:
    is_one = len(items) == 1 and len(items[0]) == 2 and items[0][0] == PROOF
    if is_one and type(items[0][1]) is bytes:
        assert proof_in(items) == items[0][1]
        return
    with pytest.raises(PeerFrameError, match="no proof"):
        proof_in(items)


def test_a_token_is_keyed_with_the_secret_if_there_is_one() -> None:
    token = bytes(range(16))
    assert keyed(token, None) == token
    assert len(keyed(token, SECRET)) == len(token)
    assert keyed(token, SECRET) != token != keyed(token, Secret("the secret of another one"))
