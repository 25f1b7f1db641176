"""Where a key lives: hashing, the ring, placement of shards, the cluster map. Pure; knows nobody.

Read hashing.py, hash_ring.py, placement.py, cluster_map.py, rebalance.py, in this order.
"""

from ring.cluster_map import ClusterMap, NodeInfo
from ring.errors import MapError, PlacementError, RingError
from ring.hashing import key_token, shard_of
from ring.placement import place

__all__ = [
    "ClusterMap",
    "MapError",
    "NodeInfo",
    "PlacementError",
    "RingError",
    "key_token",
    "place",
    "shard_of",
]
