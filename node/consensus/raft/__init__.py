"""Raft behind the `ReplicatedLog` interface.

Reading order: `messages`, `state`, `configurations`, `roles`, `proposals`, `reads`, `membership`,
`commit`, `transfer`, `replication`, `snapshots`, `heartbeats`, `election`, then `core` (dispatches
to all of them) and `wire`.
"""

from quorumcache.node.consensus.raft.core import Raft

__all__ = ["Raft"]
