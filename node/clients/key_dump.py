"""`lru_crawler metadump` and `mgdump`: the keys of the shards that this node leads.

So a client that asks all nodes gets each key of the cluster, while no leader changes. A shard is
listed step by step, and each key is looked up when its turn comes: what is stored or deleted
meanwhile may or may not be listed. A key that stays is listed, and seldom twice: only where the
table of the shard was rebuilt meanwhile.

KEYS_PER_TURN keys are written in one turn of the loop, and none while the client does not read, so
a dump holds nobody up. One dump runs at a time, as in memcached.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Final
from urllib.parse import quote_from_bytes

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.protocol.requests import ITEM_CLASS, KeyDump
from quorumcache.node.protocol.responses import END_LINE, OK_LINE
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.item import ENDS, item_cost, item_flags, unpack_header
from quorumcache.node.store.store import ShardStore, shard_store

KEYS_PER_TURN: Final = 100
"""About a third of a millisecond."""

META_END_LINE: Final = b"EN\r\n"

_NOT_IN_A_LINE: Final = b" \r\n\0"
"""Bytes that the key of a text line cannot hold: a key with one of them is shown in base64."""


class KeyDumping:
    """A dump under way. It runs alone on its connection; see the module docstring."""

    def __init__(self, conversation: Conversation, request: KeyDump) -> None:
        self._conversation = conversation
        self._replies = conversation.replies
        slot = conversation.replies.take_slot()
        assert slot is not None
        self._slot = slot
        self._has_ended = False
        self._is_meta = request.is_meta
        groups = conversation.context.groups
        self._groups = [n for n in sorted(groups, reverse=True) if n != DIRECTORY_GROUP_ID]
        """Groups that are still to come, the next one last."""
        if not request.has_items:
            self._groups.clear()
        self._group: ReplicaGroup | None = None
        self._is_scanning = False
        self._cursor = 0
        """Whether, and where, the scan of that group's keys goes on."""
        self._keys: list[bytes] = []
        """What the last step of the scan has found, and is still to come, the next one last."""

    def is_running(self) -> bool:
        """Until it has ended, or its client has gone."""
        return not self._has_ended and self._replies.is_open

    def start(self) -> None:
        """Begin."""
        self._say(OK_LINE)
        self._go_on()

    def _say(self, data: bytes) -> None:
        self._slot.pieces.append(data)
        self._replies.reply_bytes += len(data)
        self._replies.release()

    def _go_on(self) -> None:
        """What one turn of the loop has time for."""
        lines: list[bytes] = []
        looked_at = 0
        while looked_at < KEYS_PER_TURN and self._has_more():
            if self._keys:
                looked_at += self._list(KEYS_PER_TURN - looked_at, lines)
            elif self._is_scanning:
                self._scan()
            else:
                looked_at += 1
                self._open(self._groups.pop())
        conversation = self._conversation
        conversation.counters.crawler_items_checked += looked_at
        if lines:
            self._say(b"".join(lines))
        if self._has_more():
            conversation.unfinished = self._go_on
            self._replies.schedule_pump()
        else:
            self._has_ended = True
            conversation.ended_alone()
            self._replies.fill(self._slot, META_END_LINE if self._is_meta else END_LINE)

    def _has_more(self) -> bool:
        return bool(self._keys or self._is_scanning or self._groups)

    def _open(self, group_id: int) -> None:
        group = self._conversation.context.groups.get(group_id)
        if group is not None and group.is_leader:
            self._group = group
            self._is_scanning = True
            self._cursor = 0

    def _scan(self) -> None:
        """Get the next keys of the group."""
        assert self._group is not None
        items = shard_store(self._group.machine).items
        self._cursor, self._keys = items.keys_after(self._cursor, KEYS_PER_TURN)
        self._keys.reverse()
        self._is_scanning = self._cursor != 0

    def _list(self, count: int, lines: list[bytes]) -> int:
        """Write up to `count` keys of the group; how many were looked at."""
        assert self._group is not None
        store = shard_store(self._group.machine)
        now_ms = self._group.now_ms()
        keys = self._keys[-count:]
        del self._keys[-count:]
        keys.reverse()
        if store.flush_due(now_ms):
            return len(keys)
        ahead_ms = self._conversation.context.controls.wall_ms() - now_ms
        for key in keys:
            item = store.items.get(key)
            if item is None:
                continue
            bits, ends_ms, unique = unpack_header(item)
            if bits & ENDS and ends_ms <= now_ms:
                continue
            if self._is_meta:
                lines.append(_mgdump_line(key))
            else:
                exp = (ends_ms + ahead_ms) // 1000 if bits & ENDS else -1
                lines.append(_metadump_line(store, key, item, exp, unique, ahead_ms))
        return len(keys)


def _metadump_line(
    store: ShardStore, key: bytes, item: bytes, exp: int, unique: int, ahead_ms: int
) -> bytes:
    """`exp`: Unix seconds, -1 for never. `ahead_ms`: from cluster time to Unix time."""
    was_hit, last_access_s = store.hint(key)
    return b"key=%b exp=%d la=%d cas=%d fetch=%b cls=%d size=%d flags=%d\n" % (
        quote_from_bytes(key, safe="").encode(),
        exp,
        last_access_s + ahead_ms // 1000,
        unique,
        b"yes" if was_hit else b"no",
        ITEM_CLASS,
        item_cost(key, item),  # What the item takes of this node's memory.
        item_flags(item),
    )


def _mgdump_line(key: bytes) -> bytes:
    """A command that reads the key."""
    if any(byte in key for byte in _NOT_IN_A_LINE):
        return b"mg %b b\r\n" % b2a_base64(key, newline=False)
    return b"mg %b\r\n" % key
