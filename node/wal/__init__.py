"""The log on disk.

Reading order: `format`, `segment`, `groups`, `newest`, `recovery`; `queue`, `chain`, `wal`; then
`memory`. docs/storage.md argues why a crash at any point loses nothing.
"""

from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.node.wal.recovery import RecoveredGroup
from quorumcache.node.wal.wal import Wal

__all__ = [
    "MemoryWal",
    "RecoveredGroup",
    "Wal",
    "WalRecord",
]
