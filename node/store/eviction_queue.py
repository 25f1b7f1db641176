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

Both queues are dicts, key to stamp, whose order is the queue; the keys are the objects of the
items' dict. A stamp is one small int, shared by all items that have the same:

    (seconds of the last access << 3) | (fetched << 2) | hits, 0..3
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from sys import getsizeof
from typing import Final, cast

from mmh3 import mmh3_x64_128_digest

from quorumcache.node.state_machine import Eviction
from quorumcache.node.store.commands import OP_EVICT, own_command
from quorumcache.node.store.ghosts import GhostTable
from quorumcache.node.store.hot_keys import HotKeys
from quorumcache.node.store.item import cas_unique, object_bytes
from quorumcache.node.store.tables import shrink

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

HITS_MAX: Final = 3
"""Hits that count. One in the small queue is enough to get to the main one."""

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

SCAN_KEYS_MIN: Final = 64
SCAN_PARTS: Final = 16
"""Keys taken off the head of a queue at a time: one part of so many. Each look at a dict's head
passes over all that has left it, so it has to be worth it."""

SHARED_MAX: Final = 4096
"""Stamps of the past that are kept for sharing."""

_FETCHED: Final = 4
_HITS: Final = 3

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
        "_has_ghosts",
        "_hot",
        "_hot_left",
        "_items",
        "_leads",
        "_led_s",
        "_main_ghosts",
        "_main_scan",
        "_new",
        "_now_s",
        "_read",
        "_shared",
        "_small_ghosts",
        "_small_scan",
        "_unfetched",
        "_written",
        "main",
        "planned",
        "planned_bytes",
        "small",
        "small_bytes",
        "small_target_bytes",
    )

    def __init__(self, items: Mapping[bytes, bytes]) -> None:
        """A queue of the items of `items`, which it only reads. It is told of each."""
        self._items = items
        self.small: dict[bytes, object] = {}
        self.main: dict[bytes, object] = {}
        self.planned: dict[bytes, object] = {}
        """Victims that a log entry of this leader names, and that are still there. Each item is in
        one of the three."""
        self.small_bytes = 0
        self.planned_bytes = 0
        """Cost of the items in `small` and in `planned`."""
        self.small_target_bytes = 0
        """What `small` may hold before it gives victims; 0 until the first time."""
        self._small_ghosts = GhostTable()
        self._main_ghosts = GhostTable()
        self._has_ghosts = False
        self._hot: HotKeys | None = None
        self._hot_left = 0
        """What an earlier leader said of hits, and for how many more victims it is asked: each item
        is spared once for it."""
        self._unfetched = self._active = 0
        self._small_scan: list[bytes] = []
        self._main_scan: list[bytes] = []
        """The next keys of each queue, the next one last; those that have left are still there."""
        self._shared: dict[int, object] = {}
        self._leads = True
        """This replica leads: it notes every access."""
        self._led_s = 0
        """Since when, in seconds of cluster time. Of the time before, stamps may be wrong."""
        self._now_s = -1
        self.tick(0)

    def succeed(self, other: "EvictionQueue") -> None:
        """Take over what another queue of the same shard, which ends, knows of hits."""
        self._hot = other._hot
        self._hot_left = len(self._items)
        self._leads, self._led_s = other._leads, other._led_s

    def lead(self, leads: bool, now_ms: int) -> None:
        """This replica leads its group from now on, at `now_ms` of cluster time, or does not."""
        if leads and not self._leads:
            self.tick(now_ms)
            self._led_s = self._now_s
        self._leads = leads

    @property
    def memory_bytes(self) -> int:
        """What the queues take beside the items and their keys. Planned items, and keys that were
        taken off a queue's head, are few.
        """
        return (
            getsizeof(self.small)
            + getsizeof(self.main)
            + self._small_ghosts.memory_bytes
            + self._main_ghosts.memory_bytes
        )

    def tidy(self) -> int:
        """Give back what the tables have too much. How many entries were moved."""
        return shrink(self.small) + shrink(self.main)

    # -- what happens to items -------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """It is this time, cluster time in milliseconds; accesses are of its second."""
        now_s = max(1, now_ms // 1000)  # A second of 0 would mean that there is none.
        if now_s == self._now_s:
            return
        self._now_s = now_s
        stamps = [cast(object, now_s << 3 | low) for low in range(8)]
        self._new = stamps[0]
        self._written = [stamps[min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]
        self._read = [stamps[_FETCHED | min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]

    def added(self, key: bytes, cost: int) -> None:
        """There is an item under a key that had none."""
        if self._has_ghosts and self._was_ghost(key, cost):
            self.main[key] = self._new
        else:
            self.small[key] = self._new
            self.small_bytes += cost

    def _was_ghost(self, key: bytes, cost: int) -> bool:
        """Whether a key comes back from the ghosts. Its queue should have been larger."""
        token = _token(key)
        small, main = self._small_ghosts, self._main_ghosts
        if small.take(token):
            # The fewer ghosts a queue has, the more one of them tells.
            step = max(1, min(STEP_MAX, main.count // (small.count + 1)))
            if self.small_target_bytes:
                self.small_target_bytes += step * cost
            return True
        if main.take(token):
            step = max(1, min(STEP_MAX, small.count // (main.count + 1)))
            if self.small_target_bytes:
                self.small_target_bytes = max(1, self.small_target_bytes - step * cost)
            return True
        return False

    def changed(self, key: bytes, cost: int, old_cost: int) -> None:
        """The item under a key is another one, or has another expiry. It counts as an access, but
        the new item was not fetched yet. One that was planned may stay: its unique has changed, or
        else its removal is applied all the same.

        A replica that does not lead has planned nothing, and its stamps are asked for once it
        leads: it saves two look-ups where nothing else has changed.
        """
        if cost == old_cost and not self._leads and not self.planned:
            return
        queue = self.main
        stamp = queue.get(key)
        if stamp is None:
            queue = self.small
            stamp = queue.get(key)
            if stamp is not None:
                self.small_bytes += cost - old_cost
        if stamp is not None:
            new = self._written[cast(int, stamp) & _HITS]
            if new is not stamp:
                queue[key] = new
            return
        if self.planned.pop(key, None) is not None:
            self.planned_bytes -= old_cost
        self.main[key] = self._new

    def removed(self, key: bytes, cost: int) -> None:
        """The item under a key, of this cost, is gone."""
        if self.main.pop(key, None) is None:
            if self.small.pop(key, None) is not None:
                self.small_bytes -= cost
            elif self.planned.pop(key, None) is not None:
                self.planned_bytes -= cost

    def evicted(self, key: bytes, cost: int) -> None:
        """The item under a key, of this cost, is gone by an OP_EVICT, of whichever leader."""
        stamp = self.planned.pop(key, None)
        if stamp is not None:  # Its ghost is there already.
            self.planned_bytes -= cost
            number = cast(int, stamp)
            if not number & _FETCHED:
                self._unfetched += 1
            if number & _HITS:
                self._active += 1
        elif self.small.pop(key, None) is not None:
            self.small_bytes -= cost
            self._bury(key, self._small_ghosts)
        else:
            self.main.pop(key, None)
            self._bury(key, self._main_ghosts)

    def take_tallies(self) -> tuple[int, int]:
        """Of the planned items that were evicted since the last call: how many were never hit, and
        how many were hit after they had been chosen.
        """
        tallies = self._unfetched, self._active
        self._unfetched = self._active = 0
        return tallies

    def _bury(self, key: bytes, ghosts: GhostTable) -> None:
        self._has_ghosts = True
        ghosts.add(_token(key), len(self._items) // GHOST_PARTS)

    def clear(self) -> None:
        """All items are gone."""
        self.small.clear()
        self.main.clear()
        self.planned.clear()
        self._small_scan.clear()
        self._main_scan.clear()
        self._small_ghosts.clear()
        self._main_ghosts.clear()
        self._has_ghosts = False
        self.small_bytes = self.planned_bytes = self.small_target_bytes = 0

    # -- hits --------------------------------------------------------------------------------

    def note_hit(self, key: bytes) -> None:
        """The item under a key was read. Each read passes here: it writes only what has changed."""
        queue = self.main
        stamp = queue.get(key)
        if stamp is None:
            queue = self.small
            stamp = queue.get(key)
            if stamp is None:
                queue = self.planned
                stamp = queue.get(key)
                if stamp is None:
                    return
        new = self._read[cast(int, stamp) & _HITS]
        if new is not stamp:
            queue[key] = new

    def hint(self, key: bytes) -> tuple[bool, int]:
        """Whether the item under a key was hit since it was stored, and the second, in cluster
        time, of the last access. `(False, 0)` if there is none. What happened before this replica
        came to lead counts as one access at that moment.
        """
        stamp = self.main.get(key) or self.small.get(key) or self.planned.get(key)
        if stamp is None:
            return False, 0
        number = cast(int, stamp)
        access_s = number >> 3
        if access_s < self._led_s:
            return False, self._led_s
        return bool(number & _FETCHED), access_s

    def hits(self, key: bytes) -> int:
        """Hits that count of the item under a key; 0 if there is none."""
        stamp = self.main.get(key) or self.small.get(key)
        return 0 if stamp is None else cast(int, stamp) & _HITS

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

    def victims(self, bytes_wanted: int, bytes_used: int) -> Eviction | None:
        """Choose what is to leave: items that take `bytes_wanted` together, `VICTIMS_MAX` of them
        at most. From now on they are planned. `bytes_used`: cost of all items.
        """
        items, small, main, planned = self._items, self.small, self.main, self.planned
        pairs: list[tuple[bytes, int]] = []
        freed = 0
        steps = STEPS_MAX
        queued = bytes_used - self.planned_bytes
        target = self.small_target_bytes or queued // SMALL_PARTS
        target = max(1, min(max(target, queued // SMALL_PARTS_MAX), queued // SMALL_PARTS_MIN))
        self.small_target_bytes = target
        is_recent = target * RECENCY_PARTS > queued
        roomy = ROOMY_TIMES * queued // (len(small) + len(main) or 1)
        while freed < bytes_wanted and len(pairs) < VICTIMS_MAX:
            is_small = bool(small) and (self.small_bytes >= target or not main)
            key = self._next_small() if is_small else self._next_main()
            if key is None:
                break
            queue = small if is_small else main
            known = queue.pop(key)
            stamp = cast(int, known)
            item = items[key]
            cost = object_bytes(key, item)
            hits = stamp & _HITS
            if not hits and self._hot is not None and self._is_hot(key):
                hits = 1
                stamp |= 1
            if cost > roomy * hits and hits < HITS_MAX:
                hits = 0
            if is_small:
                self.small_bytes -= cost
                if hits and steps:
                    steps -= 1
                    main[key] = self._share(stamp & ~_HITS)
                    continue
                self._bury(key, self._small_ghosts)
            else:
                if hits and steps:
                    steps -= 1
                    main[key] = self._share(stamp & ~_HITS if is_recent else stamp - 1)
                    continue
                self._bury(key, self._main_ghosts)
            planned[key] = self._share(stamp & ~_HITS) if stamp & _HITS else known
            pairs.append((key, cas_unique(item)))
            freed += cost
            queued -= cost
        self.planned_bytes += freed
        if not pairs:
            return None
        command = own_command(OP_EVICT, tuple(pairs))
        return Eviction(command, [key for key, _ in pairs], freed)

    def spare(self, keys: Sequence[bytes]) -> None:
        """No entry of this replica removes these any more, as far as it can tell."""
        items, planned = self._items, self.planned
        for key in keys:
            stamp = planned.pop(key, None)
            if stamp is not None:
                cost = object_bytes(key, items[key])
                self.planned_bytes -= cost
                self.small[key] = stamp
                self.small_bytes += cost

    def _next_small(self) -> bytes | None:
        scan, queue = self._small_scan, self.small
        while True:
            while scan:
                key = scan.pop()
                if key in queue:
                    return key
            if not queue:
                return None
            scan.extend(islice(queue, max(SCAN_KEYS_MIN, len(queue) // SCAN_PARTS)))
            scan.reverse()

    def _next_main(self) -> bytes | None:
        scan, queue = self._main_scan, self.main
        while True:
            while scan:
                key = scan.pop()
                if key in queue:
                    return key
            if not queue:
                return None
            scan.extend(islice(queue, max(SCAN_KEYS_MIN, len(queue) // SCAN_PARTS)))
            scan.reverse()

    def _share(self, stamp: int) -> object:
        """The stamp as an object that others have, too."""
        shared = self._shared
        found = shared.get(stamp)
        if found is None:
            if len(shared) >= SHARED_MAX:
                shared.clear()
            found = shared[stamp] = cast(object, stamp)
        return found
