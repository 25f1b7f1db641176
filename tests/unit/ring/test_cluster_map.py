"""Goal: a map survives its bytes unchanged, and no malformed map is ever built."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.ring import ClusterMap, MapError, NodeInfo, place, shard_of
from quorumcache.ring.map_form import MAP_BYTES_MAX
from quorumcache.ring.move import Move
from quorumcache.ring.node_info import DRAINING, LOST
from tests.support.clusters import make_map, make_node, make_nodes, with_replicas

NODES = make_nodes(4, zones=2)
MAP = make_map(NODES, place(NODES, 8, 3))


def with_field(position: int, value: object) -> bytes:
    fields = list(msgpack.unpackb(MAP.to_bytes()))
    fields[position] = value
    return msgpack.packb(fields)


def with_node_field(position: int, value: object) -> bytes:
    fields = list(msgpack.unpackb(MAP.to_bytes()))
    fields[5][0][position] = value
    return msgpack.packb(fields)


def test_bytes_and_back() -> None:
    again = ClusterMap.from_bytes(MAP.to_bytes())
    assert again == MAP
    assert again.to_bytes() == MAP.to_bytes()
    assert again.fingerprint() == MAP.fingerprint()
    assert again.fingerprint() != MAP.with_node(make_node(9)).fingerprint()


def test_a_map_answers_where_a_key_lives() -> None:
    shard = MAP.shard_of(b"foo")
    assert shard == shard_of(b"foo", 8)
    assert MAP.replicas_of(shard) == MAP.replica_sets[shard]
    assert MAP.preferred_leader(shard) == MAP.replica_sets[shard][0]
    assert MAP.node(2) == NODES[1]
    with pytest.raises(MapError, match="node 77 is not in the map of epoch 1"):
        MAP.node(77)
    with pytest.raises(FrozenInstanceError):
        MAP.epoch = 2  # type: ignore[misc]


def test_each_change_is_the_next_epoch() -> None:
    more = MAP.with_node(make_node(7))
    assert (more.epoch, [node.node_id for node in more.nodes]) == (2, [1, 2, 3, 4, 7])
    moved = more.with_node(replace(NODES[0], client_address="10.9.9.9:1"))
    assert (moved.epoch, moved.node(1).client_address) == (3, "10.9.9.9:1")
    fewer = moved.without_node(7)
    assert (fewer.epoch, len(fewer.nodes)) == (4, 4)
    other = with_replicas(fewer, 5, [4, 1])
    assert (other.epoch, other.replicas_of(5)) == (5, (4, 1))
    assert other.replica_sets[:5] == MAP.replica_sets[:5]
    with pytest.raises(MapError, match="replica 1 is not a node"):
        MAP.without_node(1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid msgpack"),
        (b"\xc1", "not valid msgpack"),
        (MAP.to_bytes()[:-1], "not valid msgpack"),
        (MAP.to_bytes() + b"\x00", "not valid msgpack"),
        (b"\x91" * 5000, "not valid msgpack"),
        (b"\x00", "expected an array of"),
        (b"\x90", "expected an array of"),
        (msgpack.packb([2, 2]), "has 2 fields"),
        (b"x" * (MAP_BYTES_MAX + 1), "larger than"),
        (with_field(0, 4), "the map is in format 4, this version reads formats 2 to 3"),
        (with_field(0, 3), "a map has 10 fields, expected 16"),
        (with_field(0, True), "the map is in format True"),
        (with_field(1, 0), "epoch is 0"),
        (with_field(1, True), "epoch is True"),
        (with_field(1, 1.0), "epoch is 1.0"),
        (with_field(2, ""), "cluster_id is ''"),
        (with_field(2, b"x"), "cluster_id is b'x'"),
        (with_field(2, "a b"), "without spaces"),
        (with_field(3, 6), "shard_count is 6, expected a power of two"),
        (with_field(3, 16), "replica_sets has 8 shards, expected 16"),
        (with_field(3, 1 << 20), "shard_count is 1048576"),
        (with_field(4, 0), "replication is 0"),
        (with_field(5, 3), "nodes is int"),
        (with_field(5, []), "a map has 0 nodes"),
        (with_field(5, [[1]]), "expected an array of"),
        (with_field(5, [3]), "a node is 3"),
        (with_field(6, 3), "replica_sets has int shards"),
        (with_field(6, [[]] * 8), "shard 0: replicas are"),
        (with_field(6, [[1]] * 7 + [5]), "shard 7: replicas are 5"),
        (with_field(6, [[1]] * 7 + [[1, 9]]), "shard 7: replica 9 is not a node"),
        (with_field(6, [[1, 2, 1]] * 8), "shard 0: a node appears twice"),
        (with_field(6, [[True]] * 8), "replica True is not a node"),
        (with_node_field(0, 0), "node_id is 0"),
        (with_node_field(0, 3), "node 2 follows node 3"),
        (with_node_field(1, "n 1"), "name is 'n 1'"),
        (with_node_field(1, "n2"), "nodes 1 and 2 share the name 'n2'"),
        (with_node_field(1, "n" * 256), "expected 1 to 255 characters"),
        (with_node_field(2, "10.0.0.1:2"), "share the peer_address"),
        (with_node_field(2, "nowhere"), "peer_address: 'nowhere' is not HOST:PORT"),
        (with_node_field(2, ":80"), "is not HOST:PORT"),
        (with_node_field(3, "h:99999"), "port '99999' is not in 0..65535"),
        (with_node_field(4, "h"), "http_address: 'h' is not HOST:PORT"),
        (with_node_field(5, 3), "zone is 3"),
        (with_node_field(5, "a\n"), "zone is 'a\\\\n'"),
        (with_node_field(6, 0.0), "a map of form 1 says what only maps of form 2 can say"),
        (with_node_field(6, -1.0), "weight is -1.0"),
        (
            with_node_field(6, 5e-324),
            "weight is 5e-324, expected a number from 0.000001 to 1000000",
        ),
        (with_node_field(6, True), "weight is True"),
        (with_node_field(6, float("inf")), "weight is inf"),
        (with_node_field(6, float("nan")), "weight is nan"),
        (with_node_field(6, 1e9), "weight is 1000000000.0"),
        (with_node_field(6, "1"), "weight is '1'"),
        (with_node_field(7, "x"), "disk_id is 'x'"),
        (with_node_field(7, 5), "disk_id is 5"),
        (with_field(7, []), "founding_sets is empty"),
        (with_field(7, [[1]] * 7), "founding_sets has 7 shards, expected 8"),
        (with_field(7, [[0]] * 8), "founder is 0"),
        (with_field(7, [[1, 1]] * 8), "a node appears twice"),
        (with_field(8, 1), "started is int"),
        (with_field(8, b"\x00\x01"), "started is 256"),
        (with_field(9, 5), "settings are not a short array"),
        (with_field(9, [["a"]]), "a setting is"),
        (with_field(9, [["a", ""]]), "a setting is ''"),
    ],
)
def test_a_malformed_map_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(MapError, match=message):
        ClusterMap.from_bytes(data)


def test_a_founding_set_stays_when_replicas_move_and_a_group_starts_once() -> None:
    moved = with_replicas(MAP, 2, (4, 1)).with_started((2, 5))
    assert moved.founding_sets == MAP.replica_sets
    assert [moved.is_started(shard) for shard in range(8)] == [s in (2, 5) for s in range(8)]
    assert moved.with_started((0,)).started == 0b100101
    assert ClusterMap.from_bytes(moved.to_bytes()) == moved


@given(st.binary(max_size=200))
def test_garbage_never_decodes_nor_crashes(data: bytes) -> None:
    with pytest.raises(MapError):
        ClusterMap.from_bytes(data)


@given(st.integers(0, len(MAP.to_bytes()) - 1), st.integers(0, 255))
def test_a_flipped_byte_gives_a_valid_map_or_an_error(position: int, byte: int) -> None:
    data = bytearray(MAP.to_bytes())
    data[position] = byte
    try:
        decoded = ClusterMap.from_bytes(bytes(data))
    except MapError:
        return
    assert ClusterMap.from_bytes(decoded.to_bytes()) == decoded


def test_a_map_built_by_hand_is_checked_too() -> None:
    with pytest.raises(MapError, match="nodes is list"):
        replace(MAP, nodes=list(MAP.nodes))  # type: ignore[arg-type]
    with pytest.raises(MapError, match="a node is int"):
        replace(MAP, nodes=(1,))  # type: ignore[arg-type]
    with pytest.raises(MapError, match="replica_sets has list shards"):
        replace(MAP, replica_sets=list(MAP.replica_sets))  # type: ignore[arg-type]
    assert isinstance(MAP.nodes[0], NodeInfo)


def test_the_largest_map_is_modest() -> None:
    nodes = make_nodes(100, zones=5)
    big = make_map(nodes, place(nodes, 4096, 5), replication=5)
    assert len(big.to_bytes()) < 64 << 10
    assert ClusterMap.from_bytes(big.to_bytes()) == big


def newer(**changes: Any) -> ClusterMap:
    """MAP in form 2: two groups move, and the directory is on three nodes."""
    waiting = Move(3, MAP.replica_set(3), (4, 1, 2))
    started = Move(6, (1, 2, 3), (4, 1, 2), 5)
    sets = list(MAP.replica_sets)
    sets[5] = (1, 2, 4, 3)
    fields: dict[str, Any] = {
        "epoch": 6,
        "form": 2,
        "replica_sets": tuple(sets),
        "directory": (1, 2, 3),
        "moves": (waiting, started),
        "next_node_id": 9,
        "change": "drain n3",
        "is_paused": True,
        **changes,
    }
    return replace(MAP, **fields)


def test_form_2_to_bytes_and_back() -> None:
    nodes = (replace(NODES[0], state="down"), replace(NODES[1], weight=0.0), *NODES[2:])
    cluster_map = newer(nodes=nodes)
    again = ClusterMap.from_bytes(cluster_map.to_bytes())
    assert again == cluster_map
    assert again.fingerprint() == cluster_map.fingerprint()
    assert msgpack.unpackb(cluster_map.to_bytes())[0] == 3
    assert msgpack.unpackb(MAP.to_bytes())[0] == 2, "a map of form 1 is what it always was"


def test_form_2_says_where_each_group_is_and_goes() -> None:
    cluster_map = newer()
    assert cluster_map.replica_set(0) == (1, 2, 3)
    assert cluster_map.replica_set(6) == (1, 2, 4, 3) == cluster_map.replicas_of(5)
    move = cluster_map.move_of(6)
    assert move is not None
    assert (move.added, move.removed) == ((4,), (3,))
    assert cluster_map.move_of(1) is None
    for group_id in range(-1, cluster_map.shard_count + 2):
        found = [each for each in cluster_map.moves if each.group_id == group_id]
        assert cluster_map.move_of(group_id) == (found[0] if found else None)
    assert cluster_map.node_named("n2") == NODES[1]
    assert cluster_map.node_named("n9") is None
    assert replace(MAP, settings=(("a", "1"),)).setting("a") == "1"
    assert MAP.setting("a") == ""


def test_a_node_id_is_never_free_again() -> None:
    cluster_map = newer().with_node(make_node(9))
    assert cluster_map.next_node_id == 10
    assert cluster_map.without_node(9).next_node_id == 10
    assert ClusterMap.from_bytes(cluster_map.without_node(9).to_bytes()).next_node_id == 10


def test_a_lost_node_leaves_its_addresses_to_the_one_that_replaces_it() -> None:
    lost = replace(NODES[0], name="n1~1", state="lost")
    heir = replace(make_node(9), name="n1", peer_address=NODES[0].peer_address)
    cluster_map = newer().with_nodes([lost, heir])
    assert cluster_map.node(9).peer_address == cluster_map.node(1).peer_address
    with pytest.raises(MapError, match="share the peer_address"):
        newer().with_nodes([heir, replace(NODES[0], name="n1~1")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": 1}, "a map of form 1 says what only maps of form 2 can say"),
        ({"form": 3}, "form is 3"),
        ({"directory": ()}, "the directory: replicas are"),
        ({"directory": (1, 7)}, "the directory: replica 7 is not a node of the map"),
        ({"directory": (1, 1)}, "the directory: a node appears twice"),
        ({"next_node_id": 4}, "next_node_id is 4"),
        ({"change": "a\n"}, "change is"),
        ({"change": "x" * 1025}, "change is"),
        ({"is_paused": 1}, "is_paused is 1"),
        ({"moves": []}, "moves is list"),
        ({"moves": ((1, (1,), (2,), 0),)}, "a move is tuple"),
        ({"moves": (Move(9, (1,), (2,)),)}, "the group of a move is 9"),
        ({"moves": (Move(6, (1, 2, 3), (4, 1, 2), 7),)}, "decided is 7"),
        ({"moves": (Move(6, (1, 2, 3), (4, 1, 2)),)}, "the replica set is .*, expected"),
        ({"moves": (Move(6, (1, 2, 3), (4, 1, 7), 5),)}, "replica 7 is not a node"),
        ({"moves": (Move(6, (1, 2, 3), (), 5),)}, "replicas are"),
        ({"moves": tuple(reversed(newer().moves))}, "the group of a move is 3"),
        ({"nodes": (replace(NODES[0], state="gone"), *NODES[1:])}, "state is 'gone'"),
    ],
)
def test_a_map_of_form_2_that_contradicts_itself_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MapError, match=message):
        newer(**changes)


# --- for clients that read older forms


def elastic_map() -> ClusterMap:
    """Of form 2, with all that form 1 cannot say: c was replaced by d, at its addresses."""
    nodes = (
        NodeInfo(1, "a", "a:1", "a:2", "", "", 1.0, state=DRAINING),
        NodeInfo(2, "b", "b:1", "b:2", "", "", 0.0),
        NodeInfo(3, "c~3", "c:1", "c:2", "", "", 1.0, state=LOST),
        NodeInfo(4, "c", "c:1", "c:2", "", "", 1.0),
    )
    return ClusterMap(
        epoch=9,
        cluster_id="x",
        shard_count=4,
        replication=2,
        nodes=nodes,
        replica_sets=((1, 3), (4, 1), (3,), (1, 4, 3)),
        started=15,
        settings=(("replication", "2"),),
        form=2,
        directory=(1, 4),
        moves=(Move(4, (1, 3), (1, 4), 8),),
        next_node_id=5,
        change="replace c",
    )


def test_a_client_of_form_1_finds_its_way_by_a_map_of_form_2() -> None:
    elastic = elastic_map()
    assert elastic.bytes_for(2) == elastic.bytes_for(3) == elastic.to_bytes()
    seen = ClusterMap.from_bytes(elastic.bytes_for(1))
    assert seen.form == 1
    assert (seen.epoch, seen.cluster_id, seen.shard_count) == (9, "x", 4)
    assert [(node.node_id, node.name) for node in seen.nodes] == [(1, "a"), (2, "b"), (4, "c")]
    assert min(node.weight for node in seen.nodes) > 0, "form 1 knows no gateways"
    assert seen.replica_sets == ((1,), (4, 1), (1,), (1, 4))
    assert seen.moves == ()


def test_a_map_of_form_1_is_the_same_for_all_clients() -> None:
    plain = replace(elastic_map(), nodes=NODES_OF_FORM_1, replica_sets=((1, 2),) * 4, **FORM_1)
    assert plain.bytes_for(1) == plain.bytes_for(2) == plain.to_bytes()


NODES_OF_FORM_1 = tuple(NodeInfo(n, f"n{n}", f"h:{n}", f"h:{n + 10}", "", "", 1.0) for n in (1, 2))
FORM_1: dict[str, Any] = {
    "form": 1,
    "directory": (),
    "moves": (),
    "next_node_id": 0,
    "change": "",
    "founding_sets": (),
}
