"""What nodes report to the directory: whom they hear, which groups have started, how the groups
that they lead get on with their moves, whether their disk is full, and how much memory they have.

Every node tells it twice a second to the nodes that hold the directory, and to all nodes while a
group that it leads moves: so each node can show the progress. It tells at once when such a group
has come to its target. The `Ledger` of a node keeps what
came last. The node that leads group 0 makes the `ClusterView` of it by which maps are decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.directory.starts import REPORT_MS, started_here
from quorumcache.node.peers.items import REPORT, STARTED
from quorumcache.ring import ClusterMap
from quorumcache.ring.cluster_view import ClusterView, GroupReport

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.directory.members import Members
    from quorumcache.node.replica.group import ReplicaGroup

SIZES_REPORTS: Final = 10_000 // REPORT_MS
"""One report in so many tells the sizes of all groups that are led here: every 10 s."""

FRESH_NS: Final = 2_500_000_000
"""What a node said of whom it hears counts for so long: five reports. Links give up after 2 s."""

LATELY_FULL_NS: Final = 600_000_000_000
"""A disk that has room again may owe it to the copy that filled it, and that was dropped."""

LOOK_MS_MIN: Final = 250
"""Time between two looks: each goes over all nodes and what they have reported."""

LOOK_MS_MAX: Final = 1000
"""No more than this is added to a silence at one look: time in which this node stood still itself
is nobody's silence."""


class ReportPeers(Protocol):
    """The peer network, as far as reports need it."""

    def is_heard(self, node_id: int) -> bool: ...
    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def form_of(self, node_id: int) -> int: ...
    @property
    def node_ids(self) -> tuple[int, ...]: ...


class Ledger:
    """What nodes reported last. One per node; `look` makes silences of it where group 0 is led."""

    def __init__(self, own_id: int, clock: Clock, is_heard: Callable[[int], bool]) -> None:
        """`is_heard`: whether this node hears another one itself."""
        self._own_id = own_id
        self._clock = clock
        self._is_heard = is_heard
        self._told: dict[int, tuple[int, tuple[int, ...]]] = {}
        """By node: when it reported, and whom it hears."""
        self._moving: dict[int, GroupReport] = {}
        self.has_news = False
        """A group has come nearer to its target since the steward last looked."""
        self._sizes: dict[int, int] = {}
        self._memory_bytes: dict[int, int] = {}
        self._full_since_ns: dict[int, int] = {}
        """Nodes whose disk takes nothing new: since when they say so."""
        self._room_since_ns: dict[int, int] = {}
        """Nodes whose disk was full before: since when it is not."""
        self._looked_ns = 0
        """0 while this node does not lead group 0."""
        self._silent_ms: dict[int, int] = {}
        self._heard_ms: dict[int, int] = {}

    def told(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A node's report; also this node's own."""
        _, heard, _, moving, sizes, is_full, memory_bytes = item
        now_ns = self._clock.monotonic_ns()
        self._told[node_id] = (now_ns, heard)
        self._memory_bytes[node_id] = memory_bytes
        if is_full:
            self._full_since_ns.setdefault(node_id, now_ns)
        elif self._full_since_ns.pop(node_id, None) is not None:
            self._room_since_ns[node_id] = now_ns
        for fields in moving:
            report = GroupReport(*fields)
            known = self._moving.get(report.group_id)
            if known is None or known.term <= report.term:
                if known is None or known[1:5] != report[1:5]:
                    self.has_news = True
                self._moving[report.group_id] = report
        self._sizes.update(sizes)

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map: what was told of nodes and moves that it does not name is forgotten."""
        node_ids = {node.node_id for node in cluster_map.nodes}
        moving = {move.group_id for move in cluster_map.moves}
        self._told = {n: told for n, told in self._told.items() if n in node_ids}
        for told in (self._full_since_ns, self._room_since_ns, self._memory_bytes):
            for node_id in told.keys() - node_ids:
                del told[node_id]
        self._moving = {g: report for g, report in self._moving.items() if g in moving}

    def report_of(self, group_id: int) -> GroupReport | None:
        """What the leader of a moving group told last; None if it told nothing."""
        return self._moving.get(group_id)

    def bytes_of(self, group_id: int) -> int:
        """Size of a group's state, as its leader told; 0 if it is not known."""
        return self._sizes.get(group_id, 0)

    def hears(self, node_id: int) -> bool:
        """Whether this node hears another one, or a node that reported a moment ago does."""
        if node_id == self._own_id or self._is_heard(node_id):
            return True
        return node_id in self._hearsay()

    def _hearsay(self) -> set[int]:
        """The nodes that others have heard, as they reported a moment ago."""
        since_ns = self._clock.monotonic_ns() - FRESH_NS
        fresh = (heard for at_ns, heard in self._told.values() if at_ns >= since_ns)
        return {node_id for heard in fresh for node_id in heard}

    def look(self, cluster_map: ClusterMap | None, *, leads: bool) -> None:
        """Count how long each node has been silent, or heard. `leads`: this node leads group 0;
        what an earlier leader counted is not known here, so counting begins then.
        """
        if not leads or cluster_map is None:
            self._looked_ns = 0
            self._silent_ms.clear()
            self._heard_ms.clear()
            return
        now_ns = self._clock.monotonic_ns()
        passed_ms = (now_ns - self._looked_ns) // 1_000_000 if self._looked_ns else 0
        if self._looked_ns and passed_ms < LOOK_MS_MIN:
            return
        passed_ms = min(passed_ms, LOOK_MS_MAX)
        self._looked_ns = now_ns
        hearsay = self._hearsay()
        silent_ms, heard_ms = self._silent_ms, self._heard_ms
        self._silent_ms, self._heard_ms = {}, {}
        for node in cluster_map.nodes:
            node_id = node.node_id
            if node_id == self._own_id or node_id in hearsay or self._is_heard(node_id):
                self._heard_ms[node_id] = heard_ms.get(node_id, -passed_ms) + passed_ms
            else:
                self._silent_ms[node_id] = silent_ms.get(node_id, -passed_ms) + passed_ms
                # It may have got room while it was away: it says so when it is heard again.
                self._full_since_ns.pop(node_id, None)
                self._room_since_ns.pop(node_id, None)

    def view(self) -> ClusterView:
        """The cluster as it was at the last look."""
        now_ns = self._clock.monotonic_ns()
        return ClusterView(
            heard=frozenset(self._heard_ms),
            silent_ms=dict(self._silent_ms),
            heard_ms=dict(self._heard_ms),
            reports=dict(self._moving),
            bytes=dict(self._sizes),
            memory_bytes=dict(self._memory_bytes),
            full_ms={
                node_id: (now_ns - since_ns) // 1_000_000
                for node_id, since_ns in self._full_since_ns.items()
                if node_id in self._heard_ms
            },
            lately_full=frozenset(
                node_id
                for node_id, since_ns in self._room_since_ns.items()
                if now_ns - since_ns < LATELY_FULL_NS
            ),
        )


class Reporter:
    """Reports what this node knows; `tell` is called every `REPORT_MS`."""

    def __init__(
        self,
        own_id: int,
        *,
        groups: Mapping[int, ReplicaGroup],
        members: Members,
        peers: ReportPeers,
        ledger: Ledger,
        moving: Callable[[], Iterable[GroupReport]],
        is_full: Callable[[], bool],
        memory_bytes: Callable[[], int],
        on_started: Callable[[int], None],
        flush: Callable[[], None],
    ) -> None:
        """`moving`: of the groups that move under leaders of this node. `is_full`: the disk takes
        no new replica. `memory_bytes`: what items may take on this node. `on_started` hears of the
        groups that have started under leaders of this node, a bit per shard. `flush` sends what
        waits.
        """
        self._own_id = own_id
        self._groups = groups
        self._members = members
        self._peers = peers
        self._ledger = ledger
        self._moving = moving
        self._is_full = is_full
        self._memory_bytes = memory_bytes
        self._on_started = on_started
        self._flush = flush
        self._reports_left = 0
        """Until the sizes are told again."""

    def tell(self) -> None:
        """Tell it, if there is a map."""
        cluster_map = self._members.map
        if cluster_map is None:
            return
        peers = self._peers
        bits = started_here(self._groups, cluster_map)
        started = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
        if bits:
            self._on_started(bits)
        heard = tuple(node_id for node_id in peers.node_ids if peers.is_heard(node_id))
        moving = tuple(tuple(report) for report in self._moving())
        own = (self._is_full(), self._memory_bytes())
        item = (REPORT, heard, started, moving, self._sizes(), *own)
        self._ledger.told(self._own_id, item)
        directory = self._members.directory()
        for node_id in peers.node_ids if moving else directory:
            if node_id == self._own_id:
                continue
            if peers.form_of(node_id) >= 2:
                peers.send(node_id, item)
            elif bits and node_id in directory:
                peers.send(node_id, (STARTED, started))
        self._flush()

    def _sizes(self) -> tuple[tuple[int, int], ...]:
        self._reports_left -= 1
        if self._reports_left >= 0:
            return ()
        self._reports_left = SIZES_REPORTS - 1
        return tuple(
            (group_id, group.machine.bytes_used)
            for group_id, group in sorted(self._groups.items())
            if group.is_leader
        )
