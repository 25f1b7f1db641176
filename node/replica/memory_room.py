"""How much memory a node may use for items, and which writes have to be refused for it.

Without eviction the node's own count decides, and what the other nodes of a shard said of theirs.
With it a leader keeps each shard below its share (`housekeeping/memory_round.py`), and every item
finds room, except one that is larger than its shard may ever become.

A large item of a small shard would drive out all the others there. So its leader *lends* the shard
what it may have of the nodes' reserves: the item is there at once, and as the shares follow, all
shards give the memory back together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.replica.evicting import memory_ahead

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup

LARGE_PARTS: Final = 16
"""An item is large from this part of its shard's share on."""

ITEM_EXTRA_BYTES: Final = 192
"""More than an item takes beside its key and its value, places in tables included."""

WANTED_SECONDS: Final = 10
"""So long does a leader ask for the room that an item lacked: its client may try again."""

LENT_PARTS: Final = 4
"""Of what a shard was lent, one part of so many is called back in a second."""

LENT_BYTES_MIN: Final = 4 << 10
"""Less than this is called back as a whole."""


def _nothing() -> None:
    """Stands in for a round that is not there."""


class MemoryRoom:
    """See the module. What other nodes tell comes in by `housekeeping/memory_round.py`."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        """What items may take on this node: the setting, or what an operator has made of it."""
        self.table_bytes = 0
        """What the tables of all replicas take beside the items, as of the last look."""
        self.free_bytes: dict[int, int] = {}
        """Without eviction: for each group, the least that another of its nodes has free for what
        this node leads, as it said last."""
        self._stored_bytes = 0
        self._stored_before = 0
        """What was let in since the last look, and between the two before: the others count it a
        little later."""
        self.most_bytes: dict[int, int] = {}
        """The largest item that each group can ever hold, by what its nodes said last."""
        self.lent_bytes_max = 0
        """What this node may lend its shards together: the least that any node has in reserve for
        the shards that it leads."""
        self.wanted: dict[int, tuple[int, int]] = {}
        """Bytes that a group wants to be able to hold, and for how many seconds more."""
        self._lent: dict[int, int] = {}
        self.decide_now: Callable[[], None] = _nothing
        """Gives every shard here its share at once."""

    def used_bytes(self, item_bytes: int) -> int:
        """What all items take with their tables. `item_bytes`: without them."""
        return item_bytes + self.table_bytes

    def refuses(self, group: ReplicaGroup, size: int, item_bytes: int) -> bool:
        """Whether a command that stores `size` bytes of key and value is refused at this leader.
        `item_bytes`: what all items of the node take.
        """
        if group.may_evict:
            if not group.share_bytes:
                self.decide_now()  # It leads since the last round, or there was none yet.
            if group.share_bytes:
                return size * LARGE_PARTS > group.share_bytes and not self._fits(group, size)
        if self.used_bytes(item_bytes) + size > self.memory_bytes:
            return True
        free = self.free_bytes.get(group.group_id)
        if free is not None and self._stored_before + self._stored_bytes + size > free:
            return True
        self._stored_bytes += size
        return False

    def _fits(self, group: ReplicaGroup, size: int) -> bool:
        """Make room for a large item as far as that is possible."""
        cost = size + ITEM_EXTRA_BYTES
        group_id = group.group_id
        if cost > self.most_bytes.get(group_id, cost):
            return False
        over = memory_ahead(group.machine, group.growing_bytes) + cost - group.share_bytes
        if over > 0:
            group.share_bytes += self._lend(group_id, min(over, cost))
        if cost <= group.share_bytes:
            return True
        self.wanted[group_id] = (cost, WANTED_SECONDS)
        return False

    # -- lending -------------------------------------------------------------------------------

    def lent_to(self, group_id: int) -> int:
        """What the group may hold beyond its share now."""
        return self._lent.get(group_id, 0)

    def _lend(self, group_id: int, size: int) -> int:
        lent = max(0, min(size, self.lent_bytes_max - sum(self._lent.values())))
        if lent:
            self._lent[group_id] = self.lent_to(group_id) + lent
        return lent

    def pass_second(self) -> None:
        """A part of what was lent is called back, and old wishes are forgotten."""
        self._stored_before, self._stored_bytes = self._stored_bytes, 0
        for group_id, lent in list(self._lent.items()):
            left = lent - -(-lent // LENT_PARTS)
            if left >= LENT_BYTES_MIN:
                self._lent[group_id] = left
            else:
                del self._lent[group_id]
        for group_id, (wanted, seconds) in list(self.wanted.items()):
            if seconds > 1:
                self.wanted[group_id] = (wanted, seconds - 1)
            else:
                del self.wanted[group_id]

    def forget(self, group_id: int) -> None:
        """This node does not lead the group any more."""
        self._lent.pop(group_id, None)
        self.wanted.pop(group_id, None)
        self.most_bytes.pop(group_id, None)
