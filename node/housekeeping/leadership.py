"""Which leaderships a node gives away: to preferred nodes that are back, for slow links, and all of
them when it is not fit to lead (`fitness.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.quorum import quorum_size
from quorumcache.node.consensus.values import PeerStatus, Role
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.housekeeping.fitness import Fitness
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost

log = get_logger("housekeeper")

TRANSFERS_AT_ONCE_MAX = 4
"""Leaderships handed to their preferred nodes per pass, so that a returning node is not flooded."""

STEADY_PASSES = 3
"""A preferred leader gets its shard back when it has kept up for so many passes."""

AWAY_PASSES = 10
"""A node that is away for so many passes (5 s) is not just being restarted."""

RETURN_DOUBLINGS_MAX = 5
"""After each hand-back that failed, twice as many passes as before, so often (48 s): every attempt
keeps writes waiting for an election timeout, and may cost a term."""

SLOW_PASSES = 3
"""A leader that has had no lease for so many passes, though all voters answer, has slow links."""

SLOW_REST_PASSES = 20
"""After it has handed a group over for that, it keeps it for so many passes, and twice as many each
further time: if all links are slow, no other would lead better."""
SLOW_DOUBLINGS_MAX = 6

GIVEN_UP_ELECTIONS = 2
"""A group that was given up is given up again after so many election timeouts, if it is still here:
by then the successor has taken over, or will not."""


class Leadership:
    """Counts passes of the housekeeper. Being late costs balance, never correctness."""

    def __init__(
        self,
        host: ReplicaHost,
        *,
        node_id: int,
        election_ms: int,
        preferred_leader: Callable[[int], int],
        stand_in: Callable[[int], int],
        is_up: Callable[[int], bool],
        fitness: Fitness,
    ) -> None:
        self._host = host
        self._node_id = node_id
        self._election_ms = election_ms
        self._preferred_leader = preferred_leader
        self._stand_in = stand_in
        self._is_up = is_up
        self._fitness = fitness
        self._wanted: dict[int, int] = {}
        """Group led here to the node that should lead it. What follows is about that one."""
        self._steady: dict[int, int] = {}
        """Group led here to the passes for which it has kept up."""
        self._returned: dict[int, int] = {}
        """Group to how often it was handed over, and the other did not lead it since."""
        self._slow: dict[int, int] = {}
        """Group led here to the passes for which its leader has been too slow; less than 0 while it
        is kept all the same."""
        self._handed_over: dict[int, int] = {}
        """Group to how often it was handed over because of slow links."""
        self._given_up: dict[int, int] = {}
        """Group to when it was given up for lack of fitness, by the clock. Of those led here."""

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        counters = (self._steady, self._returned, self._slow, self._handed_over, self._given_up)
        for counts in (self._wanted, *counters):
            counts.pop(group_id, None)

    def hand_over_slow(self) -> None:
        """Give away what is led here over links too slow for a lease: every read and write takes
        several of their round trips, while other voters may be close to each other.
        """
        for group_id, group in self._host.groups.items():
            passes = self._slow.get(group_id, 0)
            if passes < 0:
                self._slow[group_id] = passes + 1
                continue
            if group.log.role is not Role.LEADER or group.has_lease():
                self._slow.pop(group_id, None)
                continue
            status = group.log.progress()
            others = [v for v in group.log.configuration.voters if v != self._node_id]
            if len(others) < 2 or not all(
                v in status and status[v].recent_active and self._is_up(v) for v in others
            ):
                self._slow.pop(group_id, None)  # Its links are not slow, but cut.
                continue
            self._slow[group_id] = passes + 1
            if passes + 1 >= SLOW_PASSES:
                times = self._handed_over.get(group_id, 0)
                self._handed_over[group_id] = min(times + 1, SLOW_DOUBLINGS_MAX)
                self._slow[group_id] = -(SLOW_REST_PASSES << times)
                fit = [v for v in others if self._fitness.may_lead(v)] or others
                target = max(fit, key=lambda v: (status[v].match_index, -v))
                event(log, "info", "slow_leader", group=group_id, to=target)
                self.transfer(group, target)

    def give_up(self) -> None:
        """Give away what is led here if this node is not fit to lead, where others can take over.

        Because of a slow disk all at once, and to anybody who can be elected without this node's
        vote, which would wait for that disk. Because of a late loop a few at a time, and only to
        nodes that are better off.
        """
        fitness = self._fitness
        is_disk_slow = fitness.is_disk_slow
        if not is_disk_slow and not fitness.is_late:
            self._given_up.clear()
            return
        now_ns = self._host.clock.monotonic_ns()
        pause_ns = GIVEN_UP_ELECTIONS * self._election_ms * 1_000_000
        given: dict[int, int] = {}
        for group_id, group in self._host.groups.items():
            if group.log.role is not Role.LEADER:
                self._given_up.pop(group_id, None)
                continue
            before_ns = self._given_up.get(group_id)
            if before_ns is not None and now_ns - before_ns < pause_ns:
                continue
            heirs = self._heirs(group)
            if is_disk_slow:
                if not self._can_elect(group, heirs):
                    continue
            else:
                heirs = [v for v in heirs if fitness.is_better_off(v)]
            heirs = [v for v in heirs if fitness.may_lead(v)]
            if not heirs:
                continue
            to = self._heir(group, heirs, given)
            given[to] = given.get(to, 0) + 1
            self._given_up[group_id] = now_ns
            why = "disk" if is_disk_slow else "loop"
            event(log, "info", "leadership_given_up", group=group_id, to=to, why=why)
            self.transfer(group, to)
            if not is_disk_slow and sum(given.values()) >= TRANSFERS_AT_ONCE_MAX:
                return

    def _heirs(self, group: ReplicaGroup) -> list[int]:
        """The other voters that answer."""
        status = group.log.progress()
        configuration = group.log.configuration
        return [
            v
            for v in sorted({*configuration.voters, *configuration.voters_outgoing})
            if v != self._node_id and v in status and status[v].recent_active and self._is_up(v)
        ]

    def _can_elect(self, group: ReplicaGroup, heirs: list[int]) -> bool:
        """Whether these are majorities without this node."""
        configuration = group.log.configuration
        return all(
            sum(v in heirs for v in voters) >= quorum_size(len(voters))
            for voters in (configuration.voters, configuration.voters_outgoing)
            if voters
        )

    def _heir(self, group: ReplicaGroup, heirs: list[int], given: dict[int, int]) -> int:
        """One that has the log, or nearly so; of these the one that has been given least."""
        status = group.log.progress()
        most = max(status[v].match_index for v in heirs)
        near = [v for v in heirs if status[v].match_index + KEEP_ENTRIES >= most]
        return min(near, key=lambda v: (given.get(v, 0), -status[v].match_index, v))

    def _is_near(self, status: PeerStatus) -> bool:
        """Do its answers come soon enough for a lease?"""
        age_ns = self._host.clock.monotonic_ns() - status.echo_ns
        return age_ns < self._election_ms * 1_000_000

    def return_to_preferred(self) -> None:
        """Hand shards back to their preferred leaders once these have kept up for a while; while
        one is away for longer than a restart takes, to the nodes that stand in for it.

        A stand-in gives a shard to its preferred leader alone, so none goes to and fro.
        """
        transfers = 0
        for group_id, group in self._host.groups.items():
            if group.log.role is not Role.LEADER or group_id == 0:
                self._steady.pop(group_id, None)
                if group.log.leader_id:
                    self._returned.pop(group_id, None)
                continue
            wanted, needed = self._preferred_leader(group_id), STEADY_PASSES
            if wanted != self._node_id and not self._is_up(wanted):
                wanted, needed = self._stand_in(group_id), AWAY_PASSES
            if self._wanted.get(group_id) != wanted:
                self._wanted[group_id] = wanted
                self._steady.pop(group_id, None)
                self._returned.pop(group_id, None)  # It comes back as another, perhaps mended.
            log_ = group.log
            status = log_.progress().get(wanted) if wanted != self._node_id else None
            if (
                status is None
                or wanted not in log_.configuration.voters
                or not self._is_up(wanted)
                or not status.recent_active
                or not self._fitness.may_lead(wanted)
                or not self._is_near(status)
                or status.match_index + KEEP_ENTRIES < log_.last_index
            ):
                self._steady.pop(group_id, None)
                continue
            passes = self._steady[group_id] = self._steady.get(group_id, 0) + 1
            times = self._returned.get(group_id, 0)
            if passes > needed << times and transfers < TRANSFERS_AT_ONCE_MAX:
                transfers += 1
                self._returned[group_id] = min(times + 1, RETURN_DOUBLINGS_MAX)
                self._steady.pop(group_id, None)
                self.transfer(group, wanted)

    def transfer(self, group: ReplicaGroup, to: int) -> None:
        """Begin to hand leadership over; nothing happens if it cannot be."""
        try:
            group.log.transfer_leadership(to)
            group.update_lease()  # Gone at once: no read may follow the successor's TimeoutNow.
        except ConsensusError as error:
            event(log, "debug", "transfer_refused", group=group.group_id, to=to, why=error)
        self._host.mark_dirty(group)
