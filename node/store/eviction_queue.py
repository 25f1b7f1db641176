"""In which order items leave when memory is short: S3-FIFO over the items of a shard.

Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction" (SOSP 2023). A new
item goes to the *small* queue, a tenth of the bytes. If it is hit there, it is moved to the *main*
queue when its turn to leave comes; otherwise it leaves, and its key becomes a *ghost*. A key that
comes back while it is a ghost goes to the main queue at once. What reaches the head of the main
queue goes round again as often as it was hit, three times at most. So what is asked for once
(a scan) passes through the small queue and leaves the rest alone, and a hit moves nothing.

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

from quorumcache.node.state_machine import Eviction
from quorumcache.node.store.commands import OP_EVICT, own_command
from quorumcache.node.store.ghosts import GhostTable
from quorumcache.node.store.item import cas_unique, item_cost
from quorumcache.ring.hashing import key_token

SMALL_PARTS: Final = 10
"""The small queue has one part of so many of the bytes."""

HITS_MAX: Final = 3
HITS_TO_STAY: Final = 2
"""Hits in the small queue by which an item gets to the main one."""

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


class EvictionQueue:
    """See the module."""

    __slots__ = (
        "_ghosts",
        "_items",
        "_main_scan",
        "_new",
        "_now_s",
        "_read",
        "_shared",
        "_small_scan",
        "_written",
        "main",
        "planned",
        "planned_bytes",
        "small",
        "small_bytes",
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
        self._ghosts = GhostTable()
        self._small_scan: list[bytes] = []
        self._main_scan: list[bytes] = []
        """The next keys of each queue, the next one last; those that have left are still there."""
        self._shared: dict[int, object] = {}
        self._now_s = -1
        self.tick(0)

    @property
    def memory_bytes(self) -> int:
        """What the queues take beside the items and their keys. Planned items, and keys that were
        taken off a queue's head, are few.
        """
        return getsizeof(self.small) + getsizeof(self.main) + self._ghosts.memory_bytes

    # -- what happens to items -------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """It is this time, cluster time in milliseconds; accesses are of its second."""
        now_s = now_ms // 1000
        if now_s == self._now_s:
            return
        self._now_s = now_s
        stamps = [cast(object, now_s << 3 | low) for low in range(8)]
        self._new = stamps[0]
        self._written = [stamps[min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]
        self._read = [stamps[_FETCHED | min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]

    def added(self, key: bytes, cost: int) -> None:
        """There is an item under a key that had none."""
        if self._ghosts.take(key_token(key)):
            self.main[key] = self._new
        else:
            self.small[key] = self._new
            self.small_bytes += cost

    def changed(self, key: bytes, cost: int, old_cost: int) -> None:
        """The item under a key is another one, or has another expiry. It counts as an access, but
        the new item was not fetched yet. One that was planned may stay: its unique has changed, or
        else its removal is applied all the same."""
        main = self.main
        stamp = main.get(key)
        if stamp is not None:
            main[key] = self._written[cast(int, stamp) & _HITS]
            return
        small = self.small
        stamp = small.get(key)
        if stamp is not None:
            small[key] = self._written[cast(int, stamp) & _HITS]
            self.small_bytes += cost - old_cost
            return
        if self.planned.pop(key, None) is not None:
            self.planned_bytes -= old_cost
        main[key] = self._new

    def removed(self, key: bytes, cost: int) -> None:
        """The item under a key, of this cost, is gone."""
        if self.main.pop(key, None) is None:
            if self.small.pop(key, None) is not None:
                self.small_bytes -= cost
            elif self.planned.pop(key, None) is not None:
                self.planned_bytes -= cost

    def evicted(self, key: bytes, cost: int) -> None:
        """The item under a key, of this cost, is gone by an OP_EVICT, of whichever leader."""
        if key in self.small:  # One that this replica has planned is a ghost already.
            self._ghosts.add(key_token(key), len(self._items))
        self.removed(key, cost)

    def clear(self) -> None:
        """All items are gone."""
        self.small.clear()
        self.main.clear()
        self.planned.clear()
        self._small_scan.clear()
        self._main_scan.clear()
        self._ghosts.clear()
        self.small_bytes = self.planned_bytes = 0

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
        time, of the last access. `(False, 0)` if there is none.
        """
        stamp = self.main.get(key) or self.small.get(key) or self.planned.get(key)
        if stamp is None:
            return False, 0
        number = cast(int, stamp)
        return bool(number & _FETCHED), number >> 3

    # -- victims -------------------------------------------------------------------------------

    def victims(self, bytes_wanted: int, bytes_used: int) -> Eviction | None:
        """Choose what is to leave: items that take `bytes_wanted` together, `VICTIMS_MAX` of them
        at most. From now on they are planned. `bytes_used`: cost of all items.
        """
        items, small, main, planned = self._items, self.small, self.main, self.planned
        pairs: list[tuple[bytes, int]] = []
        freed = unfetched = active = 0
        steps = STEPS_MAX
        queued = bytes_used - self.planned_bytes
        while freed < bytes_wanted and len(pairs) < VICTIMS_MAX:
            is_small = bool(small) and (self.small_bytes * SMALL_PARTS > queued or not main)
            key = self._next_small() if is_small else self._next_main()
            if key is None:
                break
            queue = small if is_small else main
            stamp = cast(int, queue.pop(key))
            item = items[key]
            cost = item_cost(key, item)
            hits = stamp & _HITS
            if is_small:
                self.small_bytes -= cost
                if hits >= HITS_TO_STAY and steps:
                    steps -= 1
                    main[key] = self._share(stamp & ~_HITS)
                    continue
                self._ghosts.add(key_token(key), len(items))
            elif hits and steps:
                steps -= 1
                main[key] = self._share(stamp - 1)
                continue
            planned[key] = self._share(stamp)
            pairs.append((key, cas_unique(item)))
            freed += cost
            queued -= cost
            unfetched += not stamp & _FETCHED
            active += hits > 0
        self.planned_bytes += freed
        if not pairs:
            return None
        command = own_command(OP_EVICT, tuple(pairs))
        return Eviction(command, [key for key, _ in pairs], freed, unfetched, active)

    def spare(self, keys: Sequence[bytes]) -> None:
        """No entry of this replica removes these any more, as far as it can tell."""
        items, planned = self._items, self.planned
        for key in keys:
            stamp = planned.pop(key, None)
            if stamp is not None:
                cost = item_cost(key, items[key])
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
