"""Invariants that hold at every moment, whatever fails; looked at every few milliseconds of virtual
time.

They read the replicas from outside and never change them:

- one leader per term and group;
- term and commit_index of a replica never go back while its process lives;
- what is committed is the same everywhere, and for ever (state machine safety and log matching);
- replicas that applied the same entries have the same state;
- two nodes never hold a lease on one group at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from node.consensus.api import Role

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode

DIGESTS_KEPT = 50_000


class InvariantViolation(AssertionError):
    """The cluster did what it promised never to do."""


class Invariants:
    """What has been seen so far, to compare with what is seen now."""

    def __init__(self, nodes: list[SimulatedNode]) -> None:
        self.nodes = nodes
        self.leaders: dict[tuple[int, int], int] = {}
        self.checks = 0
        self._progress: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        self._committed: dict[tuple[int, int], tuple[int, int]] = {}
        self._matched: dict[tuple[int, int, int], int] = {}
        self._digests: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._digested: dict[tuple[int, int, int], int] = {}

    def check(self, *, digests: bool = False) -> None:
        """Look at all replicas of live processes once; `digests` costs the most."""
        self.checks += 1
        lease_holders: dict[int, int] = {}
        for simulated in self.nodes:
            for group in simulated.groups():
                self._check_leader(simulated, group)
                self._check_progress(simulated, group)
                self._check_committed(simulated, group)
                self._check_lease(simulated, group, lease_holders)
                if digests:
                    self._check_digest(simulated, group)

    def _check_leader(self, simulated: SimulatedNode, group: Any) -> None:
        if group.role is not Role.LEADER:
            return
        seat = (group.group_id, group.term)
        other = self.leaders.setdefault(seat, simulated.node_id)
        if other != simulated.node_id:
            raise InvariantViolation(
                f"group {group.group_id}: nodes {other} and {simulated.node_id} both lead "
                f"term {group.term}"
            )

    def _check_progress(self, simulated: SimulatedNode, group: Any) -> None:
        who = (simulated.node_id, simulated.incarnation, group.group_id)
        now = (group.term, group.commit_index, group.applied_index)
        before = self._progress.get(who, (0, 0, 0))
        if any(new < old for new, old in zip(now, before, strict=True)):
            raise InvariantViolation(
                f"group {group.group_id} on node {simulated.node_id}: (term, commit_index, "
                f"applied_index) went back from {before} to {now}"
            )
        if group.applied_index > group.commit_index:
            raise InvariantViolation(
                f"group {group.group_id} on node {simulated.node_id} applied "
                f"{group.applied_index}, committed {group.commit_index}"
            )
        self._progress[who] = now

    def _check_committed(self, simulated: SimulatedNode, group: Any) -> None:
        who = (simulated.node_id, simulated.incarnation, group.group_id)
        view = log_view(group.log)
        done = self._matched.get(who, 0)
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
                    f"(term, checksum) and on node {simulated.node_id} as {facts}"
                )
        self._matched[who] = last

    def _check_lease(self, simulated: SimulatedNode, group: Any, holders: dict[int, int]) -> None:
        until_ns = max(group.log.lease_until_ns, group.lease_until_ns)
        if simulated.clock.monotonic_ns() >= until_ns:
            return
        other = holders.setdefault(group.group_id, simulated.node_id)
        if other != simulated.node_id:
            raise InvariantViolation(
                f"group {group.group_id}: nodes {other} and {simulated.node_id} hold a lease "
                "at the same time"
            )

    def _check_digest(self, simulated: SimulatedNode, group: Any) -> None:
        who = (simulated.node_id, simulated.incarnation, group.group_id)
        if self._digested.get(who) == group.applied_index:
            return
        self._digested[who] = group.applied_index
        digest = group.store.digest()
        place = (group.group_id, group.applied_index)
        known = self._digests.setdefault(place, (digest, simulated.node_id))
        if known[0] != digest:
            raise InvariantViolation(
                f"group {group.group_id} at applied_index {group.applied_index}: the state on "
                f"nodes {known[1]} and {simulated.node_id} differs"
            )
        if len(self._digests) > DIGESTS_KEPT:
            del self._digests[next(iter(self._digests))]


def log_view(log: Any) -> Any:
    """The entries that a consensus implementation holds in memory."""
    return log.log
