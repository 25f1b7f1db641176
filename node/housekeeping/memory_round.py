"""Divides this node's memory among its replicas, tells the leaders, and hears of other nodes.

What to grant is decided in `memory_shares.py`. A grant is told without the tables of the node that
grants, since tables of equal states differ: the leader adds its own. Its share is the least of what
the nodes of the replica set grant, those of learners included: a new replica has to find room, too.
All members of a group are told, so that one which comes to lead knows the least at once.
A node that was not heard of for `SILENT_NS` does not count. It is away and takes nothing in. When
it comes back, with less memory than its replicas hold, it says so within a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.housekeeping.memory_shares import (
    Need,
    divide,
    lately,
    most_bytes,
    reserve_bytes,
)
from quorumcache.node.peers.items import GROUPS_MAX, MEMORY
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.replica.memory_room import MemoryRoom

ROUND_MS: Final = 1000
"""Time between two decisions."""

SILENT_NS: Final = 10_000_000_000
"""What a node said counts for so long."""

MEMORY_FORM: Final = 2
"""Nodes of this form, or a later one, know the item."""

TIDY_ENTRIES: Final = 1 << 14
"""Entries of tables that one look moves, beyond which the next groups wait: a millisecond."""

ALL_TIDY_ROUNDS: Final = 8
"""In one round of so many all groups are looked at. In the others, those that have applied
something since they had nothing to give back: a table changes by what is applied."""

LATE_SECONDS: Final = 2
"""A node that speaks may not know yet what was lent in so many seconds before."""

LOOKS_PER_ROUND: Final = 20
"""Looks at tables in the time of a round."""

_AMOUNT_MAX: Final = 1 << 60


class Peers(Protocol):
    """Of the peer network."""

    @property
    def node_ids(self) -> tuple[int, ...]: ...
    def form_of(self, node_id: int) -> int: ...
    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...


class Told(NamedTuple):
    """What a node said last."""

    at_ns: int
    lendable: int
    most: int
    free: int
    grants: dict[int, int]
    wanted: dict[int, int]


class MemoryRound:
    """See the module. `decide` is called every `ROUND_MS`, `tidy` several times in between."""

    def __init__(self, host: ReplicaHost, room: MemoryRoom, peers: Peers, clock: Clock) -> None:
        self._host = host
        self.room = room
        self._peers = peers
        self._clock = clock
        self._own_id = 0
        self._grants: dict[int, int] = {}
        """What was granted last."""
        self._lately: dict[int, int] = {}
        """Bytes evicted lately, by group."""
        self._evicted: dict[int, int] = {}
        """Bytes evicted ever, by group, as of the last look."""
        self._told: dict[int, Told] = {}
        self._to_tidy: list[ReplicaGroup] = []
        self._per_look = 0
        self._tidied: dict[int, int] = {}
        """The last entry that each group had applied when it had nothing to give back."""
        self._tidy_rounds = 0
        """Until all are looked at again."""
        room.decide_now = self.decide

    # -- tables --------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Let the next groups give back what their tables have too much."""
        if not self._to_tidy:
            self._to_tidy = list(self._groups())
            self._tidy_rounds = (self._tidy_rounds or ALL_TIDY_ROUNDS) - 1
            self._per_look = len(self._to_tidy) // LOOKS_PER_ROUND + 1
        moved = 0
        for _ in range(self._per_look):
            if not self._to_tidy or moved > TIDY_ENTRIES:
                return
            group = self._to_tidy.pop()
            group_id, index = group.group_id, group.applied_index
            if self._tidied.get(group_id) == index and self._tidy_rounds:
                continue
            entries = group.machine.tidy()
            self._tidied[group_id] = -1 if entries else index
            moved += entries

    # -- the decision --------------------------------------------------------------------------

    def decide(self) -> None:
        """Grant, tell, and take what the others grant."""
        room = self.room
        room.pass_second()
        groups = list(self._groups())
        room.table_bytes = sum(g.machine.memory_bytes - g.machine.bytes_used for g in groups)
        told = self._fresh()
        needs = {group.group_id: self._need(group, told) for group in groups}
        grants = self._grants = divide(room.memory_bytes, needs, self._grants)
        may_evict = self._host.may_evict
        free: dict[int, int] = {}
        members = {g.group_id: g.log.configuration.members() for g in groups}
        for group in groups:
            group_id = group.group_id
            tables = _tables(group)
            own = max(0, grants[group_id] - tables)
            others = [told[m] for m in members[group_id] if m in told]
            share = min([own, *(t.grants[group_id] for t in others if group_id in t.grants)])
            share += tables
            if group.is_leader:
                share += room.cover(group, share)
                own_most = most_bytes(room.memory_bytes, len(groups))
                room.most_bytes[group_id] = min([own_most, *(t.most for t in others)])
                if others:
                    free[group_id] = min(t.free for t in others)
            else:
                room.forget(group_id)
            group.share_bytes = share if may_evict else 0
        room.free_bytes = free
        leaders = len({group.leader_id for group in groups if group.leader_id})
        # What uploads have announced is not lent, but nothing is evicted for it before it is there.
        taken = sum(max(needs[g].held + needs[g].promised, grant) for g, grant in grants.items())
        lendable = max(0, room.memory_bytes - taken) // max(1, leaders)
        self._tell(groups, members, leaders, lendable)
        self._set_lendable(groups, members, told, leaders, lendable)

    def _need(self, group: ReplicaGroup, told: dict[int, Told]) -> Need:
        machine = group.machine
        group_id = group.group_id
        before = self._evicted.get(group_id, machine.evicted_bytes)
        self._evicted[group_id] = machine.evicted_bytes
        evicted = lately(self._lately.get(group_id, 0), machine.evicted_bytes - before)
        held = machine.memory_bytes
        over = max(0, held - self._grants.get(group_id, held))
        self._lately[group_id] = evicted
        if group.is_leader:
            wanted = self.room.wanted.get(group_id, (0, 0))[0]
        else:
            wanted = max([0, *(t.wanted.get(group_id, 0) for t in told.values())])
        if wanted:
            wanted += held - machine.bytes_used
        return Need(held, evicted, wanted, over, machine.promised_bytes)

    def _tell(
        self,
        groups: list[ReplicaGroup],
        members: dict[int, tuple[int, ...]],
        leaders: int,
        lendable: int,
    ) -> None:
        host, room = self._host, self.room
        if not host.may_use_new_ops:
            return  # Nothing new goes over the wire before all nodes are known to speak it.
        memory = room.memory_bytes
        free = max(0, memory - room.used_bytes(host.bytes_used)) // max(1, leaders)
        own = lendable, most_bytes(memory, len(groups)), free
        wanted = tuple(
            (g.group_id, room.wanted[g.group_id][0])
            for g in groups
            if g.is_leader and g.group_id in room.wanted
        )
        granted: dict[int, list[tuple[int, int]]] = {node: [] for node in self._peers.node_ids}
        for group in groups:
            group_id = group.group_id
            pair = group_id, max(0, self._grants[group_id] - _tables(group))
            for node_id in {*members[group_id], group.leader_id}:
                if node_id in granted:
                    granted[node_id].append(pair)
        for node_id, pairs in granted.items():
            if (pairs or wanted) and self._peers.form_of(node_id) >= MEMORY_FORM:
                self._peers.send(node_id, (MEMORY, *own, tuple(pairs), wanted))
        host.flush_soon()

    def _set_lendable(
        self,
        groups: list[ReplicaGroup],
        members: dict[int, tuple[int, ...]],
        told: dict[int, Told],
        leaders: int,
        lendable: int,
    ) -> None:
        """What may be lent in the coming second: the least of what the nodes concerned have left,
        each less what was lent since it knew.
        """
        room = self.room
        now_ns = self._clock.monotonic_ns()
        concerned = {m for g in groups if g.is_leader for m in members[g.group_id] if m in told}
        left = [lendable - room.lent_lately(1)]
        for node_id in concerned:
            age = (now_ns - told[node_id].at_ns) // 1_000_000_000
            left.append(told[node_id].lendable - room.lent_lately(age + LATE_SECONDS))
        room.lendable_bytes = max(0, min(left))
        room.reserve_bytes = reserve_bytes(room.memory_bytes) // max(1, leaders)

    def forget(self, group_id: int) -> None:
        """The group has left this node: one of the same number that comes later is another."""
        for of_groups in (self._grants, self._lately, self._evicted, self._tidied):
            of_groups.pop(group_id, None)
        self.room.forget(group_id)

    def _groups(self) -> Iterator[ReplicaGroup]:
        for group_id, group in self._host.groups.items():
            if group_id != DIRECTORY_GROUP_ID:
                yield group

    # -- the others ----------------------------------------------------------------------------

    def heard(self, node_id: int, item: tuple[Any, ...]) -> None:
        """What another node grants. `PeerFrameError` if the item has another form."""
        form = (int, int, int, int, tuple, tuple)
        if (
            tuple(map(type, item)) != form
            or not all(0 <= amount <= _AMOUNT_MAX for amount in item[1:4])
            or not (_are_amounts(item[4]) and _are_amounts(item[5]))
        ):
            raise PeerFrameError(f"an item of kind {MEMORY} of an unknown form")
        _, lendable, most, free, grants, wanted = item
        now_ns = self._clock.monotonic_ns()
        self._told[node_id] = Told(now_ns, lendable, most, free, dict(grants), dict(wanted))

    def _fresh(self) -> dict[int, Told]:
        """What counts of what the others said."""
        since_ns = self._clock.monotonic_ns() - SILENT_NS
        self._told = {node_id: t for node_id, t in self._told.items() if t.at_ns >= since_ns}
        return self._told


def _tables(group: ReplicaGroup) -> int:
    return group.machine.memory_bytes - group.machine.bytes_used


def _are_amounts(pairs: tuple[Any, ...]) -> bool:
    return len(pairs) <= GROUPS_MAX and all(
        type(pair) is tuple
        and tuple(map(type, pair)) == (int, int)
        and pair[0] > 0
        and 0 <= pair[1] <= _AMOUNT_MAX
        for pair in pairs
    )
