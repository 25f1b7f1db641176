"""`cluster txn` of the scripted cluster: one dictionary for all shards, so a commit is one step.

It keeps what the wire promises: an identity is executed once, a decision is remembered until the
transaction's deadline, and past it nothing is done. `now_ms`: the cluster's time; a test moves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.fake_cluster import FakeCluster

VERSION_BASE = 1 << 63
"""Versions are large numbers here, as a real node's are."""


class FakeTransactions:
    """`records`: what each identity was answered. `blocks`: those that were executed, in order."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.now_ms = 1_000
        self.begun = 0
        self.records: dict[bytes, bytes] = {}
        self.blocks: list[bytes] = []
        self.large: set[bytes] = set()
        self.knows_snapshots = True

    def answer(self, words: list[bytes], block: bytes, moved_of: Any) -> bytes:
        """The words behind `cluster txn`. `moved_of`: the redirect for some keys, if one is due."""
        if not words:
            return b"OK\r\n"
        if words[0] == b"begin":
            self.begun += 1
            deadline_ms = self.now_ms + int(words[1] if words[1:] else b"5000")
            # Clients count on from it at its end.
            return b"TXN %016x%016x %d\r\n" % (self.begun, self.begun, deadline_ms)
        if words[0] == b"get":
            moved: bytes = moved_of(words[1:])
            return moved or self._get(words[1:])
        if words[0] == b"snapshot":
            return self._get(words[2:]) if self.knows_snapshots else b"CLIENT_ERROR usage: ...\r\n"
        assert words[0] == b"commit"
        return self._commit(words[1], int(words[2]), block)

    def forget(self) -> None:
        """As after the deadlines: every record has gone."""
        self.records.clear()
        self.now_ms += 60_000

    def _version(self, key: bytes) -> int:
        known = self.cluster.items.get(key)
        return 0 if known is None else VERSION_BASE + known[2]

    def _get(self, keys: list[bytes]) -> bytes:
        lines = []
        for key in keys:
            if key in self.large:
                return b"CLIENT_ERROR large value: it can not be part of a transaction\r\n"
            known = self.cluster.items.get(key)
            if known is not None:
                flags, value, _ = known
                head = b"VALUE %b %b %d %d\r\n" % (key, flags, len(value), self._version(key))
                lines.append(head + value + b"\r\n")
        return b"".join(lines) + b"END\r\n"

    def _commit(self, transaction: bytes, deadline_ms: int, block: bytes) -> bytes:
        if transaction in self.records:
            return self.records[transaction]
        if self.now_ms >= deadline_ms:
            return b"TOO_LATE\r\n"
        answer = self.records[transaction] = self._decide(block)
        if answer == b"COMMITTED\r\n":
            self.blocks.append(block)
        return answer

    def _decide(self, block: bytes) -> bytes:
        writes: list[tuple[bytes, bytes, bytes | None]] = []
        checked: set[bytes] = set()
        while block:
            line, _, block = block.partition(b"\r\n")
            words = line.split(b" ")
            key = words[1]
            if words[0] == b"set":
                size = int(words[4])
                assert block[size : size + 2] == b"\r\n"
                writes.append((key, words[2], block[:size]))
                block = block[size + 2 :]
            elif words[0] == b"delete":
                writes.append((key, b"", None))
            else:
                assert key not in checked
                checked.add(key)
                version = self._version(key)
                holds = version == int(words[2]) if words[0] == b"check" else version > 0
                if not holds and not (words[0] == b"present" and key in self.large):
                    return b"CONFLICT %b\r\n" % key
        assert len({key for key, *_ in writes}) == len(writes)
        for key, flags, value in writes:
            if value is None:
                self.cluster.items.pop(key, None)
            else:
                self.cluster.put(key, flags, value)
        return b"COMMITTED\r\n"
