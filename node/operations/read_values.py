"""Reads of pieces of large values, and the values that are kept while they are read.

A reader that was answered with a large item (`store/large.py`) asks for its value piece by piece,
by the number of the value. Any replica that has a value of that number has the right bytes, so
such a read needs no lease, no leader and no order; the item that it belongs to was read before.

The node that answered with the item keeps the value for a while (`ReadValues`), so that its reader
gets all of it when the item is replaced meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.operation import OperationOwner, Read, ReadOutcome
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.item import value_id
from quorumcache.node.store.store import shard_store

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock

KEPT_NS: Final = 10_000_000_000
"""A value that was not asked for during so long is not kept for its readers any more. A reader
asks for the next piece when its client has taken most of those before: one that takes nothing for
longer gets the rest only if the item is still there."""

KEPT_BYTES_MAX: Final = 256 << 20
"""Of values that are kept for readers: two of the largest size. Beyond it those go first that were
asked for longest ago. Most of them are in the store as well, and take nothing here."""


def settle(read: Read, is_repeated: bool) -> None:
    """The value of the large item that was found is here, or none is to come: later reads, which
    have waited since `is_unsettled` was set, go on. `is_repeated`: the value was gone, and the item
    was read again: answers that later reads got before are older.
    """
    read.is_unsettled = False
    read.is_unordered = read.is_unordered or is_repeated
    read.owner.turns.end(read)


class PieceRead(Read):
    """A read of one piece. `done` hears a list of the piece, or of None when the value is gone."""

    __slots__ = ("position", "source", "value_id")

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        key: bytes,
        number: int,
        position: int,
        source: int,
        done: Callable[[ReadOutcome], None],
    ) -> None:
        """`number`: the value id. `position`: 0, 1, 2, ... `source`: the node that answered with
        the item; 0 = not known.
        """
        # Any staleness will do; by that the coordinator tells it from other reads.
        super().__init__(owner, group_id, deadline_ns, (key,), done, ANY_STALENESS_NS)
        self.value_id = number
        self.position = position
        self.source = source


class ReadValues:
    """The values of large items of this node's replicas, and those that readers are at."""

    __slots__ = ("_clock", "_groups", "_kept", "kept_bytes")

    def __init__(self, groups: Mapping[int, ReplicaGroup], clock: Clock) -> None:
        self._groups = groups
        self._clock = clock
        self._kept: OrderedDict[tuple[int, int], tuple[tuple[bytes, ...], int, int]] = OrderedDict()
        """By group and value id: the value, its length, and when it was asked for last, in ns. The
        one that was asked for longest ago comes first."""
        self.kept_bytes = 0

    def keep(self, group_id: int, item: bytes) -> None:
        """Another node is given an item of a replica here. If it is a large one, that node is going
        to ask for its value.
        """
        value = shard_store(self._groups[group_id].machine).value_of(item)
        if value is None:
            return
        key = (group_id, value_id(item))
        before = self._kept.pop(key, None)
        if before is None:
            size = sum(map(len, value))
            self.kept_bytes += size
        else:
            size = before[1]
        self._kept[key] = (value, size, self._clock.monotonic_ns())
        while self.kept_bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            self._forget_first()

    def piece(self, group_id: int, number: int, position: int) -> bytes | None:
        """A piece of the value of this number; None if it is not here."""
        key = (group_id, number)
        found = self._kept.get(key)
        value: tuple[bytes, ...] | None
        if found is not None:
            value = found[0]
            self._kept[key] = (value, found[1], self._clock.monotonic_ns())
            self._kept.move_to_end(key)
        else:
            group = self._groups.get(group_id)
            if group is None or group_id == DIRECTORY_GROUP_ID:
                return None
            value = shard_store(group.machine).values.get(number)
        if value is None or not 0 <= position < len(value):
            return None
        return value[position]

    def sweep(self, now_ns: int) -> None:
        """Forget what nobody has asked for during KEPT_NS."""
        kept = self._kept
        while kept:
            _, _, asked_ns = next(iter(kept.values()))
            if now_ns - asked_ns < KEPT_NS:
                break
            self._forget_first()

    def _forget_first(self) -> None:
        _, (_, size, _) = self._kept.popitem(last=False)
        self.kept_bytes -= size
