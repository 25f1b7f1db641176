"""Operations that wait for their next attempt: no leader is known, or it refused them.

Their number is bounded by what connections may have in flight (`clients/write_room.py`,
`clients/replies.py`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from quorumcache.node.operations.failure import CROWDED
from quorumcache.node.operations.operation import Operation, Read, Write

CROWDED_READS_MAX: Final = 256
"""Reads that are tried again in one sweep after a leader had too many values queued for this node.
With all of them at once, most would only be refused again: a turn of the loop there and here."""


class Held:
    """See the module docstring."""

    __slots__ = ("_by_group", "_crowded")

    def __init__(self) -> None:
        self._by_group: dict[int, list[Operation]] = {}
        self._crowded: deque[Read] = deque()
        """Reads that a leader has refused since it has too many values queued for this node, the
        one that waits longest first. No other leader would help them."""

    def add(self, operation: Operation, why: str) -> None:
        """Keep it until the next attempt. `why` the last one ended, or could not be made."""
        operation.note(why)
        if why == CROWDED and isinstance(operation, Read):
            self._crowded.append(operation)
            return
        held = self._by_group.get(operation.group_id)
        if held is None:
            self._by_group[operation.group_id] = [operation]
        else:
            held.append(operation)

    def take(self, group_id: int) -> list[Operation]:
        """Those of a group, to be tried now: writes of one session in the order of their
        sequences."""
        held = self._by_group.pop(group_id, None)
        if held is None:
            return []
        held.sort(key=lambda o: o.sequence if isinstance(o, Write) else 0)
        return held

    def groups(self) -> list[int]:
        """Groups that operations wait for, longest first."""
        return list(self._by_group)

    def take_due(self) -> list[Operation]:
        """Those that a sweep tries again: of all groups, and some of those that met a crowd. A read
        whose client has no room any more waits there, before its answer crosses the network."""
        due = [operation for group_id in self.groups() for operation in self.take(group_id)]
        crowded = self._crowded
        tried = 0
        while crowded and tried < CROWDED_READS_MAX:
            read = crowded.popleft()
            if read.finished:
                continue
            if read.room is not None and not read.room.has_room():
                read.park(read.room)
            else:
                due.append(read)
                tried += 1
        return due
