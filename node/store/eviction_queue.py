"""In which order items leave when memory is short: S3-FIFO over the items of a shard.

Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction" (SOSP 2023). A new
item goes to the *small* queue. If it is hit there, it is moved to the *main* queue when its turn to
leave comes; otherwise it leaves, and its key becomes a *ghost*. A key that comes back while it is a
ghost goes to the main queue at once. What reaches the head of the main queue goes round again as
often as it was hit, three times at most. So what is asked for once (a scan) passes through the
small queue and leaves the rest alone, and a hit moves nothing.

How much the small queue may hold adapts, as in ARC (Megiddo, Modha, FAST 2003) and S3-FIFO-D: keys
that come back after they left the small queue make it larger, those that left the main queue make
it smaller. While it is large, recency counts for more than frequency, so the main queue forgets
all hits of an item in one round. docs/eviction.md has the measurements behind the numbers.

Everything here is a hint of this replica: queues and stamps are in no log, digest or snapshot. Only
the leader chooses victims (`victims`), and they leave through the log (OP_EVICT). A victim that is
chosen is *planned*, outside of both queues, until that is applied or the leadership is lost.

Both queues, and the stamps in them, are those of the items' table (`item_table.py`, `stamps.py`).
"""

from collections.abc import Sequence
from typing import Final

from mmh3 import mmh3_x64_128_digest

from quorumcache.node.state_machine import Eviction
from quorumcache.node.store.commands import OP_EVICT, own_command
from quorumcache.node.store.ghosts import GhostTable
from quorumcache.node.store.hot_keys import HotKeys
from quorumcache.node.store.item import item_cost
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.stamps import (
    FETCHED,
    HITS,
    HITS_MAX,
    MAIN,
    NOW_S_MAX,
    PLANNED,
    SECOND_SHIFT,
    SMALL,
)

SMALL_PARTS: Final = 10
SMALL_PARTS_MIN: Final = 2
SMALL_PARTS_MAX: Final = 50
"""The small queue has one part of so many of the bytes: at first, at most and at least."""

RECENCY_PARTS: Final = 5
"""With a larger small queue than one part of so many, hits last one round of the main queue."""

STEP_MAX: Final = 10
"""Items by which one ghost that comes back moves the bound between the queues, at most."""

GHOST_PARTS: Final = 2
"""Each queue remembers one ghost for so many items."""

ROOMY_TIMES: Final = 2
"""An item stays for one hit if it takes up to so many times the mean, for two hits if up to twice
that, and for HITS_MAX hits whatever it takes. So large items do not drive out many small ones that
are asked for as often."""

VICTIMS_MAX: Final = 1024
"""Victims of one plan: with keys of 250 bytes a quarter of a log entry's usual size."""

STEPS_MAX: Final = 8 * VICTIMS_MAX
"""Items that one plan may move on instead of choosing them. When all items were hit, whoever comes
first has to leave after so many; a full search would hold up the loop for as long as the queue is.
"""

_digest: Final = mmh3_x64_128_digest


def _token(key: bytes) -> int:
    """The last 48 bits of a key's token (`ring/hashing.py`): by them ghosts and hot keys are known.
    They fit a small int of compiled code. The first bits are the same for all keys of a shard.
    """
    digest = _digest(key, 0)
    low = digest[0] | digest[1] << 8 | digest[2] << 16
    return low | digest[3] << 24 | digest[4] << 32 | digest[5] << 40


class EvictionQueue:
    """See the module."""

    __slots__ = (
        "_active",
        "_hot",
        "_hot_left",
        "_items",
        "_leads",
        "_led_s",
        "_main_ghosts",
        "_second",
        "_small_ghosts",
        "_unfetched",
        "has_ghosts",
        "now_s",
        "small_target_bytes",
    )

    def __init__(self, items: ItemTable) -> None:
        """A queue of the items of `items`. It moves them, and is told of those that come anew."""
        self._items = items
        self._second = 1
        """The present second of cluster time."""
        self.now_s = 1
        """The same for the stamps of accesses: its last bits, and never 0. No stamp is."""
        self.small_target_bytes = 0
        """What the small queue may hold before it gives victims; 0 until the first time."""
        self._small_ghosts = GhostTable()
        self._main_ghosts = GhostTable()
        self.has_ghosts = False
        """`added` has to be told of new items."""
        self._hot: HotKeys | None = None
        self._hot_left = 0
        """What an earlier leader said of hits, and for how many more victims it is asked: each item
        is spared once for it."""
        self._unfetched = self._active = 0
        self._leads = True
        """This replica leads: it notes every access."""
        self._led_s = 0
        """Since when, in seconds of cluster time. Of the time before, stamps may be wrong."""

    def succeed(self, other: "EvictionQueue") -> None:
        """Take over what another queue of the same shard, which ends, knows of hits."""
        self._hot = other._hot
        self._hot_left = len(self._items)
        self._leads, self._led_s = other._leads, other._led_s

    def lead(self, leads: bool, now_ms: int) -> None:
        """This replica leads its group from now on, at `now_ms` of cluster time, or does not."""
        if leads and not self._leads:
            self.tick(now_ms)
            self._led_s = self._second
        self._leads = leads

    @property
    def memory_bytes(self) -> int:
        """What the ghosts take: the queues are the table's."""
        return self._small_ghosts.memory_bytes + self._main_ghosts.memory_bytes

    # -- what happens to items -------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """It is this time, cluster time in milliseconds; accesses are of its second."""
        second = now_ms // 1000
        if second != self._second:
            self._second = max(1, second)
            self.now_s = second & NOW_S_MAX or 1

    def added(self, key: bytes, item: bytes) -> None:
        """There is an item under a key that had none, and there are ghosts."""
        if self._was_ghost(key, item):
            self._items.move(key, MAIN, self.now_s << SECOND_SHIFT)

    def _was_ghost(self, key: bytes, item: bytes) -> bool:
        """Whether a key comes back from the ghosts. Its queue should have been larger."""
        token = _token(key)
        small, main = self._small_ghosts, self._main_ghosts
        if small.take(token):
            # The fewer ghosts a queue has, the more one of them tells.
            step = max(1, min(STEP_MAX, main.count // (small.count + 1)))
            if self.small_target_bytes:
                self.small_target_bytes += step * item_cost(key, item)
            return True
        if main.take(token):
            step = max(1, min(STEP_MAX, small.count // (main.count + 1)))
            if self.small_target_bytes:
                less = step * item_cost(key, item)
                self.small_target_bytes = max(1, self.small_target_bytes - less)
            return True
        return False

    def evicted(self, key: bytes, queue: int, stamp: int) -> None:
        """The item under a key is gone by an OP_EVICT, of whichever leader. It was in this queue,
        with this stamp.
        """
        if queue == PLANNED:  # Its ghost is there already.
            if not stamp & FETCHED:
                self._unfetched += 1
            if stamp & HITS:
                self._active += 1
        else:
            self._bury(key, self._small_ghosts if queue == SMALL else self._main_ghosts)

    def take_tallies(self) -> tuple[int, int]:
        """Of the planned items that were evicted since the last call: how many were never hit, and
        how many were hit after they had been chosen.
        """
        tallies = self._unfetched, self._active
        self._unfetched = self._active = 0
        return tallies

    def _bury(self, key: bytes, ghosts: GhostTable) -> None:
        self.has_ghosts = True
        ghosts.add(_token(key), len(self._items) // GHOST_PARTS)

    def clear(self) -> None:
        """All items are gone."""
        self._small_ghosts.clear()
        self._main_ghosts.clear()
        self.has_ghosts = False
        self.small_target_bytes = 0

    # -- hits --------------------------------------------------------------------------------

    def hint(self, key: bytes) -> tuple[bool, int]:
        """Whether the item under a key was hit since it was stored, and the second, in cluster
        time, of the last access. `(False, 0)` if there is none. What happened before this replica
        came to lead counts as one access at that moment.
        """
        stamp = self._items.stamp(key)
        if not stamp:
            return False, 0
        access_s = self._second - ((self._second - (stamp >> SECOND_SHIFT)) & NOW_S_MAX)
        if access_s < self._led_s:
            return False, self._led_s
        return bool(stamp & FETCHED), access_s

    def hits(self, key: bytes) -> int:
        """Hits that count of the item under a key; 0 if there is none."""
        return self._items.stamp(key) & HITS

    def hear_hot(self, hot: HotKeys | None) -> None:
        """What the leader says of hits. It counts if this replica comes to lead."""
        self._hot = hot
        self._hot_left = len(self._items)

    def _is_hot(self, key: bytes) -> bool:
        """Whether an item without hits here was hit under an earlier leader."""
        hot = self._hot
        if hot is None:
            return False
        self._hot_left -= 1
        if self._hot_left < 0:
            self._hot = None
            return False
        return hot.has(_token(key))

    # -- victims -------------------------------------------------------------------------------

    def victims(self, bytes_wanted: int) -> Eviction | None:
        """Choose what is to leave: items that take `bytes_wanted` together, `VICTIMS_MAX` of them
        at most. From now on they are planned.
        """
        items = self._items
        pairs: list[tuple[bytes, int]] = []
        freed = 0
        steps = STEPS_MAX
        queued = items.bytes_used - items.planned_bytes
        target = self.small_target_bytes or queued // SMALL_PARTS
        target = max(1, min(max(target, queued // SMALL_PARTS_MAX), queued // SMALL_PARTS_MIN))
        self.small_target_bytes = target
        is_recent = target * RECENCY_PARTS > queued
        roomy = ROOMY_TIMES * queued // (items.small_count + items.main_count or 1)
        while freed < bytes_wanted and len(pairs) < VICTIMS_MAX:
            is_small = items.small_bytes >= target or not items.main_count
            key = items.first(SMALL if is_small else MAIN)
            if key is None:
                break
            stamp = items.stamp(key)
            facts = items.facts(key)
            assert facts is not None
            cost = facts[3]
            hits = stamp & HITS
            if not hits and self._hot is not None and self._is_hot(key):
                hits = 1
                stamp |= 1
            if cost > roomy * hits and hits < HITS_MAX:
                hits = 0
            if hits and steps:
                steps -= 1
                items.move(key, MAIN, stamp & ~HITS if is_small or is_recent else stamp - 1)
                continue
            self._bury(key, self._small_ghosts if is_small else self._main_ghosts)
            items.move(key, PLANNED, stamp & ~HITS)
            pairs.append((key, facts[2]))
            freed += cost
        if not pairs:
            return None
        command = own_command(OP_EVICT, tuple(pairs))
        return Eviction(command, [key for key, _ in pairs], freed)

    def spare(self, keys: Sequence[bytes]) -> None:
        """No entry of this replica removes these any more, as far as it can tell."""
        items = self._items
        for key in keys:
            if items.queue_of(key) == PLANNED:
                items.move(key, SMALL, items.stamp(key))
