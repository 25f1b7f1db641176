"""Where a key lives: hashing, the ring, placement of shards, the cluster map, and how a map follows
from the one before. And what nodes, clients and commands have in common: addresses, sizes, host
names, streams. Imports no other part.

Read in this order: errors.py; address.py and size.py (how users write them), secret.py (proofs that
somebody knows the cluster's secret), hashing.py (key to shard), hash_ring.py (members by virtual
nodes), node_info.py, move.py, map_form.py and cluster_map.py (the value everyone shares),
shares.py, board.py, leaders.py and placement.py (which node holds which shard), stand_ins.py (who
leads while a node is away). From one map to the next: settings.py (what can be changed),
cluster_view.py (what is known of the cluster now), draft.py (a map in the making),
directory_set.py, detours.py and plan.py (where each group should be), healing.py (nodes that come,
die and leave), pacing.py (which moves start), moves.py (the directory's own step); estimate.py,
cancelling.py, words.py, refusals.py, node_changes.py and changes.py (what operators ask for, and
nodes that join), vouching.py (a node that is dead before the map has its second form). forbidden.py
(errors of system calls that the system forbids) is for processes. All of these are pure. names.py
(host names to addresses), streams.py (standard streams) and local_control.py (a local cluster's
socket) touch the world: nothing here imports them.
"""

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.cluster_view import ClusterView, GroupReport
from quorumcache.ring.errors import ChangeRefused, MapError, PlacementError, RingError
from quorumcache.ring.hash_ring import HashRing
from quorumcache.ring.hashing import key_token, shard_of
from quorumcache.ring.move import Move
from quorumcache.ring.node_info import NodeInfo, check_node, is_disk_id
from quorumcache.ring.placement import place

__all__ = [
    "ChangeRefused",
    "ClusterMap",
    "ClusterView",
    "GroupReport",
    "HashRing",
    "MapError",
    "Move",
    "NodeInfo",
    "PlacementError",
    "RingError",
    "check_node",
    "is_disk_id",
    "key_token",
    "place",
    "shard_of",
]
