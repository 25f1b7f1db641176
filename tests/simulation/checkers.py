"""Invariants that hold at every moment, whatever fails; looked at every few milliseconds of virtual
time.

They read the replicas from outside and never change them:

- one leader per term and group;
- term and commit_index of a replica never go back while its process lives;
- what is committed is the same everywhere, and for ever (state machine safety and log matching);
- replicas that applied the same entries have the same state;
- two nodes never hold a lease on one group at the same time;
- what waits for another node will be sent, and groups that are due drained: somebody has asked
  for that.

What a node has promised to others is looked at elsewhere, when it says so: `promises.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zlib import crc32

from quorumcache.node.consensus.values import Role

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode

DIGESTS_KEPT = 50_000


class InvariantViolation(AssertionError):
    """The cluster did what it promised never to do. `rule`: which promise, in a few words."""

    def __init__(self, text: str, *, rule: str = "") -> None:
        super().__init__(text)
        self.rule = rule or text


class _Watch:
    """What was last seen of one replica, and with it: nothing has to be looked at twice."""

    __slots__ = ("digested_index", "matched_index", "state")

    def __init__(self) -> None:
        self.state = (0, 0, 0, Role.FOLLOWER)
        """commit_index, applied_index, term and role."""
        self.matched_index = 0
        """Up to here its entries were compared with what others committed."""
        self.digested_index = -1


Watches = list[tuple[Any, Any, _Watch]]
"""Of each replica the group, its log, and what was seen of them."""


class Invariants:
    """What has been seen so far, to compare with what is seen now."""

    def __init__(
        self, nodes: list[SimulatedNode], on_leader: Callable[[str], None] = lambda text: None
    ) -> None:
        self.nodes = nodes
        self.leaders: dict[tuple[int, int], int] = {}
        self.checks = 0
        self._on_leader = on_leader
        self._watches: dict[str, tuple[int, list[Any], Watches]] = {}
        """By node: the incarnation, its replicas, and what was seen of them."""
        self._committed: dict[tuple[int, int], tuple[int, int]] = {}
        self._digests: dict[tuple[int, int], tuple[bytes, int]] = {}

    def check(self, *, digests: bool = False) -> None:
        """Look at all replicas of live processes once; `digests` costs the most.

        Most replicas have not changed since the last look: finding that out is all it costs.
        """
        self.checks += 1
        lease_holders: dict[int, int] = {}
        for simulated in self.nodes:
            node = simulated.node
            if node is None or simulated.process.is_dead:
                continue
            self._check_due(simulated)
            now_ns = simulated.clock.monotonic_ns()
            incarnation, groups, watches = self._watches.get(simulated.name, (0, [], []))
            if incarnation != simulated.incarnation:
                watches = self._watch(simulated, [])
            elif groups != [*node.host.groups.values()]:
                watches = self._watch(simulated, watches)
            for group, log, watch in watches:
                if (log.commit_index, group.applied_index, log.term, log.role) != watch.state:
                    self._look(simulated, group, watch)
                if log.lease_until_ns > now_ns or group.lease_until_ns > now_ns:
                    self._check_lease(simulated, group, lease_holders)
                if digests and watch.digested_index != group.applied_index:
                    self._check_digest(simulated, group)
                    watch.digested_index = group.applied_index

    def _watch(self, simulated: SimulatedNode, known: Watches) -> Watches:
        """A watch for every replica of the node that runs now, with what is known of them."""
        seen = {id(group): watch for group, _, watch in known}  # Removed ones may have come again.
        groups = simulated.groups()
        watches = [(group, group.log, seen.get(id(group)) or _Watch()) for group in groups]
        self._watches[simulated.name] = (simulated.incarnation, groups, watches)
        return watches

    def _look(self, simulated: SimulatedNode, group: Any, watch: _Watch) -> None:
        self._check_leader(simulated, group)
        self._check_progress(simulated, group, watch)
        self._check_committed(simulated, group, watch)
        watch.state = (group.commit_index, group.applied_index, group.term, group.role)

    def _check_leader(self, simulated: SimulatedNode, group: Any) -> None:
        if group.role is not Role.LEADER:
            return
        seat = (group.group_id, group.term)
        other = self.leaders.get(seat)
        if other is None:
            self.leaders[seat] = simulated.node_id
            self._on_leader(f"{simulated.name} leads group {group.group_id} in term {group.term}")
        elif other != simulated.node_id:
            raise InvariantViolation(
                f"group {group.group_id}: nodes {other} and {simulated.node_id} both lead "
                f"term {group.term}",
                rule="two leaders of one term",
            )

    def _check_progress(self, simulated: SimulatedNode, group: Any, watch: _Watch) -> None:
        now = (group.commit_index, group.applied_index, group.term)
        before = watch.state[:3]
        if any(new < old for new, old in zip(now, before, strict=True)):
            raise InvariantViolation(
                f"group {group.group_id} on node {simulated.node_id}: (commit_index, "
                f"applied_index, term) went back from {before} to {now}",
                rule="progress went back",
            )
        if group.applied_index > group.commit_index:
            raise InvariantViolation(
                f"group {group.group_id} on node {simulated.node_id} applied "
                f"{group.applied_index}, committed {group.commit_index}",
                rule="applied before committed",
            )

    def _check_committed(self, simulated: SimulatedNode, group: Any, watch: _Watch) -> None:
        view = log_view(group.log)
        done = watch.matched_index
        last = min(group.commit_index, view.last_index)
        first = max(done + 1, view.first_index)
        if last < first:
            return
        for entry in view.slice(first, last + 1):
            place = (group.group_id, entry.index)
            facts = (entry.term, crc32(entry.payload, entry.kind))
            known = self._committed.setdefault(place, facts)
            if known != facts:
                raise InvariantViolation(
                    f"group {group.group_id}: entry {entry.index} is committed as {known} "
                    f"(term, checksum) and on node {simulated.node_id} as {facts}",
                    rule="committed entries differ",
                )
        watch.matched_index = last

    def _check_lease(self, simulated: SimulatedNode, group: Any, holders: dict[int, int]) -> None:
        other = holders.setdefault(group.group_id, simulated.node_id)
        if other != simulated.node_id:
            raise InvariantViolation(
                f"group {group.group_id}: nodes {other} and {simulated.node_id} hold a lease "
                "at the same time",
                rule="leases overlap",
            )

    @staticmethod
    def _check_due(simulated: SimulatedNode) -> None:
        """Whoever gives the network something asks for the flush that sends it, too, and whoever
        has a group drained for the turn."""
        host: Any = simulated.node.host if simulated.node is not None else None
        if host is None or host.stopped or host._turns._is_scheduled:
            return
        transport = host.transport
        waits = bool(transport._bundles.open or transport._gathered.open or transport._beats)
        for link in transport.peers._ready.values():
            waits = waits or bool(link.outbox_bytes and not link._paused and not link.closing)
        if host._dirty and not host.disk_trouble:
            raise InvariantViolation(
                f"node {simulated.node_id} has groups to drain, and no turn is due",
                rule="nothing drains what waits",
            )
        if waits:
            raise InvariantViolation(
                f"node {simulated.node_id} has something for another node, and no flush is due",
                rule="nothing sends what waits",
            )

    def _check_digest(self, simulated: SimulatedNode, group: Any) -> None:
        digest = group.machine.digest()
        place = (group.group_id, group.applied_index)
        known = self._digests.setdefault(place, (digest, simulated.node_id))
        if known[0] != digest:
            raise InvariantViolation(
                f"group {group.group_id} at applied_index {group.applied_index}: the state on "
                f"nodes {known[1]} and {simulated.node_id} differs",
                rule="states differ",
            )
        if len(self._digests) > DIGESTS_KEPT:
            del self._digests[next(iter(self._digests))]


def log_view(log: Any) -> Any:
    """The entries that a consensus implementation holds in memory."""
    return log.log
