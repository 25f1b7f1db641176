"""Where a key lives: hashing, the ring, placement of shards, the cluster map. Pure; knows nobody.

Read in this order: hashing.py (key to shard), hash_ring.py (members by virtual nodes),
cluster_map.py (the value everyone shares), placement.py with shares.py, board.py and leaders.py
(which node holds which shard), rebalance.py (from one map to the next).
"""

from quorumcache.ring.cluster_map import ClusterMap, NodeInfo, check_node, is_disk_id
from quorumcache.ring.errors import MapError, PlacementError, RingError
from quorumcache.ring.hash_ring import HashRing
from quorumcache.ring.hashing import key_token, shard_of
from quorumcache.ring.placement import place
from quorumcache.ring.rebalance import Move, MoveReport, moves, report

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
