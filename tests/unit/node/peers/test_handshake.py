"""Goal: only the directory that speaks for a known node is let in, and only one that was not set
back; what this node tells of itself is its newest state.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.peers.codec import (
    HEADER,
    REFUSED_RETRY_MS,
    Hello,
    Refusal,
    Refused,
    decode_hello,
    decode_items,
    encode_refusal,
)
from quorumcache.node.peers.handshake import DUPLICATE_RETRY_MS, NEWER_MAP_RETRY_MS, Handshake
from quorumcache.node.peers.items import PROOF
from quorumcache.node.peers.proofs import (
    OWN_FORM,
    form_of,
    has_secret,
    make_proof,
    nonce_of,
    with_extras,
    without_extras,
)
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.storage.starts import Starts
from quorumcache.ring.secret import Secret
from tests.support.founding import disk_id
from tests.unit.node.peers.test_codec import HELLO

THEIRS = HELLO._replace(node_id=2, name="b", disk_id=disk_id(2), incarnation=8)


def started(count: int, first: int = 1) -> Hello:
    starts = Starts()
    for number in range(first, first + count):
        starts = starts.next(number)
    return THEIRS._replace(start_number=starts.number, start_nonces=starts.nonces)


def fail(error: BaseException) -> None:
    raise error


class World:
    def __init__(self) -> None:
        self.newer_maps = 0
        starts = PeerStarts(None, "", HELLO.disk_id, fail)
        self.handshake = Handshake(HELLO, starts, self._newer_map, Random(1))
        self.handshake.know(2, "b", disk_id(2))

    def _newer_map(self) -> None:
        self.newer_maps += 1

    def refusal(self, hello: Hello, dialed_id: int = 0) -> Refused:
        with pytest.raises(Refused) as caught:
            self.handshake.check(hello, dialed_id)
        return caught.value


def test_a_peer_is_let_in_from_either_side() -> None:
    world = World()
    world.handshake.check(THEIRS, 0)
    world.handshake.check(THEIRS, 2)
    assert "dialed node" in str(world.refusal(THEIRS, 3))


def test_a_node_that_was_forgotten_is_a_stranger_until_it_is_known_again() -> None:
    world = World()
    world.handshake.forget(2)
    refused = world.refusal(THEIRS)
    assert "does not know" in str(refused)
    assert refused.retry_ms == REFUSED_RETRY_MS
    world.handshake.know(2, "b", disk_id(9))
    assert "belongs to data directory" in str(world.refusal(THEIRS))
    world.handshake.know(2, "b", disk_id(2))
    world.handshake.check(THEIRS, 0)


def test_a_stranger_with_a_newer_map_is_told_to_come_again_soon() -> None:
    world = World()
    stranger = THEIRS._replace(node_id=5, map_epoch=HELLO.map_epoch + 1)
    assert world.refusal(stranger).retry_ms == NEWER_MAP_RETRY_MS
    assert world.newer_maps == 1
    world.handshake.set_map(HELLO.map_epoch + 1, 1)
    assert world.refusal(stranger).retry_ms == REFUSED_RETRY_MS
    other = stranger._replace(cluster_id="c2", map_epoch=99)
    assert world.refusal(other).retry_ms == REFUSED_RETRY_MS
    assert world.newer_maps == 1


def test_who_cannot_read_the_map_is_refused_and_told_so() -> None:
    world = World()
    world.handshake.set_map(5, 1)
    world.handshake.check(THEIRS, 0)
    world.handshake.set_map(6, 2)
    assert str(world.refusal(THEIRS)) == (
        f"node b runs quorumcache {THEIRS.version} of form 1, which cannot read the cluster map of"
        " node a: that has form 2. Start node b with the version of the other nodes"
    )
    world.handshake.check(with_extras(THEIRS, "0" * 32, has_secret=False), 0)


def test_a_directory_that_was_set_back_is_refused_once_a_later_start_was_accepted() -> None:
    world = World()
    world.handshake.check(started(3), 0)
    world.handshake.check(started(2), 0)  # The later start was not accepted: nothing is known.
    world.handshake.accepted(started(3))
    assert "was set back to an older copy" in str(world.refusal(started(2)))
    world.handshake.check(started(4), 0)


def test_one_process_at_a_time_speaks_for_a_node() -> None:
    handshake = World().handshake
    ended: list[str] = []
    inbound: Any = SimpleNamespace(hello=THEIRS, closing=False, abort=ended.append)
    handshake.check_caller(THEIRS, None)
    with pytest.raises(Refused, match="another process is connected to node a as node b") as caught:
        handshake.check_caller(THEIRS._replace(incarnation=9), inbound)
    assert caught.value.retry_ms == DUPLICATE_RETRY_MS
    handshake.check_caller(THEIRS, inbound)
    inbound.closing = True
    handshake.check_caller(THEIRS._replace(incarnation=9), inbound)
    assert not ended


def test_the_own_hello_tells_the_newest_state() -> None:
    handshake = Handshake(HELLO._replace(is_founded=False), None, lambda: None, Random(1))
    handshake.set_map(9, 2)
    handshake.set_founded()
    expected = HELLO._replace(is_founded=True, map_epoch=9)
    assert handshake.hello == expected
    link: Any = SimpleNamespace()
    told = decode_hello(handshake.introduce(link)[HEADER.size :])
    assert isinstance(told, Hello)
    assert told._replace(settings=without_extras(told.settings)) == expected
    assert (form_of(told), nonce_of(told), has_secret(told)) == (OWN_FORM, link.nonce, False)
    other: Any = SimpleNamespace()
    handshake.introduce(other)
    assert other.nonce != link.nonce, "each connection has a nonce of its own"


SECRET = Secret("the secret of the cluster")
OTHER = Secret("the secret of another one")
NONCE = "5" * 32


def prove(
    ours: Secret | None, theirs: Secret | None, *, required: bool = False, **changes: Any
) -> bool:
    """Node b, with its secret, dials node a: what a makes of it."""
    at_a = Handshake(HELLO, None, lambda: None, Random(1), ours)
    at_b = Handshake(THEIRS._replace(**changes), None, lambda: None, Random(2), theirs)
    link: Any = SimpleNamespace()
    told = decode_hello(at_a.introduce(link)[HEADER.size :])
    assert isinstance(told, Hello)
    frame = at_b.proof_frame(told)
    at_a.requires_proofs = required
    items = decode_items(frame[HEADER.size :])
    assert not isinstance(items, Refusal)
    return at_a.check_proof(with_extras(THEIRS, NONCE, False), items, link.nonce)


def farewell(
    ours: Secret | None,
    theirs: Secret | None,
    *,
    our_epoch: int = 9,
    their_epoch: int = 8,
    named: tuple[int, ...] = (),
) -> tuple[Refused, bool]:
    """Node b, which node a has forgotten, dials it: how it is refused, and whether it believes
    that it was removed."""
    at_a = Handshake(HELLO._replace(map_epoch=our_epoch), None, lambda: None, Random(1), ours)
    at_a.set_map(our_epoch, 1, named)
    own = THEIRS._replace(map_epoch=their_epoch)
    at_b = Handshake(own, None, lambda: None, Random(2), theirs)
    link: Any = SimpleNamespace()
    told = decode_hello(at_b.introduce(link)[HEADER.size :])
    assert isinstance(told, Hello)
    with pytest.raises(Refused) as caught:
        at_a.check(told, 0)
    refused = caught.value
    frame = encode_refusal(str(refused), refused.retry_ms, *refused.farewell)
    refusal = decode_hello(frame[HEADER.size :])
    assert isinstance(refusal, Refusal)
    assert not at_b.is_farewell(refusal, "6" * 32), "it was meant for another connection"
    return refused, at_b.is_farewell(refusal, link.nonce)


def test_a_node_that_was_removed_is_told_so_by_who_knows_the_secret() -> None:
    refused, is_believed = farewell(SECRET, SECRET)
    assert is_believed
    assert refused.farewell[0] == 9
    assert not farewell(SECRET, OTHER)[1]
    assert not farewell(SECRET, None)[1]
    assert farewell(None, SECRET)[0].farewell == (0, b"")


def test_a_lost_node_that_the_map_still_names_is_not_sent_away() -> None:
    """Its successor has its addresses, so it is no peer. Its data may still be wanted."""
    refused, is_believed = farewell(SECRET, SECRET, named=(HELLO.node_id, THEIRS.node_id))
    assert not is_believed
    assert refused.farewell == (0, b"")


@pytest.mark.parametrize("their_epoch", [0, 9, 10])
def test_a_node_whose_map_may_be_right_is_not_sent_away(their_epoch: int) -> None:
    """It may have joined a moment ago, and this node has not heard of it."""
    refused, is_believed = farewell(SECRET, SECRET, their_epoch=their_epoch)
    assert not is_believed
    assert refused.farewell == (0, b"")


@pytest.mark.parametrize("required", [False, True])
def test_a_caller_proves_the_secret_that_it_has(required: bool) -> None:
    assert prove(SECRET, SECRET, required=required)
    with pytest.raises(Refused, match="node b has another secret than node a") as caught:
        prove(SECRET, OTHER, required=required)
    assert caught.value.retry_ms == REFUSED_RETRY_MS
    # A node without a secret can check nothing.
    assert not prove(None, SECRET, required=required)
    assert not prove(None, None, required=required)


def test_a_missing_proof_is_refused_once_proofs_are_required() -> None:
    assert not prove(SECRET, None)
    with pytest.raises(Refused, match="node b does not prove that it knows the cluster's secret"):
        prove(SECRET, None, required=True)


def test_a_proof_is_good_for_one_connection_and_one_pair_of_nodes() -> None:
    at_a = Handshake(HELLO, None, lambda: None, Random(1), SECRET)
    one: Any = SimpleNamespace()
    told = decode_hello(at_a.introduce(one)[HEADER.size :])
    assert isinstance(told, Hello)
    proof = make_proof(SECRET, THEIRS, told, one.nonce)
    assert at_a.check_proof(THEIRS, ((PROOF, proof),), one.nonce)
    another: Any = SimpleNamespace()
    at_a.introduce(another)
    third = THEIRS._replace(node_id=3, name="c")
    for sender, receiver, nonce in (
        (THEIRS, HELLO, another.nonce),
        (third, HELLO, one.nonce),
        (THEIRS, HELLO._replace(node_id=7), one.nonce),
        (THEIRS, HELLO._replace(cluster_id="c9"), one.nonce),
        (HELLO, THEIRS, one.nonce),
    ):
        wrong = make_proof(SECRET, sender, receiver, nonce)
        with pytest.raises(Refused, match="another secret"):
            at_a.check_proof(THEIRS, ((PROOF, wrong),), one.nonce)
    for cut in (proof[:-1], proof[:4], proof + b"x"):
        with pytest.raises(Refused, match="another secret"):
            at_a.check_proof(THEIRS, ((PROOF, cut),), one.nonce)


def test_the_release_before_gets_no_proof_and_needs_none_until_they_are_required() -> None:
    handshake = Handshake(HELLO, None, lambda: None, Random(1), SECRET)
    assert handshake.proof_frame(THEIRS) == b""
    handshake.check_form(THEIRS)
    handshake.requires_proofs = True
    with pytest.raises(Refused, match="does not prove"):
        handshake.check_form(THEIRS)
    handshake.check_form(with_extras(THEIRS, NONCE, True))
    without = Handshake(HELLO, None, lambda: None, Random(1))
    without.requires_proofs = True
    without.check_form(THEIRS)


def test_connections_of_before_are_ended_once_proofs_are_required() -> None:
    handshake = Handshake(HELLO, None, lambda: None, Random(1), SECRET)
    refused: list[Refused] = []
    link: Any = SimpleNamespace(closing=False, hello=THEIRS, is_proven=False, refuse=refused.append)
    handshake.cut_unproven(link)
    handshake.cut_unproven(None)
    handshake.requires_proofs = True
    link.is_proven = True
    handshake.cut_unproven(link)
    assert not refused
    link.is_proven = False
    handshake.cut_unproven(link)
    assert "does not prove" in str(refused[0])
    link.closing = True
    handshake.cut_unproven(link)
    assert len(refused) == 1
