"""Fencing tokens that a shard has seen, so that it can refuse what an old holder of a lock sends.
Replicated state.

A client that was paused while its lock went to another one goes on as if it still held it. Nothing
in that client can be trusted to notice, so the shard does: a command that carries a token of a lock
(OP_FENCED) is refused once the shard has seen a newer one of the same lock. Tokens of a lock only
grow (`locks.py`), whichever node hands them out.

The lock may be one of another shard; it is known here by its name alone. Its newest token is
remembered for as long as there is room. The token of a lock that is forgotten goes into a *floor*
that all locks of its home shard share, so an old token is never taken; a holder of a token that is
older than those forgotten may be refused, too, and has to acquire its lock again.

A shard also remembers by which lock a key is guarded, to tell clients that use two locks for the
same key. That is help against a mistake only: it is forgotten when there is no room, and when the
key is deleted under its lock, so that it may get another one.

Bounds and floors are part of the log's format: a change of one raises `BATCH_VERSION`.
"""

from collections import OrderedDict
from itertools import repeat
from typing import Any, Final

from quorumcache.node.state_machine import Result
from quorumcache.node.store.item import KEY_BYTES_MAX, block_bytes
from quorumcache.node.store.results import FENCE_OTHER_LOCK, FENCE_STALE
from quorumcache.ring.hashing import key_token

FENCED_LOCKS_MAX: Final = 1 << 14
"""Locks whose newest token a shard remembers by name."""
GUARDED_KEYS_MAX: Final = 1 << 16
"""Keys of which a shard remembers by which lock they are guarded."""
FLOORS: Final = 1 << 12
"""Floors of a shard: as many as a cluster may have shards, so no two shards share one."""

_FLOOR_SHIFT: Final = 64 - 12
"""Bits of a token of the ring below those that choose a floor."""

FENCE_BYTES: Final = 150
GUARD_BYTES: Final = 150
FLOOR_BYTES: Final = 140
"""About what the process takes for each, without the name of the lock, or the key."""

FLOOR_IMAGE: Final = 0
SEEN_IMAGE: Final = 1
GUARD_IMAGE: Final = 2
"""The first member of an image."""

FenceImage = tuple[int, int | bytes, int]
"""An entry as snapshots hold it: (FLOOR_IMAGE, floor, token), (SEEN_IMAGE, lock, token) or
(GUARD_IMAGE, key, the lock's place on the ring)."""


class FenceTable:
    """The newest tokens, by lock, and the locks that guard keys."""

    __slots__ = ("_key_bytes", "floors", "guards", "seen")

    def __init__(self) -> None:
        self.seen: OrderedDict[bytes, int] = OrderedDict()
        """Newest token by lock, the one that was used longest ago first."""
        self.guards: OrderedDict[bytes, int] = OrderedDict()
        """By key, in the same order: the place of its lock's name on the ring, which tells names
        apart and takes less."""
        self.floors: dict[int, int] = {}
        """By the first bits of the place of a lock: the highest token of one that was forgotten."""
        self._key_bytes = 0
        """What the keys of `seen` and `guards` take."""

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.floors) + len(self.seen) + len(self.guards)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process."""
        return (
            len(self.seen) * FENCE_BYTES
            + len(self.guards) * GUARD_BYTES
            + len(self.floors) * FLOOR_BYTES
            + self._key_bytes
        )

    def newest(self, lock: bytes) -> int:
        """The token below which commands of a lock are refused; 0 if there is none."""
        token = self.seen.get(lock)
        if token is not None:
            return token
        return self.floors.get(floor_of(lock), 0) if self.floors else 0

    def check(self, lock: bytes, token: int, key: bytes) -> Result | None:
        """The refusal of a command for `key` that carries this token, or None: then it is noted."""
        newest = self.newest(lock)
        if token < newest or token < 1:
            return FENCE_STALE, newest
        place = key_token(lock)
        if self.guards.get(key, place) != place:
            return FENCE_OTHER_LOCK
        self._note(lock, token)
        self._guard(key, place)
        return None

    def _note(self, lock: bytes, token: int) -> None:
        seen = self.seen
        if lock in seen:
            seen.move_to_end(lock)
        else:
            self._key_bytes += block_bytes(len(lock))
        seen[lock] = token
        if len(seen) > FENCED_LOCKS_MAX:
            forgotten, token = seen.popitem(last=False)
            self._key_bytes -= block_bytes(len(forgotten))
            floor = floor_of(forgotten)
            self.floors[floor] = max(token, self.floors.get(floor, 0))

    def _guard(self, key: bytes, place: int) -> None:
        guards = self.guards
        if key in guards:
            guards.move_to_end(key)
            return
        guards[key] = place
        self._key_bytes += block_bytes(len(key))
        if len(guards) > GUARDED_KEYS_MAX:
            forgotten, _ = guards.popitem(last=False)
            self._key_bytes -= block_bytes(len(forgotten))

    def unguard(self, key: bytes) -> None:
        """The key is free for another lock: it is deleted under its own one."""
        if self.guards.pop(key, None) is not None:
            self._key_bytes -= block_bytes(len(key))

    def images(self) -> tuple[FenceImage, ...]:
        """The whole table as plain values: floors by their number, the others in their order."""
        images: list[FenceImage] = [
            (FLOOR_IMAGE, floor, self.floors[floor]) for floor in sorted(self.floors)
        ]
        images += zip(repeat(SEEN_IMAGE), self.seen, self.seen.values(), strict=False)
        images += zip(repeat(GUARD_IMAGE), self.guards, self.guards.values(), strict=False)
        return tuple(images)

    def add(self, image: Any) -> None:
        """Take in an entry of a snapshot, behind those that are there.

        Raises ValueError for what is no entry, or breaks a rule of this file.
        """
        form, name, number = image
        if type(form) is not int or type(number) is not int or not 0 <= number < 1 << 64:
            raise ValueError(f"an invalid fence: {image!r:.100}")
        if form == FLOOR_IMAGE:
            if type(name) is not int or not 0 <= name < FLOORS or name in self.floors:
                raise ValueError(f"an invalid floor: {image!r:.100}")
            self.floors[name] = number
            return
        if form not in (SEEN_IMAGE, GUARD_IMAGE) or type(name) is not bytes:
            raise ValueError(f"an invalid fence: {image!r:.100}")
        table, room = (
            (self.seen, FENCED_LOCKS_MAX) if form == SEEN_IMAGE else (self.guards, GUARDED_KEYS_MAX)
        )
        if name in table or len(table) == room or not 0 < len(name) <= KEY_BYTES_MAX:
            raise ValueError(f"a fence that is there twice, or one too many: {image!r:.100}")
        table[name] = number
        self._key_bytes += block_bytes(len(name))


def floor_of(lock: bytes) -> int:
    """Which floor a forgotten lock is folded into. Locks of one shard share some, those of two
    shards none, however many shards there are: shards are arcs of the ring, too.
    """
    return key_token(lock) >> _FLOOR_SHIFT
