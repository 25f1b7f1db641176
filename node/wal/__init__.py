"""The log on disk, the snapshots beside it, and the directory that holds them.

Reading order: `format`, `segment`, `groups`, `recovery`, `wal`; then `snapshots`, `identity` and
`memory` on their own. docs/storage.md argues why a crash at any point loses nothing.
"""

from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.identity import Identity, encode_identity, lock_data_dir, read_identity
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.node.wal.recovery import RecoveredGroup
from quorumcache.node.wal.snapshots import SnapshotStore
from quorumcache.node.wal.wal import Wal

__all__ = [
    "Identity",
    "MemoryWal",
    "RecoveredGroup",
    "SnapshotStore",
    "Wal",
    "WalRecord",
    "encode_identity",
    "lock_data_dir",
    "read_identity",
]
