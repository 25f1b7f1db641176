"""Where a key lives: hashing, the ring, placement of shards, the cluster map. Pure; knows nobody.

Read in this order: hashing.py (key to shard), hash_ring.py (members by virtual nodes),
cluster_map.py (the value everyone shares), placement.py with shares.py, board.py and leaders.py
(which node holds which shard), rebalance.py (from one map to the next).
"""

from ring.cluster_map import ClusterMap, NodeInfo, check_node, is_disk_id
from ring.errors import MapError, PlacementError, RingError
from ring.hash_ring import HashRing
from ring.hashing import key_token, shard_of
from ring.placement import place
from ring.rebalance import Move, MoveReport, moves, report

__all__ = [
    "ClusterMap",
    "HashRing",
    "MapError",
    "Move",
    "MoveReport",
    "NodeInfo",
    "PlacementError",
    "RingError",
    "check_node",
    "is_disk_id",
    "key_token",
    "moves",
    "place",
    "report",
    "shard_of",
]
