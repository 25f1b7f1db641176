"""How much memory a node may use for items, and which writes have to be refused for it.

Without eviction the node's own count decides, and what the other nodes of a shard said of theirs.
With it a leader keeps each shard below its share (`housekeeping/memory_round.py`), and every item
finds room, except one that is larger than its shard may ever become.

A large item of a small shard would drive out all the others there. So its leader *lends* the shard
what nobody was granted of the nodes' memories: the item is there at once. In the next seconds the
shares follow. What they cover is lent no more, and where memory is short all shards give the rest
back together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from quorumcache.node.replica.evicting import memory_ahead

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup

LARGE_PARTS: Final = 16
"""An item is large from this part of its shard's share on."""

WHOLE_BYTES_MAX: Final = 1 << 20
"""What announces more is the first piece of an upload."""

ITEM_EXTRA_BYTES: Final = 192
"""More than an item takes beside its key and its value, places in tables included."""

WANTED_SECONDS: Final = 10
"""So long does a leader ask for the room that an item lacked: its client may try again."""

LENT_EXTRA_PARTS: Final = 64
"""A loan is one part of so many larger than its item: for tables that grow meanwhile, and for the
pieces of a large value, each of which costs a little. Or the item would be its own victim."""

BORROWED_PARTS: Final = 16
"""A shard of small items that grows is lent at least one part of so many of its share at once."""

LENT_SECONDS: Final = 4
"""So long does a shard keep what it was lent: two for the nodes to grant it as much and to say so,
and two more for those that are late."""

LENT_PARTS: Final = 4
"""After that, of what a shard was lent one part of so many is called back in a second."""

LENT_BYTES_MIN: Final = 4 << 10
"""Less than this is called back as a whole."""


class Loan(NamedTuple):
    """What a shard may take beyond its share."""

    bytes: int
    made: int
    """The same, before anything was called back: a node that spoke before knows nothing of it."""
    level: int
    """Its share together with what it was lent: what all that was let in takes at most."""
    seconds: int
    """Since more was lent last."""
    unused: int
    """Of the bytes, what the shard did not take when it was looked at last."""


def _taken(group: ReplicaGroup) -> int:
    """What the shard takes when all that was let in is there."""
    machine = group.machine
    return memory_ahead(machine, group.growing_bytes) + machine.promised_bytes


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
        self.lendable_bytes = 0
        """What this node may still lend its shards: the least that any node of theirs has granted
        to nobody."""
        self.reserve_bytes = 0
        """The part of it that is there for large items alone."""
        self.wanted: dict[int, tuple[int, int]] = {}
        """Bytes that a group wants to be able to hold, and for how many seconds more."""
        self._loans: dict[int, Loan] = {}
        self.decide_now: Callable[[], None] = _nothing
        """Gives every shard here its share at once."""

    def used_bytes(self, item_bytes: int) -> int:
        """What all items take with their tables. `item_bytes`: without them."""
        return item_bytes + self.table_bytes

    def refuses(self, group: ReplicaGroup, size: int, item_bytes: int) -> bool:
        """Whether a command that stores `size` bytes of key and value is refused at this leader.
        `size` 0: it brings what was let in before. `item_bytes`: what all items of the node take.
        """
        if group.may_evict:
            if not group.share_bytes:
                self.decide_now()  # It leads since the last round, or there was none yet.
            if group.share_bytes:
                is_large = size > WHOLE_BYTES_MAX or size * LARGE_PARTS > group.share_bytes
                return is_large and not self._fits(group, size)
        if self.used_bytes(item_bytes) + size > self.memory_bytes:
            return True
        free = self.free_bytes.get(group.group_id)
        if free is not None:
            # What was let in before is refused only where nothing at all is free.
            expected = self._stored_before + self._stored_bytes + size if size else 1
            if expected > free:
                return True
        self._stored_bytes += size
        return False

    def _fits(self, group: ReplicaGroup, size: int) -> bool:
        """Make room for a large item as far as that is possible."""
        cost = size + size // LENT_EXTRA_PARTS + ITEM_EXTRA_BYTES
        group_id = group.group_id
        if cost > self.most_bytes.get(group_id, cost):
            return False
        share = group.share_bytes
        lent = max(0, min(_taken(group) + cost - share, cost, self.lendable_bytes))
        if cost > share + lent:
            self.wanted[group_id] = (cost, WANTED_SECONDS)
            return False
        if size > WHOLE_BYTES_MAX and group.machine.uploading_bytes + cost > share + lent:
            return False  # Nothing that could be evicted makes room for all of them.
        if lent:
            self._lend(group, lent)
        return True

    def waits(self, group: ReplicaGroup, size: int) -> bool:
        """Whether an upload that was refused just now has room once others have ended."""
        if not group.evicts or not group.machine.uploading_bytes:
            return False
        return size + size // LENT_EXTRA_PARTS + ITEM_EXTRA_BYTES <= group.share_bytes

    # -- lending -------------------------------------------------------------------------------

    def borrow(self, group: ReplicaGroup, over: int) -> int:
        """A shard that would evict for `over` bytes is lent them, and a little more, while there is
        memory that nobody was granted. Answers its share.
        """
        share = group.share_bytes
        lent = min(max(over, share // BORROWED_PARTS), self.lendable_bytes - self.reserve_bytes)
        if lent > 0:
            self._lend(group, lent)
        return group.share_bytes

    def _lend(self, group: ReplicaGroup, lent: int) -> None:
        before = self._loans.get(group.group_id)
        self.lendable_bytes -= lent
        group.share_bytes += lent
        in_all, made = (before.bytes + lent, before.made + lent) if before else (lent, lent)
        self._loans[group.group_id] = Loan(in_all, made, group.share_bytes, 0, in_all)

    def lent_to(self, group_id: int) -> int:
        """What the group may hold beyond its share now."""
        loan = self._loans.get(group_id)
        return loan.bytes if loan is not None else 0

    def lent_lately(self, seconds: int) -> int:
        """What is lent, and a node that spoke so long ago may take for free: all that was lent
        since, and of the rest what is not used.
        """
        return sum(
            loan.made if loan.seconds <= seconds else loan.unused for loan in self._loans.values()
        )

    def cover(self, group: ReplicaGroup, share_bytes: int) -> int:
        """The group's share is this now, and what that covers of a loan is lent no more. Answers
        what is lent beyond it.
        """
        group_id = group.group_id
        loan = self._loans.get(group_id)
        if loan is None:
            return 0
        not_covered = loan.level - share_bytes
        left = min(loan.bytes, not_covered)
        if left < LENT_BYTES_MIN:
            del self._loans[group_id]
            return 0
        unused = max(0, min(left, share_bytes + left - _taken(group)))
        made = min(loan.made, not_covered)
        self._loans[group_id] = loan._replace(bytes=left, made=made, unused=unused)
        return left

    def pass_second(self) -> None:
        """A part of what was lent long ago is called back, and old wishes are forgotten."""
        self._stored_before, self._stored_bytes = self._stored_bytes, 0
        for group_id, loan in list(self._loans.items()):
            left = loan.bytes
            if loan.seconds >= LENT_SECONDS:
                left -= -(-left // LENT_PARTS)
            if left >= LENT_BYTES_MIN:
                self._loans[group_id] = loan._replace(bytes=left, seconds=loan.seconds + 1)
            else:
                del self._loans[group_id]
        for group_id, (wanted, seconds) in list(self.wanted.items()):
            if seconds > 1:
                self.wanted[group_id] = (wanted, seconds - 1)
            else:
                del self.wanted[group_id]

    def forget(self, group_id: int) -> None:
        """This node does not lead the group any more."""
        self._loans.pop(group_id, None)
        self.wanted.pop(group_id, None)
        self.most_bytes.pop(group_id, None)
