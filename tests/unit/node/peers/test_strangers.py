"""Goal: a node that does not belong here is refused with the reason, and a peer never is."""

from __future__ import annotations

import pytest

from quorumcache.node.peers.codec import PROTOCOL_VERSION, Hello
from quorumcache.node.peers.strangers import KnownPeer, setting_differences, why_stranger
from tests.support.founding import disk_id
from tests.unit.node.peers.test_codec import HELLO

KNOWN = {2: KnownPeer("b", disk_id(2)), 3: KnownPeer("c", disk_id(3))}
B = HELLO._replace(node_id=2, name="b", disk_id=disk_id(2), incarnation=8)


def test_a_peer_is_no_stranger() -> None:
    assert why_stranger(HELLO, B, KNOWN) is None
    assert why_stranger(HELLO, B, KNOWN, expected_id=2) is None


@pytest.mark.parametrize(
    ("other", "expected_id", "sentence"),
    [
        (
            B._replace(cluster_id="c2"),
            None,
            "node a is of cluster c1, node b is of cluster c2",
        ),
        (
            B._replace(protocol_version=9),
            None,
            f"one side speaks peer protocol 9, the other peer protocol {PROTOCOL_VERSION}",
        ),
        (
            B._replace(
                settings_fingerprint="f1", settings=(("shards", "128"), ("replication", "3"))
            ),
            None,
            "the cluster's settings differ: shards is 64 at node a and 128 at node b",
        ),
        (
            B._replace(settings_fingerprint="f1"),
            None,
            "the cluster's settings differ: fingerprint f0 at node a, f1 at node b",
        ),
        (B._replace(node_id=1), None, "node a and node b both have the id 1"),
        (HELLO, 2, "node a reached itself: another node is listed with the address of node a"),
        (B._replace(node_id=9), None, "node b has the id 9, which node a does not know"),
        (
            B._replace(name="x"),
            None,
            "node id 2 belongs to node b in the cluster map, but node x uses it. Check --name",
        ),
        (
            B._replace(disk_id=disk_id(9)),
            None,
            f"node b has data directory {disk_id(9)}, but for node a that name belongs to data "
            f"directory {disk_id(2)}. Start it with the directory that it had",
        ),
        (B, 3, "node a dialed node c (id 3) and reached node b. Check the address of node c"),
    ],
)
def test_a_stranger_is_told_what_differs(
    other: Hello, expected_id: int | None, sentence: str
) -> None:
    assert (why_stranger(HELLO, other, KNOWN, expected_id) or "").startswith(sentence)


def test_differences_of_settings_are_in_order_of_name() -> None:
    ours = (("shards", "64"), ("replication", "3"), ("tick", "5"))
    theirs = (("replication", "5"), ("shards", "64"), ("new", "1"))
    assert setting_differences("a", ours, "b", ours[::-1]) == ""
    assert setting_differences("a", ours, "b", theirs) == (
        "new is unknown at node a and 1 at node b; "
        "replication is 3 at node a and 5 at node b; "
        "tick is 5 at node a and unknown at node b"
    )
