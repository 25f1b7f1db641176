"""Where a key lives: hashing, the ring, placement of shards, the cluster map. And what nodes,
clients and commands have in common: addresses, sizes, host names, streams. Imports no other part.

Read in this order: errors.py; address.py and size.py (how users write them), secret.py (proofs that
somebody knows the cluster's secret), hashing.py (key to shard), hash_ring.py (members by virtual
nodes), node_info.py, move.py, map_form.py and cluster_map.py (the value everyone shares),
shares.py, board.py, leaders.py and placement.py (which node holds which shard), rebalance.py (from
one map to the next). All of these are pure. names.py (host names to addresses) and streams.py
(standard streams) touch the world: nothing here imports them.
"""

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.errors import MapError, PlacementError, RingError
from quorumcache.ring.hash_ring import HashRing
from quorumcache.ring.hashing import key_token, shard_of
from quorumcache.ring.move import Move
from quorumcache.ring.node_info import NodeInfo, check_node, is_disk_id
from quorumcache.ring.placement import place
from quorumcache.ring.rebalance import MoveReport, moves, report

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
