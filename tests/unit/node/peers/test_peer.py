"""Goal: where a node is dialed, and what is said of one that this node does not talk to."""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.peers.peer import ONE_WAY_NS, Peer, PeerSpec, refusals_of, why_apart


@pytest.mark.parametrize("told", ["", "10.0.0.2:7400"])
def test_a_node_at_its_address_is_dialed_there(told: str) -> None:
    assert PeerSpec("b", "10.0.0.2:7400", "d", told).addresses() == [("10.0.0.2", 7400)]


def test_a_node_that_says_it_is_elsewhere_is_dialed_at_both_in_turn() -> None:
    spec = PeerSpec("b", "10.0.0.2:7400", "d", "[fd00::1]:7401")
    assert spec.addresses() == [("10.0.0.2", 7400), ("fd00::1", 7401)]


def test_each_reason_is_told_of_the_side_that_has_it() -> None:
    peers = {number: Peer(name, [], "") for number, name in enumerate("bcde", 2)}
    peers[2].refusal = "the settings differ"
    peers[3].refused = "unknown"
    peers[4].one_way_since_ns = 7
    now_ns = 7 + ONE_WAY_NS
    assert list(refusals_of(peers, now_ns)) == [2], "it may still dial"
    refusals = refusals_of(peers, now_ns + 1)
    assert refusals[2] == "node b refuses this node: the settings differ"
    assert "node d cannot connect to this node" in refusals[4]
    apart = why_apart(peers, now_ns + 1)
    assert apart == {**refusals, 3: "this node refuses it: unknown"}
    peers[3].refusal = "unknown there, too"
    assert why_apart(peers, now_ns)[3] == "node c refuses this node: unknown there, too"


def test_waking_up_ends_a_pause_once_and_does_no_harm_without_one() -> None:
    async def test() -> None:
        peer = Peer("b", [], "")
        peer.wake_up()
        peer.wake = asyncio.get_running_loop().create_future()
        peer.wake_up()
        peer.wake_up()
        await asyncio.wait_for(peer.wake, 5)

    asyncio.run(test())
