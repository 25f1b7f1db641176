"""Operations that wait for their next attempt: no leader is known, or it refused them.

Their number is bounded by what connections may have in flight (`clients/write_room.py`,
`clients/replies.py`).
"""

from __future__ import annotations

from quorumcache.node.operations.operation import Operation, Write


class Held:
    """See the module docstring."""

    __slots__ = ("_by_group",)

    def __init__(self) -> None:
        self._by_group: dict[int, list[Operation]] = {}

    def add(self, operation: Operation, why: str) -> None:
        """Keep it until the next attempt. `why` the last one ended, or could not be made."""
        operation.note(why)
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
