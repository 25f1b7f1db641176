"""Has the logs of all groups hold old entries in less memory, a few in each sweep. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost

WORK_PER_LOOK: Final = 1 << 11
"""Entries that one look packs (fewer where they are large: `packed.pack`), beyond which the next
groups wait: 0.4 ms at most. With a look every 50 ms that is 40,000 in a second. Groups that are
written to alike are due at the same moment, and more at once would be seen in what their clients
wait. One group packs no more than so many either: after a start its log may be as long as it gets.
"""


class Packing:
    """`look` is called in every sweep."""

    def __init__(self, host: ReplicaHost) -> None:
        self._host = host
        self._to_pack: list[ReplicaGroup] = []
        """Groups that were not looked at in this round."""

    def look(self) -> None:
        """Pack what the next groups have, and begin another round if all had their turn."""
        work = 0
        if not self._to_pack:
            self._to_pack = list(self._host.groups.values())
        while self._to_pack and work < WORK_PER_LOOK:
            group = self._to_pack.pop()
            if not group.is_removed:
                work += group.log.pack(WORK_PER_LOOK)
