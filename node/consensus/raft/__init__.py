"""Raft behind the `ReplicatedLog` interface.

Read in this order: `messages`, `state`, `roles`, `core`, `election`, `replication`, `commit`,
`heartbeats`, `reads`, then `proposals`, `configurations`, `membership`, `transfer`, `snapshots`,
`wire`.
"""

from quorumcache.node.consensus.raft.core import Raft

__all__ = ["Raft"]
