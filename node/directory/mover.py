"""Steers the groups led here to where the newest map wants them, and reports how far they are.

The map says what is wanted (`Move`), the group's own log says what is (`Configuration`), and every
`tick` takes at most one step from the one to the other (`replica/steering.py`). Nothing of it is
kept: a new leader goes on from the configuration in its log. The directory completes a move when a
leader reports the committed configuration that the move asked for; a leader that is there reports
at once.

A node of the target becomes a learner only when it has stored a map that knows the move. Until then
it may still be removing a replica of the same group that an older map took away, and what that one
has acknowledged would be counted for its successor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.values import Configuration, PeerStatus
from quorumcache.node.replica.steering import is_reached, next_step
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import GroupReport

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.ring import ClusterMap
    from quorumcache.ring.move import Move

log = get_logger("directory")

HAND_OVER_ELECTIONS: Final = 10
"""Election timeouts for which a leader that has to go tries to hand the group to a target. After
that it leaves as it is: the voters that stay elect one of themselves."""


BUG_NS: Final = 10_000_000_000
"""A group over which this node fails by a bug is left alone for so long. The others go on, and so
does the node: the next leader would fail over the same."""


class _Watch:
    """What a leader has seen of a group that moves, in its present term."""

    __slots__ = ("hand_over_ns", "marks", "reached", "term")

    def __init__(self, term: int) -> None:
        self.term = term
        self.marks: deque[tuple[int, int]] = deque()
        """(when, commit index), ascending; the first is an election timeout old once there is one
        that old."""
        self.hand_over_ns = 0
        """When this leader first tried to hand the group over; 0 = it did not."""
        self.reached = 0
        """The last decision whose target was seen to be reached."""


class Mover:
    """See the module."""

    def __init__(
        self,
        *,
        node_id: int,
        election_ms: int,
        host: ReplicaHost,
        newest_map: Callable[[], ClusterMap | None],
        adopted: Mapping[int, int],
        is_up: Callable[[int], bool],
        may_lead: Callable[[int], bool],
        transfer: Callable[[ReplicaGroup, int], None],
        on_reached: Callable[[], None],
        on_bug: Callable[[str, Exception], None],
    ) -> None:
        """`adopted`: epoch of the map that each other node has stored, as far as it told.
        `may_lead`: whether a node is fit to lead; one that is not leads if there is no other.
        `transfer` begins to hand a leadership over. `on_reached` is called when groups led here
        have come to their targets, `on_bug` hears what failed.
        """
        self._node_id = node_id
        self._election_ns = election_ms * 1_000_000
        self._host = host
        self._newest_map = newest_map
        self._adopted = adopted
        self._is_up = is_up
        self._may_lead = may_lead
        self._transfer = transfer
        self._on_reached = on_reached
        self._on_bug = on_bug
        self._epoch = 0
        self._moves: dict[int, Move] = {}
        """Those of the map of `_epoch` that have started, by group."""
        self._watches: dict[int, _Watch] = {}
        """Groups led here that move."""
        self._failed_ns: dict[int, int] = {}
        """Groups that move and over which this node has failed: when."""

    def tick(self) -> None:
        """Take the next step of each group led here, if there is one. Called in every sweep."""
        self._follow_map()
        now_ns = self._host.clock.monotonic_ns()
        is_news = False
        for group_id, move in self._moves.items():
            group = self._led(group_id)
            if group is None:
                self._watches.pop(group_id, None)
            elif not self._rests(group_id, now_ns):
                try:
                    is_news = self._tick_group(group, move, now_ns) or is_news
                except Exception as error:
                    self._failed(group_id, now_ns, error)
        if is_news:
            self._on_reached()

    def _tick_group(self, group: ReplicaGroup, move: Move, now_ns: int) -> bool:
        """Whether the group has come to its target, and this is new."""
        group_id = group.group_id
        watch = self._watches.get(group_id)
        if watch is None or watch.term != group.log.term:
            watch = self._watches[group_id] = _Watch(group.log.term)
        self._mark(watch, now_ns, group.log.commit_index)
        if watch.reached != move.decided and is_reached(
            _committed(group), move.target, move.decided
        ):
            watch.reached = move.decided
            return True
        if self._host.log_writable:
            self._steer(group, move, watch, now_ns)
        return False

    def _rests(self, group_id: int, now_ns: int) -> bool:
        failed_ns = self._failed_ns.get(group_id)
        return failed_ns is not None and now_ns - failed_ns < BUG_NS

    def _failed(self, group_id: int, now_ns: int, error: Exception) -> None:
        self._failed_ns[group_id] = now_ns
        self._on_bug(f"the move of group {group_id} failed", error)

    def reports(self) -> list[GroupReport]:
        """What is committed in the groups led here that move, and how much is copied."""
        self._follow_map()
        found = []
        now_ns = self._host.clock.monotonic_ns()
        for group_id, move in self._moves.items():
            group = self._led(group_id)
            if group is None or self._rests(group_id, now_ns):
                continue
            try:
                report = self._report(group, move, now_ns)
            except Exception as error:
                self._failed(group_id, now_ns, error)
            else:
                found += [report] if report is not None else []
        return found

    def _report(self, group: ReplicaGroup, move: Move, now_ns: int) -> GroupReport | None:
        """None while the group is between two configurations."""
        committed = _committed(group)
        if committed.voters_outgoing:
            return None
        return GroupReport(
            group.group_id,
            group.log.term,
            committed.decision,
            committed.voters,
            committed.learners,
            *self._copied(group, move, now_ns),
        )

    def _follow_map(self) -> None:
        cluster_map = self._newest_map()
        if cluster_map is None or cluster_map.epoch == self._epoch:
            return
        self._epoch = cluster_map.epoch
        self._moves = {move.group_id: move for move in cluster_map.moves if move.decided}
        for group_id in [g for g in self._watches if g not in self._moves]:
            del self._watches[group_id]
        for group_id in [g for g in self._failed_ns if g not in self._moves]:
            del self._failed_ns[group_id]

    def _led(self, group_id: int) -> ReplicaGroup | None:
        """The group, if it is led here and this leader knows what is committed."""
        group = self._host.groups.get(group_id)
        if group is None or not group.is_leader:
            return None
        return group if group.applied_index >= group.log.term_start_index > 0 else None

    # -- one step ----------------------------------------------------------------------------

    def _steer(self, group: ReplicaGroup, move: Move, watch: _Watch, now_ns: int) -> None:
        present = group.log.configuration
        if _committed(group) != present:
            return  # One change at a time.
        ready = self._ready(group, move, watch, now_ns)
        step = next_step(present, move.target, move.decided, ready, self._node_id)
        if step is None:
            return
        if self._node_id not in step.voters:
            heirs = [n for n in move.target if n in step.voters and n in ready]
            heir = next(filter(self._may_lead, heirs), heirs[0] if heirs else 0)
            watch.hand_over_ns = watch.hand_over_ns or now_ns
            if heir and now_ns - watch.hand_over_ns < HAND_OVER_ELECTIONS * self._election_ns:
                self._transfer(group, heir)
                return
        try:
            group.log.change_membership(step)
        except ConsensusError as error:
            event(log, "debug", "step_refused", group=group.group_id, step=step, why=error)
            return
        event(log, "debug", "step_taken", group=group.group_id, step=step)
        self._host.mark_dirty(group)

    def _ready(self, group: ReplicaGroup, move: Move, watch: _Watch, now_ns: int) -> set[int]:
        """Members that answer and are caught up, and nodes that may become learners."""
        ready = {self._node_id}
        members = group.log.progress()
        for node_id, status in members.items():
            if self._is_caught_up(node_id, status, watch, now_ns):
                ready.add(node_id)
        for node_id in move.target:
            has_map = self._adopted.get(node_id, 0) >= move.decided
            if node_id not in members and has_map and self._is_up(node_id):
                ready.add(node_id)
        return ready

    def _is_caught_up(self, node_id: int, status: PeerStatus, watch: _Watch, now_ns: int) -> bool:
        """It answers, and has all that was committed an election timeout ago (thesis 4.2.1)."""
        if now_ns - status.echo_ns >= self._election_ns or not self._is_up(node_id):
            return False
        at_ns, commit_index = watch.marks[0]
        return now_ns - at_ns >= self._election_ns and status.match_index >= commit_index

    def _mark(self, watch: _Watch, now_ns: int, commit_index: int) -> None:
        marks = watch.marks
        marks.append((now_ns, commit_index))
        while len(marks) > 1 and now_ns - marks[1][0] >= self._election_ns:
            marks.popleft()

    # -- how far -----------------------------------------------------------------------------

    def _copied(self, group: ReplicaGroup, move: Move, now_ns: int) -> tuple[int, int]:
        """Bytes of the group's state that are at the new nodes, and those that have to get there.

        What goes through the log instead of a snapshot is told by its share of the entries.
        """
        size = group.machine.bytes_used
        members = group.log.progress()
        last_index = group.log.last_index
        watch = self._watches.get(group.group_id)
        done = 0
        for node_id in move.added:
            status = members.get(node_id)
            if status is None:
                continue
            if node_id in group.log.configuration.voters or (
                watch is not None and self._is_caught_up(node_id, status, watch, now_ns)
            ):
                done += size
            elif status.state == "snapshot":
                done += min(size, status.snapshot_bytes)
            elif last_index:
                done += size * status.match_index // last_index
        return done, size * len(move.added)


def _committed(group: ReplicaGroup) -> Configuration:
    """The newest configuration that is known to be committed: it is applied."""
    return group.log.snapshot_meta(group.applied_index).configuration
