"""How a node tells of itself, and which nodes it expects to meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quorumcache.node.founding.introduction import info_of, own_hello, own_info, peer_specs
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.codec import HEADER, decode_hello, encode_hello
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.starts import Starts
from quorumcache.ring import NodeInfo
from quorumcache.ring.node_info import LOST
from tests.support.founding import disk_id, member_of, record_of

RECORD = record_of("a", "b", "c")
MAP = RECORD.first_map()
CONFIG = NodeConfig(
    name="a",
    data_dir="d",
    peer="0.0.0.0:1",
    advertise="public:11211",
    zone="z1",
    weight=2.0,
    initial_cluster={"a": "hosta:1", "b": "setting:1"},
)


def nowhere(node_id: int) -> tuple[str, ...]:
    return ()


def founding(node_id: int = 1) -> FoundingProgress:
    return FoundingProgress(
        member_of(RECORD, node_id),
        disk=None,
        directory="",
        on_complete=lambda: None,
        on_failed=lambda error: None,
    )


def own() -> NodeInfo:
    return own_info(CONFIG, 1, disk_id(1), "0.0.0.0:11211", "")


def test_a_node_tells_where_others_reach_it() -> None:
    assert own() == NodeInfo(1, "a", "hosta:1", "public:11211", "", "z1", 2.0, disk_id(1))


def test_a_node_without_an_initial_cluster_tells_its_own_address() -> None:
    """One that joins a cluster later is no founder. A port of the system's choice is known once it
    is bound."""
    late = NodeConfig(name="late", peer="late:1", join="a:1", data_dir="d")

    def told(config: NodeConfig, bound: str = "0.0.0.0:77") -> str:
        return own_info(config, 4, disk_id(4), "0.0.0.0:11211", "", bound).peer_address

    assert told(late) == "late:1"
    assert told(replace(late, peer="late:0")) == "late:77"
    assert told(replace(late, peer="0.0.0.0:0", advertise_peer="outside:0")) == "outside:77"
    assert told(replace(late, advertise_peer="outside:5")) == "outside:5"
    assert told(NodeConfig(), "") == "127.0.0.1:0"


def test_a_hello_says_what_the_node_is_and_the_other_side_reads_the_same() -> None:
    hello = own_hello(CONFIG, own(), founding(), 7, Starts(), 3)
    assert (hello.cluster_id, hello.incarnation, hello.map_epoch) == (RECORD.cluster_id, 7, 3)
    assert hello.is_founded
    assert info_of(decode_hello(encode_hello(hello)[HEADER.size :])) == own()


def test_the_fingerprint_is_of_what_the_cluster_was_founded_with() -> None:
    """Else a node that is started with a changed replication cuts itself off from the others."""

    def fingerprint(**changes: Any) -> str:
        config = replace(CONFIG, **changes)
        return own_hello(config, own(), founding(), 7, Starts(), 3).settings_fingerprint

    fixed = dict(RECORD.settings)
    founded = replace(
        CONFIG, shards=4, replication=int(fixed["replication"]), durability=fixed["durability"]
    )
    assert fingerprint() == founded.cluster_settings.fingerprint()
    assert fingerprint(replication=5) == fingerprint(replication=1) == fingerprint()
    assert fingerprint(shards=128) == fingerprint()
    assert fingerprint(election_ms=1000) != fingerprint(), "not fixed, and it has to be equal"
    told = dict(own_hello(CONFIG, own(), founding(), 7, Starts(), 3).settings)
    assert told["shards"] == "4"


def test_the_others_are_the_founders_until_there_is_a_map() -> None:
    specs = peer_specs(CONFIG, founding(), None, {}, nowhere, {})
    assert {n: spec.name for n, spec in specs.items()} == {2: "b", 3: "c"}
    assert {n: spec.disk_id for n, spec in specs.items()} == {2: disk_id(2), 3: disk_id(3)}


def test_the_own_settings_say_where_to_dial_then_the_map_and_what_the_node_told() -> None:
    told = replace(MAP.node(3), peer_address="told:1")
    specs = peer_specs(CONFIG, founding(), MAP, {3: told}, nowhere, {})
    assert (specs[2].address, specs[2].told) == ("setting:1", MAP.node(2).peer_address)
    assert (specs[3].address, specs[3].told) == (MAP.node(3).peer_address, "told:1")


def test_a_map_may_know_nodes_that_are_no_founders_and_founders_may_have_left() -> None:
    late = NodeInfo(9, "late", "late:1", "late:2", "", "", 1.0, disk_id(9))
    sets = [(1, 3, 9)] * MAP.shard_count
    cluster_map = MAP.with_node(late).with_replica_sets(sets).without_node(2)
    specs = peer_specs(CONFIG, founding(), cluster_map, {}, nowhere, {})
    assert {n: (s.name, s.address, s.disk_id) for n, s in specs.items()} == {
        3: ("c", "hostc:1", disk_id(3)),
        9: ("late", "late:1", disk_id(9)),
    }


def test_a_lost_node_is_not_dialed_where_its_successor_is() -> None:
    """The successor would answer, be refused, and lose the connection that is well."""
    lost = replace(MAP.node(3), name="c~3", state=LOST)
    others = (*MAP.nodes[:2], lost)
    before = replace(MAP, form=2, directory=(1, 2, 3), nodes=others)
    assert {*peer_specs(CONFIG, founding(), before, {}, nowhere, {})} == {2, 3}
    successor = replace(MAP.node(3), node_id=4, disk_id=disk_id(4))
    replaced = replace(before, nodes=(*others, successor), next_node_id=5)
    assert {*peer_specs(CONFIG, founding(), replaced, {}, nowhere, {})} == {2, 4}


def test_nor_where_it_told_that_it_was_and_another_node_is_by_now() -> None:
    """It moved before it was lost, and the map never heard of that."""
    lost = replace(MAP.node(3), name="c~3", state=LOST)
    heir = replace(MAP.node(3), node_id=4, disk_id=disk_id(4), peer_address="moved:1")
    told = replace(MAP.node(3), peer_address="moved:1")
    nodes = (*MAP.nodes[:2], lost, heir)
    replaced = replace(MAP, form=2, directory=(1, 2), nodes=nodes, next_node_id=5)
    specs = peer_specs(CONFIG, founding(), replaced, {3: told}, lambda n: ("moved:1", "or:1"), {})
    assert specs[3].addresses() == [("hostc", 1), ("or", 1)]
    assert ("moved", 1) in specs[4].addresses()
