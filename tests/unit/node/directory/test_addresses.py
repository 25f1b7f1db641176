"""Which of the things that a node tells of itself get into the map.

That addresses rotate and are not taken from silent nodes is tested with the steward, which does
nothing else there.
"""

from __future__ import annotations

from dataclasses import replace

from quorumcache.node.directory.addresses import follow_addresses
from quorumcache.ring import ClusterMap, NodeInfo
from tests.support.founding import record_of

FIRST = record_of("a", "b", "c").first_map()
SECOND = replace(FIRST, form=2, directory=(1, 2, 3))


def follow(present: ClusterMap, told: NodeInfo) -> list[NodeInfo]:
    complaints: list[str] = []
    found = follow_addresses(present, {told.node_id: told}, lambda *why: complaints.append(why[0]))
    assert not complaints
    return found


def test_in_the_first_form_all_is_what_the_node_says() -> None:
    told = replace(FIRST.node(2), zone="z", weight=3.0, http_address="h:1")
    assert follow(FIRST, told) == [told]
    assert follow(FIRST, FIRST.node(2)) == []


def test_a_weight_of_0_waits_for_the_second_form() -> None:
    """No map of the first form may say it: nothing else would get into the map any more."""
    told = replace(FIRST.node(2), zone="z", weight=0.0)
    assert follow(FIRST, told) == [replace(FIRST.node(2), zone="z")]


def test_in_the_second_form_only_addresses_are() -> None:
    told = replace(FIRST.node(2), zone="z", weight=3.0, http_address="h:1", peer_address="p:1")
    drained = SECOND.with_node(replace(SECOND.node(2), state="drained", zone="y"))
    assert follow(drained, told) == [
        replace(drained.node(2), http_address="h:1", peer_address="p:1")
    ]


def test_the_name_that_the_map_has_given_a_node_stays() -> None:
    renamed = SECOND.with_node(replace(SECOND.node(2), name="b~2"))
    assert follow(renamed, FIRST.node(2)) == []


def test_addresses_of_a_lost_node_are_free() -> None:
    lost = SECOND.with_node(replace(SECOND.node(3), state="lost"))
    told = replace(FIRST.node(2), peer_address=FIRST.node(3).peer_address)
    assert follow(lost, told) == [told]
    assert follow(lost, replace(FIRST.node(3), peer_address="new:1")) == []
